package ipam

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
)

// VLANs are the ids of IEEE 802.1Q, section 9.6, of which 0 and 4095 are no VLAN's.
func VLANs(reserved ...uint32) IDConfig { return IDConfig{Min: 1, Max: 4094, Reserved: reserved} }

// VNIs are the network identifiers of VXLAN (RFC 7348, section 5) and Geneve
// (RFC 8926, section 3.4), without 0.
func VNIs(reserved ...uint32) IDConfig { return IDConfig{Min: 1, Max: 1<<24 - 1, Reserved: reserved} }

// TunnelKeys are the keys of GRE (RFC 2890, section 2.1), without 0.
func TunnelKeys(reserved ...uint32) IDConfig {
	return IDConfig{Min: 1, Max: math.MaxUint32, Reserved: reserved}
}

// ConjunctionIDs are the ids of Open vSwitch's conjunctive matches
// (ovs-fields(7)), without 0, which a packet has that none matched.
func ConjunctionIDs(reserved ...uint32) IDConfig {
	return IDConfig{Min: 1, Max: math.MaxUint32, Reserved: reserved}
}

// IDPools are alike pools, one for each of many parents: the VLAN ids behind
// each parent port, which mean nothing behind another. A parent needs no
// introduction, and costs memory from its first id until [IDPools.Forget].
// Make them with [NewIDPools]. They may be used concurrently. What they refuse
// is a [*RefusedError].
type IDPools struct {
	cfg      IDConfig
	reserved *bitset

	mu    sync.Mutex // protects pools; a pool's own lock is taken after it
	pools map[string]*IDPool
}

// NewIDPools returns pools with all ids free, or [ErrInvalid] naming every fault.
func NewIDPools(cfg IDConfig) (*IDPools, error) {
	reserved, err := cfg.reserved()
	if err != nil {
		return nil, err
	}
	return &IDPools{cfg: cfg, reserved: reserved, pools: map[string]*IDPool{}}, nil
}

// poolLocked returns a parent's pool, made if the parent is new.
func (p *IDPools) poolLocked(parent string) *IDPool {
	pool := p.pools[parent]
	if pool == nil {
		pool = newIDPool(p.cfg, p.reserved)
		p.pools[parent] = pool
	}
	return pool
}

// Allocate returns a parent's free id, or [ErrExhausted].
func (p *IDPools) Allocate(parent string) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, err := p.poolLocked(parent).Allocate()
	return id, ofParent(parent, err)
}

// Reserve takes a specific id of a parent, or returns [ErrOutOfRange] or [ErrInUse].
func (p *IDPools) Reserve(parent string, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ofParent(parent, p.poolLocked(parent).Reserve(id))
}

// ofParent tells the parent in what its pool refused.
func ofParent(parent string, err error) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		refused.Of += fmt.Sprintf(" of %q", parent)
	}
	return err
}

// Release frees a parent's id; one that is free, reserved or unknown is no error.
func (p *IDPools) Release(parent string, id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool := p.pools[parent]; pool != nil {
		pool.Release(id)
	}
}

// Forget gives up what is known of a parent that is gone: which of its ids
// were given last. Ids in use are [ErrInUse], and nothing has changed then.
func (p *IDPools) Forget(parent string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[parent]
	if pool == nil {
		return nil
	}
	if used, total := pool.Usage(); used > 0 {
		return &RefusedError{Asked: "to forget the ids", Of: fmt.Sprintf("%s of %q", pool, parent), Used: used, Total: total, Err: ErrInUse}
	}
	delete(p.pools, parent)
	return nil
}

// Contains reports whether the pools may give the id.
func (p *IDPools) Contains(id uint32) bool {
	return id >= p.cfg.Min && id <= p.cfg.Max && !p.reserved.has(uint64(id-p.cfg.Min))
}

// All calls yield with each id of a parent that is in use as it is called, in
// order, until it returns false. Yield may use the pools.
func (p *IDPools) All(parent string) iter.Seq[uint32] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool := p.pools[parent]; pool != nil {
		return pool.All
	}
	return func(func(uint32) bool) {}
}

// Usage returns how many ids of a parent are in use and how many there are.
func (p *IDPools) Usage(parent string) (used, total uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool := p.pools[parent]; pool != nil {
		return pool.Usage()
	}
	return 0, p.reserved.size - p.reserved.count
}
