package ipam_test

import (
	"math/bits"
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/ipam"
)

func BenchmarkPool(b *testing.B) {
	p, _ := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}})
	for range 60000 {
		_, _ = p.Allocate()
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := p.Allocate()
		if err != nil {
			b.Fatal(err)
		}
		p.Release(a)
	}
}

// BenchmarkPoolFull takes and gives back one address of a /16 that is 99% full:
// the pool, a scan of a bitmap from its start, and a search of a map.
func BenchmarkPoolFull(b *testing.B) {
	prefix := pfx("10.0.0.0/16")
	const size, full = 1<<16 - 2, (1<<16 - 2) * 99 / 100 // without network and broadcast
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)}) }

	b.Run("ours", func(b *testing.B) {
		p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{prefix}})
		if err != nil {
			b.Fatal(err)
		}
		for range full {
			if _, err := p.Allocate(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			a, err := p.Allocate()
			if err != nil {
				b.Fatal(err)
			}
			p.Release(a)
		}
		b.ReportMetric(1, "target")
	})
	b.Run("floor", func(b *testing.B) {
		used := make([]uint64, 1<<16/64)
		for i := range full {
			used[i/64] |= 1 << (i % 64)
		}
		b.ReportAllocs()
		for b.Loop() {
			w := 0
			for used[w] == ^uint64(0) {
				w++
			}
			i := w*64 + bits.TrailingZeros64(^used[w])
			used[w] |= 1 << (i % 64)
			if !addr(i).IsValid() {
				b.Fatal(i)
			}
			used[w] &^= 1 << (i % 64)
		}
	})
	b.Run("peer", func(b *testing.B) {
		used := make(map[netip.Addr]struct{}, size)
		for i := range full {
			used[addr(i)] = struct{}{}
		}
		b.ReportAllocs()
		for b.Loop() {
			for a := addr(0); prefix.Contains(a); a = a.Next() {
				if _, ok := used[a]; !ok {
					used[a] = struct{}{}
					delete(used, a)
					break
				}
			}
		}
	})
}
