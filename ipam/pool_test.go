package ipam_test

import (
	"math"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

func TestPoolChangesInUse(t *testing.T) {
	p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/29")}})
	require.NoError(t, err)
	for range 4 {
		_, err := p.Allocate()
		require.NoError(t, err)
	}
	require.ErrorIs(t, p.Reconfigure(ipam.AddressConfig{}), ipam.ErrInvalid)
	require.Equal(t, "10.0.0.1-10.0.0.6", p.String(), "nothing has changed")
	require.NoError(t, p.Reconfigure(ipam.AddressConfig{Ranges: []ipam.Range{{First: ip("10.0.0.3"), Last: ip("10.0.0.8")}}}))
	require.Equal(t, []netip.Addr{ip("10.0.0.1"), ip("10.0.0.2")}, p.Leaving())
	used, total := p.Usage()
	require.Equal(t, [2]uint64{2, 6}, [2]uint64{used, total})
	require.ErrorIs(t, p.Reserve(ip("10.0.0.1")), ipam.ErrInUse)
	p.Release(ip("10.0.0.1"))
	require.ErrorIs(t, p.Reserve(ip("10.0.0.1")), ipam.ErrOutOfRange)
	a, err := p.Allocate()
	require.NoError(t, err)
	require.Equal(t, ip("10.0.0.5"), a, "it goes on where it was")
	require.Equal(t, []netip.Addr{ip("10.0.0.3"), ip("10.0.0.4"), ip("10.0.0.5"), ip("10.0.0.2")}, slices.Collect(p.All))
}

// TestPoolReachesFar has addresses of large prefixes that Allocate does not get to.
func TestPoolReachesFar(t *testing.T) {
	far, gone := ip("fd00::74:6cff:fe00:1"), ip("fd00::ffff:0:0:1")
	for _, bits := range []int{8, 48, 64} {
		p, err := ipam.NewPool(ipam.AddressConfig{
			Prefixes: []netip.Prefix{netip.PrefixFrom(ip("fd00::"), bits)}, Exclude: []netip.Addr{gone, gone}, Watermarks: ipam.Watermarks{High: 1, Low: 0.5},
		})
		require.NoError(t, err)
		require.True(t, p.Contains(far))
		require.NoError(t, p.Reserve(far))
		require.ErrorIs(t, p.Reserve(far), ipam.ErrInUse)
		require.False(t, p.Contains(gone))
		require.ErrorIs(t, p.Reserve(gone), ipam.ErrOutOfRange)
		require.ErrorIs(t, p.Reserve(ip("fd00::")), ipam.ErrOutOfRange)
		a, err := p.Allocate()
		require.NoError(t, err)
		require.Equal(t, ip("fd00::1"), a)
		require.Equal(t, []netip.Addr{a, far}, slices.Collect(p.All))
		require.False(t, p.NearlyFull())
		require.NoError(t, p.Reconfigure(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/120")}}))
		require.Equal(t, []netip.Addr{far}, p.Leaving())
		require.NoError(t, p.Reconfigure(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/56")}}))
		require.Empty(t, p.Leaving())
		p.Release(far)
		p.Release(far)
		require.Equal(t, []netip.Addr{a}, slices.Collect(p.All))
		used, _ := p.Usage()
		require.Equal(t, uint64(1), used)
	}
}

func TestWatermarks(t *testing.T) {
	p, err := ipam.NewPool(ipam.AddressConfig{
		Ranges: []ipam.Range{{First: ip("10.0.0.1"), Last: ip("10.0.0.10")}}, Watermarks: ipam.Watermarks{High: 0.8, Low: 0.5},
	})
	require.NoError(t, err)
	var states []bool
	for range 9 {
		_, err := p.Allocate()
		require.NoError(t, err)
		states = append(states, p.NearlyFull())
	}
	for a := range p.All {
		p.Release(a)
		states = append(states, p.NearlyFull())
	}
	up := []bool{false, false, false, false, false, false, false, true, true}
	down := []bool{true, true, true, false, false, false, false, false, false}
	require.Equal(t, append(up, down...), states)
}

func TestPairIsBothOrNone(t *testing.T) {
	v4, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}})
	require.NoError(t, err)
	v6, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::1/128")}})
	require.NoError(t, err)
	a, b, err := ipam.AllocatePair(v4, v6)
	require.NoError(t, err)
	require.Equal(t, [2]netip.Addr{ip("10.0.0.1"), ip("fd00::1")}, [2]netip.Addr{a, b})
	_, _, err = ipam.AllocatePair(v4, v6)
	require.ErrorIs(t, err, ipam.ErrExhausted)
	require.ErrorContains(t, err, "fd00::1")
	used, _ := v4.Usage()
	require.Equal(t, uint64(1), used)
}

func TestMACPool(t *testing.T) {
	p, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 0x74, 0x6c}})
	require.NoError(t, err)
	m, err := p.Allocate()
	require.NoError(t, err)
	require.Equal(t, "02:74:6c:00:01:00", m.String())
	require.ErrorIs(t, p.Reserve(m), ipam.ErrInUse)
	other, err := ipam.ParseMAC("02:74:6d:00:01:00")
	require.NoError(t, err)
	require.False(t, p.Contains(other))
	require.ErrorIs(t, p.Reserve(other), ipam.ErrOutOfRange)
	p.Release(m)
	require.NoError(t, p.Reserve(m))
	for _, prefix := range [][]byte{nil, {2}, {1, 2, 3}} {
		_, err := ipam.NewMACPool(ipam.MACConfig{Prefix: prefix})
		require.ErrorIs(t, err, ipam.ErrInvalid, "% x", prefix)
	}
	for _, s := range []string{"", "02:74:6c", "02:74:6c:00:01:zz", "02:74:6c:00:01:00:00:00"} {
		_, err := ipam.ParseMAC(s)
		require.ErrorIs(t, err, ipam.ErrInvalid, s)
	}
}

