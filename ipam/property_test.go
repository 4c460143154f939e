package ipam_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// steps are what a random test did, printed when it fails.
type steps []string

func (s *steps) add(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }
func (s *steps) String() string                 { return "after\n" + strings.Join(*s, "\n") }

// TestPoolAgainstMap runs random steps on a pool and a plain set, among them
// changes of the configuration.
func TestPoolAgainstMap(t *testing.T) {
	configs := map[string][]ipam.AddressConfig{
		"IPv4": {
			{Prefixes: []netip.Prefix{pfx("10.0.0.0/26"), pfx("10.0.2.0/28")},
				Ranges: []ipam.Range{{First: ip("10.0.1.5"), Last: ip("10.0.1.40")}}, Exclude: []netip.Addr{ip("10.0.0.1"), ip("10.0.1.7")}},
			{Prefixes: []netip.Prefix{pfx("10.0.0.0/27"), pfx("10.0.2.0/28"), pfx("10.0.3.0/30")}, Exclude: []netip.Addr{ip("10.0.0.2")}},
			{Ranges: []ipam.Range{{First: ip("10.0.1.20"), Last: ip("10.0.1.60")}}},
		},
		"IPv6": {
			{Prefixes: []netip.Prefix{pfx("fd00::/122"), pfx("fd00::2:0/124")},
				Ranges: []ipam.Range{{First: ip("fd00::1:5"), Last: ip("fd00::1:28")}}, Exclude: []netip.Addr{ip("fd00::1"), ip("fd00::1:7")}},
			{Prefixes: []netip.Prefix{pfx("fd00::/64")}, Exclude: []netip.Addr{ip("fd00::2")}},
			{Ranges: []ipam.Range{{First: ip("fd00::1:20"), Last: ip("fd00::1:60")}}},
		},
	}
	for family, list := range configs {
		for seed := range uint64(8) {
			poolAgainstMap(t, family, list, rand.New(rand.NewPCG(seed, 4)), &steps{fmt.Sprint(family, " seed ", seed)})
		}
	}
}

func poolAgainstMap(t *testing.T, family string, configs []ipam.AddressConfig, rng *rand.Rand, did *steps) {
	p, err := ipam.NewPool(configs[0])
	require.NoError(t, err)
	cfg := configs[0]
	model := map[netip.Addr]bool{}
	draw := func() netip.Addr {
		if family == "IPv4" {
			return netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(4)), byte(rng.IntN(70))})
		}
		return netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(rng.IntN(4)), 15: byte(rng.IntN(70))})
	}
	for range 2000 {
		switch rng.IntN(24) {
		default:
			a, err := p.Allocate()
			did.add("allocate %s %v", a, err)
			if errors.Is(err, ipam.ErrExhausted) {
				held := slices.DeleteFunc(sorted(model), func(a netip.Addr) bool { return !p.Contains(a) })
				_, total := p.Usage()
				require.Equal(t, total, uint64(len(held)), did)
				continue
			}
			require.NoError(t, err, did)
			require.False(t, model[a], did)
			require.NotContains(t, cfg.Exclude, a, did)
			require.True(t, p.Contains(a), did)
			model[a] = true
		case 0, 1, 2, 3, 4, 5, 6, 7:
			a := draw()
			did.add("release %s", a)
			p.Release(a)
			delete(model, a)
		case 8, 9, 10, 11:
			a := draw()
			err := p.Reserve(a)
			did.add("reserve %s %v", a, err)
			switch {
			case model[a]:
				require.ErrorIs(t, err, ipam.ErrInUse, did)
			case !p.Contains(a):
				require.ErrorIs(t, err, ipam.ErrOutOfRange, did)
			default:
				require.NoError(t, err, did)
				model[a] = true
			}
		case 12:
			cfg = configs[rng.IntN(len(configs))]
			did.add("reconfigure %v", cfg)
			require.NoError(t, p.Reconfigure(cfg), did)
		}
		used, _ := p.Usage()
		require.Equal(t, len(model), int(used)+len(p.Leaving()), did)
		if rng.IntN(20) == 0 {
			require.Equal(t, sorted(model), slices.SortedFunc(p.All, netip.Addr.Compare), did)
		}
		for _, a := range p.Leaving() {
			require.False(t, p.Contains(a), did)
		}
	}
}

func sorted(set map[netip.Addr]bool) []netip.Addr {
	return slices.SortedFunc(maps.Keys(set), netip.Addr.Compare)
}

