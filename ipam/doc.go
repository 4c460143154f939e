// Package ipam allocates addresses, subnets, MAC addresses and numeric ids so
// that none is given twice.
//
// Four cores allocate in memory and are of use alone: a [Block] carves subnets
// of mixed sizes out of prefixes, a [Pool] gives single addresses, an [IDPool]
// numbers, a [MACPool] MAC addresses. A [BlockSet] is several blocks, each for
// its owners; [IDPools] are ids of many parents. A [Registry] leases from the
// cores: a lease belongs to an owner, a string that the caller derives from
// what the lease is for, and is durable in a [Store] before it is handed out.
//
//	store, err := boltstore.Open("leases.db")
//	r, err := ipam.Open(ctx, store, ipam.Config{Quarantine: time.Minute})
//	pool, err := r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{prefix}})
//	addr, err := pool.Acquire(ctx, "cluster/pod-uid/eth0") // the same owner, the same answer
//	err = pool.Release(ctx, "cluster/pod-uid/eth0")
//
// A released value is held back for the quarantine, and if the caller wants
// until it is acknowledged that the dataplane has forgotten it; its old owner
// may have it back at once. A pinned value stays its owner's. A lease has a
// generation, by which a late message about an earlier one is known.
//
// The store has a small record for each value, and refuses a change of one that
// is not as the writer knew it, and a second value for an owner: several
// registries may share a store that several processes can open. After a crash
// [Open] has every lease that was handed out; [Registry.Recover] adds what is
// alive and finds a store that was put back from an old copy, and
// [Registry.Collect] releases what has no owner any more.
//
// Concurrency: everything here may be used concurrently. Concurrent callers
// of a Registry wait for the store together and not one after another.
//
// Errors wrap a sentinel that says the condition ([ErrExhausted] and others)
// and tell what was asked, of what, by whom, and how full it is, those of the
// cores as a [*RefusedError]; who has a value that is in use tells [HeldError].
// A configuration that makes no sense is refused with all its faults. That the
// store cannot be reached is [ErrUnavailable], never "not found".
package ipam