// heapOf returns the bytes in use after make, less those before: the least
// of three times, as what the runtime and earlier tests still hold or free
// counts too.
func heapOf(t *testing.T, make func() any) int {
	t.Helper()
	least := math.MaxInt
	for range 3 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		v := make()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(v)
		least = min(least, int(after.HeapAlloc)-int(before.HeapAlloc))
	}
	return least
}

func TestMemory(t *testing.T) {
	fill := func(prefix string, every int) func() any {
		return func() any {
			p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx(prefix)}})
			require.NoError(t, err)
			a := pfx(prefix).Addr()
			_, total := p.Usage()
			for n := 1; n < int(min(total, 1<<24)); n += every {
				b := a.As4()
				require.NoError(t, p.Reserve(netip.AddrFrom4([4]byte{b[0], b[1] | byte(n>>16), b[2] | byte(n>>8), b[3] | byte(n)})))
			}
			return p
		}
	}
	require.Less(t, heapOf(t, fill("10.0.0.0/8", 100)), 4<<20, "1 % of a /8")
	require.Less(t, heapOf(t, fill("10.0.0.0/12", 1)), 1<<20/8*11/10, "all of a /12: a bit an address, and little above")
	sparse := heapOf(t, func() any {
		p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/64")}})
		require.NoError(t, err)
		for i := range 1000 {
			require.NoError(t, p.Reserve(netip.AddrFrom16([16]byte{0: 0xfd, 11: byte(i), 12: byte(i >> 2), 15: 1})))
		}
		return p
	})
	require.Less(t, sparse, 2<<20, "1,000 addresses far apart in a /64")
	for name, cfg := range map[string]ipam.IDConfig{"VNIs": ipam.VNIs(), "tunnel keys": ipam.TunnelKeys()} {
		require.Less(t, heapOf(t, func() any {
			p, err := ipam.NewIDPool(cfg)
			require.NoError(t, err)
			for id := uint32(1); id < 1<<24; id += 100 {
				require.NoError(t, p.Reserve(id))
			}
			return p
		}), 4<<20, "1 % of 2^24 %s", name)
	}
}

