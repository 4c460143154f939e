package ipam_test

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tierloom/tierloom/ipam"
)

// million leases are held while a benchmark of leases runs.
const million = 1_000_000

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
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		o := list[i%len(list)]
		if i > 0 && i%len(list) == 0 {
			b.StopTimer()
			releaseAll(b, pool, list)
			b.StartTimer()
		}
		if _, err := pool.Acquire(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	releaseAll(b, pool, list)
	b.ReportMetric(400, "limit-ns")
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
// to the other changes with what else the machine does, and of five rounds the
// median counts.
func BenchmarkLeaseParallel(b *testing.B) {
	pool := fullPool()
	newOwners()
	const pairs = 1_000_000
	type round struct{ many, one time.Duration }
	rounds := make([]round, 5)
	for i := range rounds {
		rounds[i] = round{churnAtOnce(b, pool, 64, pairs), churnAtOnce(b, pool, 1, pairs)}
	}
	slices.SortFunc(rounds, func(x, y round) int {
		return cmp.Compare(float64(x.many)/float64(x.one), float64(y.many)/float64(y.one))
	})
	median := rounds[len(rounds)/2]
	b.Run("ours", func(b *testing.B) {
		b.ReportMetric(float64(median.many)/pairs, "ns/op")
		b.ReportMetric(1/1.5, "target")
	})
	b.Run("floor", func(b *testing.B) { b.ReportMetric(float64(median.one)/pairs, "ns/op") })
}

// churnAtOnce is how long it takes some goroutines to acquire and release n times.
func churnAtOnce(b *testing.B, pool *ipam.Addresses, writers, n int) time.Duration {
	var wg sync.WaitGroup
	var next atomic.Int64
	const chunk = 64
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for {
				first := int(next.Add(chunk)) - chunk
				if first >= n {
					return
				}
				churn(b, pool, first, min(chunk, n-first))
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