// TestIDsAgainstMap runs random steps on ids and MAC addresses and a plain set.
func TestIDsAgainstMap(t *testing.T) {
	for seed := range uint64(8) {
		rng, did := rand.New(rand.NewPCG(seed, 9)), &steps{fmt.Sprint("seed ", seed)}
		p, err := ipam.NewIDPool(ipam.IDConfig{Min: 4000, Max: 4095, Reserved: []uint32{4000, 4050, 4095}})
		require.NoError(t, err)
		model := map[uint32]bool{}
		for range 2000 {
			id := 3990 + uint32(rng.IntN(110))
			free := id > 4000 && id < 4095 && id != 4050
			require.Equal(t, free, p.Contains(id), did)
			switch rng.IntN(3) {
			case 0:
				id, err := p.Allocate()
				did.add("allocate %d %v", id, err)
				if len(model) == 93 {
					require.ErrorIs(t, err, ipam.ErrExhausted, did)
					continue
				}
				require.NoError(t, err, did)
				require.False(t, model[id], did)
				model[id] = true
			case 1:
				did.add("release %d", id)
				p.Release(id)
				delete(model, id)
			case 2:
				err := p.Reserve(id)
				did.add("reserve %d %v", id, err)
				switch {
				case !free:
					require.ErrorIs(t, err, ipam.ErrOutOfRange, did)
				case model[id]:
					require.ErrorIs(t, err, ipam.ErrInUse, did)
				default:
					require.NoError(t, err, did)
					model[id] = true
				}
			}
			if rng.IntN(20) == 0 {
				require.Equal(t, slices.Sorted(maps.Keys(model)), slices.Collect(p.All), did)
			}
			used, total := p.Usage()
			require.Equal(t, [2]uint64{uint64(len(model)), 93}, [2]uint64{used, total}, did)
		}
	}
}

// TestFullPool finds the few free addresses of a pool that is otherwise full,
// wherever they are: each exactly once, and no other.
func TestFullPool(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 8))
	p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/17")}})
	require.NoError(t, err)
	var all []netip.Addr
	for range 1<<15 - 2 {
		a, err := p.Allocate()
		require.NoError(t, err)
		all = append(all, a)
	}
	for round := range 300 {
		free := map[netip.Addr]bool{}
		for range rng.IntN(4) {
			a := all[rng.IntN(len(all))]
			p.Release(a)
			free[a] = true
		}
		for range len(free) {
			a, err := p.Allocate()
			require.NoError(t, err, "round %d: %v are free", round, free)
			require.True(t, free[a], "round %d: %s is not free", round, a)
			delete(free, a)
		}
		_, err = p.Allocate()
		require.ErrorIs(t, err, ipam.ErrExhausted, "round %d", round)
	}
}

// TestBlockAgainstList carves, reserves and releases subnets of mixed sizes:
// none overlap, "exhausted" is said only when no aligned subnet of that length
// is free of others, and in the end everything joins again.
func TestBlockAgainstList(t *testing.T) {
	for _, c := range []struct{ root, exclude string }{{"10.0.0.0/16", "10.0.7.0/24"}, {"fd00::/48", "fd00:0:0:3000::/52"}, {"fd00::/60", "fd00:0:0:3::/64"}} {
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 6))
			whole := pfx(c.root)
			b, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{whole}, Exclude: []netip.Prefix{pfx(c.exclude)}})
			require.NoError(t, err)
			did := &steps{fmt.Sprint("seed ", seed)}
			taken := []netip.Prefix{pfx(c.exclude)}
			for range 1500 {
				if n := len(taken) - 1; n > 0 && rng.IntN(5) < 2 {
					i := 1 + rng.IntN(n)
					did.add("release %s", taken[i])
					b.Release(taken[i])
					taken = slices.Delete(taken, i, i+1)
					continue
				}
				bits := whole.Bits() + 1 + rng.IntN(7)
				if rng.IntN(4) == 0 {
					p := pieces(whole, bits)[rng.IntN(1<<(bits-whole.Bits()))]
					err := b.Reserve(p)
					did.add("reserve %s %v", p, err)
					switch {
					case p.Overlaps(taken[0]):
						require.ErrorIs(t, err, ipam.ErrOutOfRange, did)
					case slices.ContainsFunc(taken, p.Overlaps):
						require.ErrorIs(t, err, ipam.ErrInUse, did)
					default:
						require.NoError(t, err, did)
						taken = append(taken, p)
					}
					continue
				}
				p, err := b.Carve(bits)
				did.add("carve /%d %s %v", bits, p, err)
				if errors.Is(err, ipam.ErrExhausted) {
					for _, q := range pieces(whole, bits) {
						require.True(t, slices.ContainsFunc(taken, q.Overlaps), "%s is free %s", q, did)
					}
					continue
				}
				require.NoError(t, err, did)
				require.Equal(t, bits, p.Bits(), did)
				require.False(t, slices.ContainsFunc(taken, p.Overlaps), did)
				taken = append(taken, p)
				require.Equal(t, len(taken)-1, b.Usage(), did)
				require.Equal(t, slices.SortedFunc(slices.Values(taken[1:]), netip.Prefix.Compare), slices.Collect(b.All), did)
			}
			for _, p := range taken[1:] {
				b.Release(p)
			}
			half := pieces(whole, whole.Bits()+1)[1] // the one that nothing is excluded from
			p, err := b.Carve(half.Bits())
			require.NoError(t, err, did)
			require.Equal(t, half, p, did)
		}
	}
}

// pieces returns all subnets of a prefix of a length.
func pieces(whole netip.Prefix, bits int) []netip.Prefix {
	if bits == whole.Bits() {
		return []netip.Prefix{whole}
	}
	var out []netip.Prefix
	for _, p := range pieces(whole, bits-1) {
		b := p.Addr().AsSlice()
		b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
		second, _ := netip.AddrFromSlice(b)
		out = append(out, netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(second, bits))
	}
	return out
}
