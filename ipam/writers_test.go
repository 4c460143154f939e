package ipam_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// writers has 64 goroutines take values and give them back, at random, while
// others look on; clash tells which two values may not be held at once.
// Everything has been given back in the end.
func writers[V any](t *testing.T, clash func(a, b V) bool, take func(rng *rand.Rand) (V, error), give func(V), look func()) {
	t.Helper()
	var mu sync.Mutex // protects held
	var held []V
	grab := func(v V) {
		mu.Lock()
		defer mu.Unlock()
		if i := slices.IndexFunc(held, func(h V) bool { return clash(h, v) }); i >= 0 {
			t.Errorf("%v was given while %v was held", v, held[i])
		}
		held = append(held, v)
	}
	drop := func(rng *rand.Rand) (v V, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(held) == 0 {
			return v, false
		}
		i := rng.IntN(len(held))
		v = held[i]
		held = slices.Delete(held, i, i+1)
		return v, true
	}
	var wg sync.WaitGroup
	for g := range uint64(64) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 64))
			for range 100 {
				if rng.IntN(2) == 0 {
					v, err := take(rng)
					if err == nil {
						grab(v)
					} else if !errors.Is(err, ipam.ErrExhausted) && !errors.Is(err, ipam.ErrInUse) {
						t.Error(err)
					}
				} else if v, ok := drop(rng); ok {
					give(v)
				}
				if rng.IntN(16) == 0 {
					look()
				}
			}
		})
	}
	wg.Wait()
	for _, v := range held {
		give(v)
	}
}

func same[V comparable](a, b V) bool { return a == b }

func TestWritersOfPool(t *testing.T) {
	small := ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/27"), pfx("10.0.1.0/24")}, Watermarks: ipam.Watermarks{High: 0.1, Low: 0.05}}
	large := ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}}
	p, err := ipam.NewPool(small)
	require.NoError(t, err)
	var turn sync.Mutex
	swap := func() {
		turn.Lock()
		defer turn.Unlock()
		small, large = large, small
		if err := p.Reconfigure(small); err != nil {
			t.Error(err)
		}
	}
	writers(t, same[netip.Addr], func(rng *rand.Rand) (netip.Addr, error) {
		if rng.IntN(4) > 0 {
			return p.Allocate()
		}
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + rng.IntN(30))})
		return a, p.Reserve(a)
	}, p.Release, func() {
		swap()
		for a := range p.All {
			_ = p.Contains(a)
		}
		_, _, _ = p.Leaving(), p.NearlyFull(), p.String()
	})
	used, _ := p.Usage()
	require.Zero(t, used)
	require.Empty(t, p.Leaving())
	require.Empty(t, slices.Collect(p.All))
}

func TestWritersOfPairs(t *testing.T) {
	type pair struct{ v4, v6 netip.Addr }
	v4, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/26")}})
	require.NoError(t, err)
	v6, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/123")}})
	require.NoError(t, err)
	writers(t, func(a, b pair) bool { return a.v4 == b.v4 || a.v6 == b.v6 }, func(*rand.Rand) (pair, error) {
		a, b, err := ipam.AllocatePair(v4, v6)
		return pair{a, b}, err
	}, func(p pair) {
		v4.Release(p.v4)
		v6.Release(p.v6)
	}, func() { _, _ = v4.Usage() })
	for _, p := range []*ipam.Pool{v4, v6} {
		used, _ := p.Usage()
		require.Zero(t, used, p)
	}
}

func TestWritersOfBlock(t *testing.T) {
	b, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/22"), pfx("10.1.0.0/24")}})
	require.NoError(t, err)
	writers(t, netip.Prefix.Overlaps, func(rng *rand.Rand) (netip.Prefix, error) {
		if rng.IntN(4) > 0 {
			return b.Carve(24 + rng.IntN(5))
		}
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(4))}), 24+rng.IntN(2))
		return p, b.Reserve(p)
	}, b.Release, func() {
		for p := range b.All {
			_ = b.Contains(p)
		}
		_, _, _ = b.Usage(), b.Share(), b.String()
	})
	require.Zero(t, b.Usage())
	require.Zero(t, b.Share())
	for _, want := range []string{"10.0.0.0/22", "10.1.0.0/24"} {
		require.NoError(t, b.Reserve(pfx(want)), "whole again")
	}
}

func TestWritersOfBlockSet(t *testing.T) {
	var blocks []ipam.SetBlock
	for i, owners := range [][]string{nil, {"ns:a"}, nil, {"ns:a", "ns:b"}} {
		b, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 23)}})
		require.NoError(t, err)
		blocks = append(blocks, ipam.SetBlock{Name: string(rune('a' + i)), Block: b, Owners: owners})
	}
	s, err := ipam.NewBlockSet(ipam.LeastUsed, blocks...)
	require.NoError(t, err)
	writers(t, netip.Prefix.Overlaps, func(rng *rand.Rand) (netip.Prefix, error) {
		_, p, err := s.Carve(24+rng.IntN(4), []string{"ns:a", "ns:b", "ns:c"}[rng.IntN(3)])
		return p, err
	}, s.Release, func() { _, _ = s.Reserve(pfx("10.3.1.0/30"), "ns:c") })
	for _, b := range blocks {
		require.Zero(t, b.Block.Usage(), b)
	}
}

func TestWritersOfIDs(t *testing.T) {
	p, err := ipam.NewIDPool(ipam.IDConfig{Min: 10, Max: 100, Reserved: []uint32{50}, Watermarks: ipam.Watermarks{High: 0.9, Low: 0.1}})
	require.NoError(t, err)
	writers(t, same[uint32], func(rng *rand.Rand) (uint32, error) {
		if rng.IntN(4) > 0 {
			return p.Allocate()
		}
		id := 10 + uint32(rng.IntN(40))
		return id, p.Reserve(id)
	}, p.Release, func() {
		for id := range p.All {
			_ = p.Contains(id)
		}
		_ = p.NearlyFull()
	})
	used, _ := p.Usage()
	require.Zero(t, used)
}

func TestWritersOfIDsByParent(t *testing.T) {
	type vlan struct {
		parent string
		id     uint32
	}
	p, err := ipam.NewIDPools(ipam.VLANs())
	require.NoError(t, err)
	parents := []string{"a", "b", "c"}
	writers(t, same[vlan], func(rng *rand.Rand) (vlan, error) {
		parent := parents[rng.IntN(3)]
		id, err := p.Allocate(parent)
		return vlan{parent, id}, err
	}, func(v vlan) { p.Release(v.parent, v.id) }, func() {
		for _, parent := range parents {
			for range p.All(parent) {
				break
			}
			_ = p.Forget(parent)
		}
	})
	for _, parent := range parents {
		require.NoError(t, p.Forget(parent))
	}
}

func TestWritersOfMACs(t *testing.T) {
	p, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 0, 0}})
	require.NoError(t, err)
	writers(t, same[ipam.MAC], func(rng *rand.Rand) (ipam.MAC, error) {
		if rng.IntN(4) > 0 {
			return p.Allocate()
		}
		m := ipam.MAC{2, 0, 0, 0, 1, byte(rng.IntN(256))}
		return m, p.Reserve(m)
	}, p.Release, func() {
		for m := range p.All {
			_ = p.Contains(m)
		}
		_ = p.NearlyFull()
	})
	used, _ := p.Usage()
	require.Zero(t, used)
}
