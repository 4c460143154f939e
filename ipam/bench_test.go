package ipam_test

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/tierloom/tierloom/ipam"
)

// fills are how much is in use, in ten-thousandths.
var fills = []uint64{0, 5000, 9900, 9999}

// inUse returns how many of total are in use at a fill. One is always free,
// one always in use, and of a very large total no more than of 2^24.
func inUse(total, fill uint64) int {
	return int(min(max(min(total, 1<<24)*fill/10000, 1), total-1))
}

// A workload releases a value that was drawn by lot and takes another.
type workload[V comparable] struct {
	name  string
	total uint64 // values that there are
	limit float64
	// make returns an empty allocator.
	make func() (take func() (V, error), give func(V), err error)
	// value returns the nth value, from 0.
	value func(n uint64) V
}

// run measures ours beside a bitmap that is searched from its start and a map
// that is searched likewise, as far as they come to an end.
func (w workload[V]) run(b *testing.B) {
	for _, fill := range fills {
		n := inUse(w.total, fill)
		name := fmt.Sprintf("%s/%g%%", w.name, float64(fill)/100)
		b.Run(name+"/ours", func(b *testing.B) { w.ours(b, n) })
		if w.total <= 1<<24 {
			b.Run(name+"/floor", func(b *testing.B) { w.bitmap(b, n) })
		}
		if w.total <= 1<<16 {
			b.Run(name+"/peer", func(b *testing.B) { w.plainMap(b, n) })
		}
	}
}

func (w workload[V]) ours(b *testing.B, n int) {
	take, give, err := w.make()
	if err != nil {
		b.Fatal(err)
	}
	held := make([]V, n)
	for i := range held {
		if held[i], err = take(); err != nil {
			b.Fatal(err)
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { held[i], held[j] = held[j], held[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		give(held[i])
		if held[i], err = take(); err != nil {
			b.Fatal(err)
		}
		if i++; i == n {
			i = 0
		}
	}
	b.ReportMetric(w.limit, "limit-ns")
}

func (w workload[V]) bitmap(b *testing.B, n int) {
	used := make([]uint64, (w.total+63)/64)
	held := lot(n)
	for _, n := range held {
		used[n/64] |= 1 << (n % 64)
	}
	var sink V
	i := 0
	for b.Loop() {
		used[held[i]/64] &^= 1 << (held[i] % 64)
		word := 0
		for used[word] == ^uint64(0) {
			word++
		}
		n := word*64 + bits.TrailingZeros64(^used[word])
		used[word] |= 1 << (n % 64)
		held[i], sink = n, w.value(uint64(n))
		if i++; i == len(held) {
			i = 0
		}
	}
	runtime.KeepAlive(sink)
}

func (w workload[V]) plainMap(b *testing.B, n int) {
	used := make(map[V]struct{}, w.total)
	held := make([]V, n)
	for i, n := range lot(n) {
		held[i] = w.value(uint64(n))
		used[held[i]] = struct{}{}
	}
	i := 0
	for b.Loop() {
		delete(used, held[i])
		for n := range w.total {
			v := w.value(n)
			if _, ok := used[v]; !ok {
				used[v], held[i] = struct{}{}, v
				break
			}
		}
		if i++; i == len(held) {
			i = 0
		}
	}
}

// lot returns the numbers below n in an order drawn by lot.
func lot(n int) []int { return rand.New(rand.NewPCG(1, 1)).Perm(n) }

// BenchmarkPool has pools of several sizes. Of the IPv6 prefix as many
// addresses are in use as of the /16.
func BenchmarkPool(b *testing.B) {
	for _, c := range []struct {
		prefix string
		total  uint64
		limit  float64 // of an Allocate and a Release, ns
	}{{"10.0.0.0/24", 1<<8 - 2, 100}, {"10.0.0.0/16", 1<<16 - 2, 100}, {"10.0.0.0/8", 1<<24 - 2, 200}, {"fd00::/64", 1 << 16, 200}} {
		prefix := pfx(c.prefix)
		base := prefix.Addr().As16()
		workload[netip.Addr]{
			name: fmt.Sprint(prefix.Bits()), total: c.total, limit: c.limit,
			make: func() (func() (netip.Addr, error), func(netip.Addr), error) {
				p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{prefix}})
				if err != nil {
					return nil, nil, err
				}
				return p.Allocate, p.Release, nil
			},
			value: func(n uint64) netip.Addr {
				if prefix.Addr().Is4() {
					return netip.AddrFrom4([4]byte{base[12], byte((n + 1) >> 16), byte((n + 1) >> 8), byte(n + 1)})
				}
				a := base
				binary.BigEndian.PutUint64(a[8:], n+1)
				return netip.AddrFrom16(a)
			},
		}.run(b)
	}
}

// BenchmarkID has VLAN ids, VNIs and tunnel keys.
func BenchmarkID(b *testing.B) {
	for _, c := range []struct {
		name  string
		cfg   ipam.IDConfig
		limit float64
	}{{"VLAN", ipam.VLANs(1), 100}, {"VNI", ipam.VNIs(), 200}, {"tunnel key", ipam.TunnelKeys(), 200}} {
		workload[uint32]{
			name: c.name, total: uint64(c.cfg.Max-c.cfg.Min) + 1 - uint64(len(c.cfg.Reserved)), limit: c.limit,
			make: func() (func() (uint32, error), func(uint32), error) {
				p, err := ipam.NewIDPool(c.cfg)
				if err != nil {
					return nil, nil, err
				}
				return p.Allocate, p.Release, nil
			},
			value: func(n uint64) uint32 { return c.cfg.Min + uint32(n) },
		}.run(b)
	}
}

// BenchmarkMAC has the addresses behind one prefix.
func BenchmarkMAC(b *testing.B) {
	workload[ipam.MAC]{
		name: "24", total: 1<<24 - 1<<8, limit: 200,
		make: func() (func() (ipam.MAC, error), func(ipam.MAC), error) {
			p, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 3, 4}})
			if err != nil {
				return nil, nil, err
			}
			return p.Allocate, p.Release, nil
		},
		value: func(n uint64) ipam.MAC { return ipam.MAC{2, 3, 4, byte(n >> 16), byte(n >> 8), byte(n)} },
	}.run(b)
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
