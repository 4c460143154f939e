package ipam_test

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tierloom/tierloom/ipam"
)

// million leases are held while a benchmark of leases runs.
const million = 1_000_000

// rounds is how often what changes with the machine is measured; the median counts.
const rounds = 9

func owner(n int) string { return "cluster/7f1c0a52-" + strconv.Itoa(n) + "/eth0" }

// newOwners are owners that hold nothing yet, made before the clock starts.
var newOwners = sync.OnceValue(func() []string {
	list := make([]string, 1<<16)
	for i := range list {
		list[i] = owner(million + i)
	}
	return list
})

var fullPool = sync.OnceValue(func() *ipam.Addresses {
	r, err := ipam.Open(context.Background(), nil, ipam.Config{})
	if err != nil {
		panic(err)
	}
	pool, err := r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/8")}})
	if err != nil {
		panic(err)
	}
	for i := range million {
		if _, err := pool.Acquire(context.Background(), owner(i)); err != nil {
			panic(err)
		}
	}
	return pool
})

// churn acquires and releases for n owners who are new, starting with the first.
func churn(b *testing.B, pool *ipam.Addresses, first, n int) {
	list := newOwners()
	for i := range n {
		o := list[(first+i)%len(list)]
		if _, err := pool.Acquire(b.Context(), o); err != nil {
			b.Error(err)
			return
		}
		if err := pool.Release(b.Context(), o); err != nil {
			b.Error(err)
			return
		}
	}
}

// BenchmarkLeaseAcquire acquires for owners that are new while a million leases
// are held in memory, and at most as many more as there are new owners: what
// they have is released while the clock stands still.
func BenchmarkLeaseAcquire(b *testing.B) {
	pool := fullPool()
	list := newOwners()
	for range rounds {
		b.Run("ours", func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for left := b.N; left > 0; left -= len(list) {
				for _, o := range list[:min(left, len(list))] {
					if _, err := pool.Acquire(ctx, o); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				releaseAll(b, pool, list)
				b.StartTimer()
			}
			b.ReportMetric(400, "limit-ns")
		})
	}
}

func releaseAll(b *testing.B, pool *ipam.Addresses, owners []string) {
	for _, o := range owners {
		if err := pool.Release(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLease acquires and releases by owner with a million leases held in
// memory: an operation is both. The floor is one map of owners and one of
// addresses behind a mutex, without times, generations or quarantine.
func BenchmarkLease(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		pool := fullPool()
		newOwners()
		b.ReportAllocs()
		b.ResetTimer()
		churn(b, pool, 0, b.N)
		b.ReportMetric(1.5, "target")
	})
	b.Run("floor", func(b *testing.B) {
		var mu sync.Mutex
		owners, addresses := map[string]netip.Addr{}, map[netip.Addr]string{}
		a := ip("10.0.0.1")
		for i := range million {
			owners[owner(i)], addresses[a] = a, owner(i)
			a = a.Next()
		}
		list := newOwners()
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			o := list[i%len(list)]
			mu.Lock()
			owners[o], addresses[a] = a, o
			mu.Unlock()
			mu.Lock()
			delete(owners, o)
			delete(addresses, a)
			mu.Unlock()
			a = a.Next()
		}
	})
}

// BenchmarkLeaseAgain acquires for owners that hold already.
func BenchmarkLeaseAgain(b *testing.B) {
	pool := fullPool()
	list := make([]string, 1<<16)
	for i := range list {
		list[i] = owner(i * 13)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := pool.Acquire(b.Context(), list[i%len(list)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLeaseParallel is BenchmarkLease with 64 goroutines, beside one. They
// are measured in turn, as how long a line of memory takes from one processor
// to the other changes with what else the machine does.
func BenchmarkLeaseParallel(b *testing.B) {
	pool := fullPool()
	newOwners()
	for range rounds {
		b.Run("ours", func(b *testing.B) {
			churnAtOnce(b, pool, 64)
			b.ReportMetric(1/1.5, "target")
		})
		b.Run("floor", func(b *testing.B) { churnAtOnce(b, pool, 1) })
	}
}

// churnAtOnce has some goroutines acquire and release.
func churnAtOnce(b *testing.B, pool *ipam.Addresses, writers int) {
	var wg sync.WaitGroup
	var next atomic.Int64
	const chunk = 64
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for {
				first := int(next.Add(chunk)) - chunk
				if first >= b.N {
					return
				}
				churn(b, pool, first, min(chunk, b.N-first))
			}
		})
	}
	wg.Wait()
}