// TestNothingIsAllocated by an allocator that has been filled before, however
// full it is.
func TestNothingIsAllocated(t *testing.T) {
	pool, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/19")}})
	require.NoError(t, err)
	sparse, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/64")}})
	require.NoError(t, err)
	ids, err := ipam.NewIDPool(ipam.VNIs())
	require.NoError(t, err)
	vlans, err := ipam.NewIDPools(ipam.VLANs())
	require.NoError(t, err)
	macs, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 0, 0}})
	require.NoError(t, err)
	block, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/8")}})
	require.NoError(t, err)
	steps := map[string]func() error{
		"pool": func() error {
			a, err := pool.Allocate()
			pool.Release(a)
			return err
		},
		"IPv6 pool": func() error {
			a, err := sparse.Allocate()
			sparse.Release(a)
			return err
		},
		"ids": func() error {
			id, err := ids.Allocate()
			ids.Release(id)
			return err
		},
		"VLANs": func() error {
			id, err := vlans.Allocate("port")
			vlans.Release("port", id)
			return err
		},
		"MACs": func() error {
			m, err := macs.Allocate()
			macs.Release(m)
			return err
		},
		"block": func() error {
			p, err := block.Carve(24)
			block.Release(p)
			return err
		},
	}
	for full := range 5 {
		for name, step := range steps {
			require.NoError(t, step())
			allocs := testing.AllocsPerRun(10000, func() {
				if err := step(); err != nil {
					t.Error(name, err)
				}
			})
			require.Zero(t, allocs, "%s, %d in use", name, full*800)
		}
		for range 800 {
			require.NoError(t, second(pool.Allocate()))
			require.NoError(t, second(sparse.Allocate()))
			require.NoError(t, second(ids.Allocate()))
			require.NoError(t, second(vlans.Allocate("port")))
			require.NoError(t, second(macs.Allocate()))
			require.NoError(t, second(block.Carve(24)))
		}
	}
}

func TestBlockSet(t *testing.T) {
	block := func(prefix string) *ipam.Block {
		b, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx(prefix)}})
		require.NoError(t, err)
		return b
	}
	blocks := func(order ipam.Order) *ipam.BlockSet {
		s, err := ipam.NewBlockSet(order,
			ipam.SetBlock{Name: "small", Block: block("10.1.0.0/23")}, ipam.SetBlock{Name: "large", Block: block("10.2.0.0/22")},
			ipam.SetBlock{Name: "db", Block: block("10.3.0.0/24"), Owners: []string{"ns:db", "cluster:x"}})
		require.NoError(t, err)
		return s
	}
	for _, c := range []struct {
		name  string
		order ipam.Order
		as    []string
		want  []string
	}{
		{"in order", ipam.InOrder, nil, []string{"10.1.0.0/24", "10.1.1.0/24", "10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24", "10.2.3.0/24"}},
		{"least used", ipam.LeastUsed, nil, []string{"10.1.0.0/24", "10.2.0.0/24", "10.2.1.0/24", "10.1.1.0/24", "10.2.2.0/24", "10.2.3.0/24"}},
		{"its own first", ipam.InOrder, []string{"cluster:y", "ns:db"}, []string{"10.3.0.0/24", "10.1.0.0/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := blocks(c.order)
			for _, want := range c.want {
				_, p, err := s.Carve(24, c.as...)
				require.NoError(t, err)
				require.Equal(t, want, p.String())
			}
			if c.as == nil {
				_, _, err := s.Carve(24)
				require.ErrorIs(t, err, ipam.ErrExhausted)
				require.ErrorContains(t, err, `"large"`)
			}
		})
	}
	s := blocks(ipam.InOrder)
	_, err := s.Reserve(pfx("10.3.0.0/24"), "ns:web")
	require.ErrorIs(t, err, ipam.ErrNotOwner)
	require.ErrorContains(t, err, "ns:db or cluster:x")
	name, err := s.Reserve(pfx("10.3.0.0/24"), "cluster:x")
	require.NoError(t, err)
	require.Equal(t, "db", name)
	_, err = s.Reserve(pfx("10.3.0.0/25"), "cluster:x")
	require.ErrorIs(t, err, ipam.ErrInUse)
	s.Release(pfx("10.3.0.0/24"))
	_, err = s.Reserve(pfx("10.3.0.0/25"), "cluster:x")
	require.NoError(t, err)
	_, err = s.Reserve(pfx("10.9.0.0/24"))
	require.ErrorIs(t, err, ipam.ErrOutOfRange)
	private, err := ipam.NewBlockSet(ipam.InOrder, ipam.SetBlock{Name: "db", Block: block("10.3.0.0/24"), Owners: []string{"ns:db"}})
	require.NoError(t, err)
	_, _, err = private.Carve(24, "ns:web")
	require.ErrorIs(t, err, ipam.ErrNotOwner)
	_, err = ipam.NewBlockSet(ipam.InOrder, ipam.SetBlock{Name: "a", Block: block("10.3.0.0/24")}, ipam.SetBlock{Name: "a", Block: block("10.3.0.0/16")}, ipam.SetBlock{})
	for _, want := range []string{"given twice", "overlap", "lacks"} {
		require.ErrorContains(t, err, want)
	}
}
