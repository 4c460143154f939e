package ipam

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTableAgainstMap runs random steps on a table and a map.
func TestTableAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		s := newLeases("s", &Registry{seed: maphash.MakeSeed()})
		tab := table{byValue: true}
		model := map[string]*entry{}
		size := 1 + rng.IntN(300)
		for step := range 4000 {
			key := fmt.Sprint(rng.IntN(size))
			switch rng.IntN(3) {
			case 0:
				e := &entry{value: key, valueHash: s.near(key)}
				require.Same(t, model[key], tab.set(e), "seed %d step %d", seed, step)
				model[key] = e
			case 1:
				require.Same(t, model[key], tab.remove(s.near(key), key), "seed %d step %d", seed, step)
				delete(model, key)
			case 2:
				require.Same(t, model[key], tab.get(s.near(key), key), "seed %d step %d", seed, step)
			}
		}
		found := map[string]*entry{}
		tab.all(func(e *entry) { found[e.value] = e })
		require.True(t, maps.Equal(model, found), "seed %d", seed)
		require.Equal(t, len(model), tab.count)
	}
}
