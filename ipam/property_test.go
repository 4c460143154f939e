package ipam_test

import (
	"errors"
	"fmt"
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

// TestPoolAgainstMap runs random steps on a pool and a plain set.
func TestPoolAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		cfg := ipam.AddressConfig{
			Prefixes: []netip.Prefix{pfx("10.0.0.0/26"), pfx("10.2.0.0/28")},
			Ranges:   []ipam.Range{{First: ip("10.1.0.5"), Last: ip("10.1.0.40")}}, Exclude: []netip.Addr{ip("10.0.0.1"), ip("10.1.0.7")},
		}
		p, err := ipam.NewPool(cfg)
		require.NoError(t, err)
		_, total := p.Usage()
		require.Equal(t, uint64(62+14+36-2), total)
		did := &steps{fmt.Sprint("seed ", seed)}
		model := map[netip.Addr]bool{}
		var list []netip.Addr // the same, in the order of being taken
		for range 2000 {
			switch rng.IntN(6) {
			case 0, 1, 2:
				a, err := p.Allocate()
				did.add("allocate %s %v", a, err)
				if uint64(len(model)) == total {
					require.ErrorIs(t, err, ipam.ErrExhausted, did)
					continue
				}
				require.NoError(t, err, did)
				require.False(t, model[a], did)
				require.NotContains(t, cfg.Exclude, a, did)
				model[a], list = true, append(list, a)
			case 3, 4:
				if len(list) == 0 {
					continue
				}
				i := rng.IntN(len(list))
				did.add("release %s", list[i])
				p.Release(list[i])
				delete(model, list[i])
				list = slices.Delete(list, i, i+1)
			case 5:
				a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(4)), 0, byte(rng.IntN(70))})
				err := p.Reserve(a)
				did.add("reserve %s %v", a, err)
				switch {
				case !p.Contains(a):
					require.ErrorIs(t, err, ipam.ErrOutOfRange, did)
				case model[a]:
					require.ErrorIs(t, err, ipam.ErrInUse, did)
				default:
					require.NoError(t, err, did)
					model[a], list = true, append(list, a)
				}
			}
			used, _ := p.Usage()
			require.Equal(t, uint64(len(model)), used, did)
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
	for _, c := range []struct{ root, exclude string }{{"10.0.0.0/16", "10.0.7.0/24"}, {"fd00::/48", "fd00:0:0:3000::/52"}} {
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
