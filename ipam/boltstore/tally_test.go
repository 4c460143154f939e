package boltstore

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTally counts at random beside a map. Many hashes belong in few places.
func TestTally(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var counts tally
		plain := map[uint64]int{}
		require.Zero(t, counts.of(1))
		for step := range 5_000 {
			hash := rng.Uint64N(4)<<62 | rng.Uint64N(200)<<8
			if step/1000%2 == 0 || plain[hash] == 0 {
				plain[hash]++
				require.Equal(t, plain[hash], counts.add(hash|rng.Uint64N(256)))
			} else {
				plain[hash]--
				counts.remove(hash | rng.Uint64N(256))
			}
			if plain[hash] == 0 {
				delete(plain, hash)
			}
			require.Equal(t, len(plain), counts.used)
			hash = rng.Uint64N(4)<<62 | rng.Uint64N(200)<<8
			require.Equal(t, plain[hash], counts.of(hash))
		}
	}
}

// TestTallyFull counts one hash more often than there is room for.
func TestTallyFull(t *testing.T) {
	var counts tally
	for range 2 * mostCounted {
		counts.add(0)
	}
	for range 2 * mostCounted {
		counts.remove(0)
	}
	require.Equal(t, mostCounted, counts.of(0), "who knows how often it is there")
}
