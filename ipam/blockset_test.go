package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A plainBlock is a block as a list of what is taken, for comparison.
type plainBlock struct {
	ipam.SetBlock
	prefixes []netip.Prefix
	exclude  []netip.Prefix
	taken    []netip.Prefix
}

// plainBlocks are several blocks of one family, some for owners, one of two
// prefixes, and one with a hole.
func plainBlocks(t *testing.T, v6 bool) []*plainBlock {
	at := func(i, bits int) netip.Prefix {
		if v6 {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 4: byte(i)}), 16+bits)
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), bits)
	}
	blocks := []*plainBlock{
		{SetBlock: ipam.SetBlock{Name: "shared"}, prefixes: []netip.Prefix{at(0, 24)}},
		{SetBlock: ipam.SetBlock{Name: "db", Owners: []string{"ns:db"}}, prefixes: []netip.Prefix{at(1, 25), at(2, 26)}},
		{SetBlock: ipam.SetBlock{Name: "hole"}, prefixes: []netip.Prefix{at(3, 24)}, exclude: []netip.Prefix{at(3, 27)}},
		{SetBlock: ipam.SetBlock{Name: "cluster", Owners: []string{"cluster:x", "ns:web"}}, prefixes: []netip.Prefix{at(4, 24)}},
	}
	for _, b := range blocks {
		var err error
		b.Block, err = ipam.NewBlock(ipam.SubnetConfig{Prefixes: b.prefixes, Exclude: b.exclude})
		require.NoError(t, err)
	}
	return blocks
}

func (b *plainBlock) allows(as string) bool {
	return len(b.Owners) == 0 || slices.Contains(b.Owners, as)
}

func (b *plainBlock) free(p netip.Prefix) bool {
	return !slices.ContainsFunc(b.taken, p.Overlaps) && !slices.ContainsFunc(b.exclude, p.Overlaps)
}

// room returns the lengths of the free pieces that hold a subnet of a length,
// each piece as large as can be.
func (b *plainBlock) room(bits int) (lengths []int) {
	for _, root := range b.prefixes {
		for n := root.Bits(); n <= bits; n++ {
			for _, p := range pieces(root, n) {
				whole := n > root.Bits() && b.free(netip.PrefixFrom(p.Addr(), n-1).Masked())
				if b.free(p) && !whole {
					lengths = append(lengths, n)
				}
			}
		}
	}
	return lengths
}

// piece returns the largest free piece that holds p.
func (b *plainBlock) piece(p netip.Prefix) netip.Prefix {
	for {
		wider := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		if slices.Contains(b.prefixes, p) || !b.free(wider) {
			return p
		}
		p = wider
	}
}

// used is the share of the block that is taken.
func (b *plainBlock) used() float64 {
	var used, total float64
	size := func(p netip.Prefix) float64 { return 1 / float64(uint64(1)<<(p.Bits()-16)) }
	for _, p := range b.prefixes {
		total += size(p)
	}
	for _, p := range b.exclude {
		total -= size(p)
	}
	for _, p := range b.taken {
		used += size(p)
	}
	return used / total
}

// expect returns the block from which a caller's subnet is to come, nil if
// from none.
func expect(blocks []*plainBlock, order ipam.Order, bits int, as string) (best *plainBlock) {
	for _, owned := range []bool{true, false} {
		for _, b := range blocks {
			if (len(b.Owners) > 0) != owned || !b.allows(as) || len(b.room(bits)) == 0 {
				continue
			}
			if best == nil || order == ipam.LeastUsed && b.used() < best.used() {
				best = b
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// TestBlockSetAgainstLists carves, reserves and releases subnets of mixed
// sizes for several callers. Each comes from the block that it should, out of
// the smallest piece that has room; in the end all blocks are whole.
func TestBlockSetAgainstLists(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, order := range []ipam.Order{ipam.InOrder, ipam.LeastUsed} {
			for seed := range uint64(4) {
				did := &steps{fmt.Sprintf("v6 %v order %d seed %d", v6, order, seed)}
				blockSetAgainstLists(t, plainBlocks(t, v6), order, rand.New(rand.NewPCG(seed, 12)), did)
			}
		}
	}
}

func blockSetAgainstLists(t *testing.T, blocks []*plainBlock, order ipam.Order, rng *rand.Rand, did *steps) {
	var list []ipam.SetBlock
	for _, b := range blocks {
		list = append(list, b.SetBlock)
	}
	set, err := ipam.NewBlockSet(order, list...)
	require.NoError(t, err)
	callers := []string{"ns:db", "ns:web", "cluster:x", "ns:other", ""}
	longest := blocks[0].prefixes[0].Bits() + 5
	for range 250 {
		as := callers[rng.IntN(len(callers))]
		b := blocks[rng.IntN(len(blocks))]
		switch rng.IntN(5) {
		case 0, 1:
			if len(b.taken) == 0 {
				continue
			}
			i := rng.IntN(len(b.taken))
			did.add("release %s", b.taken[i])
			set.Release(b.taken[i])
			set.Release(b.taken[i])
			b.taken = slices.Delete(b.taken, i, i+1)
		case 2:
			root := b.prefixes[rng.IntN(len(b.prefixes))]
			bits := root.Bits() + rng.IntN(longest-root.Bits()+1)
			p := pieces(root, bits)[rng.IntN(1<<(bits-root.Bits()))]
			name, err := set.Reserve(p, as)
			did.add("reserve %s as %q: %q %v", p, as, name, err)
			switch {
			case slices.ContainsFunc(b.exclude, p.Overlaps):
				require.ErrorIs(t, err, ipam.ErrOutOfRange, did)
			case !b.allows(as):
				require.ErrorIs(t, err, ipam.ErrNotOwner, did)
			case !b.free(p):
				require.ErrorIs(t, err, ipam.ErrInUse, did)
			default:
				require.NoError(t, err, did)
				require.Equal(t, b.Name, name, did)
				b.taken = append(b.taken, p)
			}
		default:
			bits := longest - rng.IntN(6)
			want := expect(blocks, order, bits, as)
			name, p, err := set.Carve(bits, as)
			did.add("carve /%d as %q: %s of %q %v", bits, as, p, name, err)
			if want == nil {
				require.True(t, errors.Is(err, ipam.ErrExhausted), did)
				continue
			}
			require.NoError(t, err, did)
			require.Equal(t, want.Name, name, did)
			require.Equal(t, bits, p.Bits(), did)
			require.True(t, want.free(p), did)
			require.True(t, want.Block.Contains(p), did)
			require.Equal(t, slices.Max(want.room(bits)), want.piece(p).Bits(), "not out of the smallest piece %s", did)
			want.taken = append(want.taken, p)
		}
		for _, b := range blocks {
			require.ElementsMatch(t, b.taken, slices.Collect(b.Block.All), did)
			require.InDelta(t, b.used(), b.Block.Share(), 1e-9, did)
		}
	}
	for _, b := range blocks {
		for _, p := range b.taken {
			set.Release(p)
		}
		for _, root := range b.prefixes {
			whole := root
			if len(b.exclude) > 0 {
				whole = pieces(root, root.Bits()+1)[1] // the half without the hole
			}
			require.NoError(t, b.Block.Reserve(whole), did)
		}
	}
}
