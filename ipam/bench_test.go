package ipam_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/ipam"
)

// sizes are the pools that are measured, with the most that an Allocate and
// the Release before it may take, in ns.
var sizes = []struct {
	prefix string
	limit  float64
}{{"10.0.0.0/24", 100}, {"10.0.0.0/16", 100}, {"10.0.0.0/8", 200}, {"fd00::/64", 0}}

// inUse returns how many of total are in use at a fill of so many
// ten-thousandths. One is always free, one always in use, and of a very large
// pool no more than of a /8.
func inUse(total, fill uint64) int {
	return int(min(max(min(total, 1<<24)*fill/10000, 1), total-1))
}

// BenchmarkPool releases an address that was drawn by lot and takes another,
// of pools of several sizes and fills: the pool, a bitmap searched from its
// start, and a map searched likewise.
func BenchmarkPool(b *testing.B) {
	for _, size := range sizes {
		prefix := pfx(size.prefix)
		for _, fill := range []uint64{0, 5000, 9900, 9999} {
			if prefix.Addr().Is6() && fill > 0 {
				continue // it cannot be filled
			}
			name := fmt.Sprintf("%d/%g%%", prefix.Bits(), float64(fill)/100)
			b.Run(name+"/ours", func(b *testing.B) { poolOurs(b, prefix, fill, size.limit) })
			if prefix.Addr().Is4() {
				b.Run(name+"/floor", func(b *testing.B) { poolBitmap(b, prefix, fill) })
			}
			if prefix.Bits() >= 16 && prefix.Addr().Is4() {
				b.Run(name+"/peer", func(b *testing.B) { poolMap(b, prefix, fill) })
			}
		}
	}
}

func poolOurs(b *testing.B, prefix netip.Prefix, fill uint64, limit float64) {
	p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{prefix}})
	if err != nil {
		b.Fatal(err)
	}
	_, total := p.Usage()
	held := make([]netip.Addr, inUse(total, fill))
	for i := range held {
		if held[i], err = p.Allocate(); err != nil {
			b.Fatal(err)
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.Release(held[i])
		if held[i], err = p.Allocate(); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(held) {
			i = 0
		}
	}
	if limit > 0 {
		b.ReportMetric(limit, "limit-ns")
	}
}

// lot returns numbers below n in an order drawn by lot.
func lot(n int) []int { return rand.New(rand.NewPCG(1, 1)).Perm(n) }

func poolBitmap(b *testing.B, prefix netip.Prefix, fill uint64) {
	total := 1 << (32 - prefix.Bits())
	used := make([]uint64, (total+63)/64)
	held := lot(inUse(uint64(total), fill))
	for _, n := range held {
		used[n/64] |= 1 << (n % 64)
	}
	base := prefix.Addr().As4()
	i := 0
	for b.Loop() {
		used[held[i]/64] &^= 1 << (held[i] % 64)
		w := 0
		for used[w] == ^uint64(0) {
			w++
		}
		n := w*64 + bits.TrailingZeros64(^used[w])
		used[w] |= 1 << (n % 64)
		held[i] = n
		if a := netip.AddrFrom4([4]byte{base[0], byte(n >> 16), byte(n >> 8), byte(n)}); !a.IsValid() {
			b.Fatal(n)
		}
		if i++; i == len(held) {
			i = 0
		}
	}
}

func poolMap(b *testing.B, prefix netip.Prefix, fill uint64) {
	used := map[netip.Addr]struct{}{}
	held := make([]netip.Addr, inUse(1<<(32-prefix.Bits()), fill))
	a := prefix.Addr()
	for i := range held {
		held[i], a = a, a.Next()
		used[held[i]] = struct{}{}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	i := 0
	for b.Loop() {
		delete(used, held[i])
		for a := prefix.Addr(); prefix.Contains(a); a = a.Next() {
			if _, ok := used[a]; !ok {
				used[a], held[i] = struct{}{}, a
				break
			}
		}
		if i++; i == len(held) {
			i = 0
		}
	}
}

// BenchmarkID takes a VLAN id and a VNI of pools that are 99 % full.
func BenchmarkID(b *testing.B) {
	for _, c := range []struct {
		name     string
		min, max uint32
	}{{"VLAN", 2, 4093}, {"VNI", 4096, 1<<24 - 1}} {
		b.Run(c.name+"/ours", func(b *testing.B) {
			p, err := ipam.NewIDPool(ipam.IDConfig{Min: c.min, Max: c.max})
			if err != nil {
				b.Fatal(err)
			}
			_, total := p.Usage()
			held := make([]uint32, inUse(total, 9900))
			for i := range held {
				held[i], _ = p.Allocate()
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Release(held[i])
				if held[i], err = p.Allocate(); err != nil {
					b.Fatal(err)
				}
				if i += 61; i >= len(held) {
					i -= len(held)
				}
			}
			b.ReportMetric(100, "limit-ns")
		})
	}
}

func BenchmarkMAC(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		p, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 3, 4}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			m, err := p.Allocate()
			if err != nil {
				b.Fatal(err)
			}
			p.Release(m)
		}
		b.ReportMetric(100, "limit-ns")
	})
}

// BenchmarkBlock releases a /24 of a /8 with 60,000 in use, drawn by lot, and
// carves another; beside it, the same with a map of all /24s.
func BenchmarkBlock(b *testing.B) {
	const held = 60000
	b.Run("ours", func(b *testing.B) {
		block, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/8")}})
		if err != nil {
			b.Fatal(err)
		}
		list := make([]netip.Prefix, held)
		for i := range list {
			if list[i], err = block.Carve(24); err != nil {
				b.Fatal(err)
			}
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(held, func(i, j int) { list[i], list[j] = list[j], list[i] })
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			block.Release(list[i])
			if list[i], err = block.Carve(24); err != nil {
				b.Fatal(err)
			}
			i = (i + 1) % held
		}
		b.ReportMetric(200, "limit-ns")
	})
	b.Run("peer", func(b *testing.B) {
		subnet := func(n int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n)}), 24)
		}
		used := map[netip.Prefix]struct{}{}
		list := make([]netip.Prefix, held)
		for i, n := range lot(held) {
			list[i] = subnet(n)
			used[list[i]] = struct{}{}
		}
		i := 0
		for b.Loop() {
			delete(used, list[i])
			for n := range 1 << 16 {
				p := subnet(n)
				if _, ok := used[p]; !ok {
					used[p], list[i] = struct{}{}, p
					break
				}
			}
			i = (i + 1) % held
		}
	})
}
