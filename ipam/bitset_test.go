package ipam

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBitsetAgainstMap adds, removes and looks for numbers at the edges of
// words, leaves and levels and anywhere else, beside a plain map.
func TestBitsetAgainstMap(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		size := []uint64{1, 64, 4096, 4097, 70000, 1 << 24, 1<<32 + 5, 1 << 62}[seed%8]
		b, model := newBitset(size), map[uint64]bool{}
		pick := func() uint64 {
			edge := uint64(1)<<[]uint{0, 6, 12, 18, 24, 30, 36, 48, 61}[rng.IntN(9)] + rng.Uint64N(130)
			return (edge - min(edge, 65)) % size
		}
		for step := range 20000 {
			n := pick()
			if rng.IntN(4) == 0 {
				b.approach(pick())
			}
			switch rng.IntN(5) {
			case 0, 1:
				require.Equal(t, !model[n], b.add(n), "seed %d step %d: add %d", seed, step, n)
				model[n] = true
			case 2:
				require.Equal(t, model[n], b.remove(n), "seed %d step %d: remove %d", seed, step, n)
				delete(model, n)
			default:
				want := n
				for model[want] {
					want++
				}
				got, ok := b.next(n)
				require.Equal(t, want < size, ok, "seed %d step %d: next %d", seed, step, n)
				if ok {
					require.Equal(t, want, got, "seed %d step %d: next %d", seed, step, n)
				}
			}
			require.Equal(t, model[n], b.has(n), "seed %d step %d: has %d", seed, step, n)
			require.Equal(t, uint64(len(model)), b.count, "seed %d step %d", seed, step)
		}
		var want []uint64
		for n := range model {
			want = append(want, n)
		}
		slices.Sort(want)
		require.Equal(t, want, members(b), "seed %d", seed)
		for _, n := range want {
			require.True(t, b.remove(n))
		}
		require.Zero(t, b.count)
	}
}

func members(b *bitset) (list []uint64) {
	b.all(func(n uint64) bool {
		list = append(list, n)
		return true
	})
	return list
}

// TestBitsetFull fills a set of three levels but for a few numbers, and finds those.
func TestBitsetFull(t *testing.T) {
	const size = 1<<18 + 4096 + 7
	b := newBitset(size)
	for n := range uint64(size) {
		require.True(t, b.add(n))
	}
	_, ok := b.next(0)
	require.False(t, ok)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := rng.Uint64N(size)
		require.True(t, b.remove(n))
		for _, from := range []uint64{0, n, rng.Uint64N(n + 1)} {
			got, ok := b.next(from)
			require.True(t, ok)
			require.Equal(t, n, got, "from %d", from)
		}
		_, ok := b.next(n + 1)
		require.False(t, ok, n)
		require.True(t, b.add(n))
	}
}
