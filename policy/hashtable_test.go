package policy

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A table is what a map is, also where hashes are equal or run into each other.
func TestHashtable(t *testing.T) {
	for _, hashes := range []uint64{1, 3, 50, 1 << 40} {
		rng := rand.New(rand.NewPCG(hashes, 1))
		var table hashtable[int]
		model := map[int]bool{}
		hash := func(v int) uint64 { return uint64(v) * 0x9e3779b97f4a7c15 % hashes }
		values := make([]int, 300)
		for i := range values {
			values[i] = i
		}
		for range 20000 {
			v := &values[rng.IntN(len(values))]
			switch {
			case !model[*v]:
				table.add(hash(*v), v)
				model[*v] = true
			case rng.IntN(2) == 0:
				table.remove(hash(*v), new(int)) // not there
				table.remove(hash(*v), v)
				delete(model, *v)
			}
			w := rng.IntN(len(values))
			got := table.get(hash(w), func(x *int) bool { return *x == w })
			require.Equal(t, model[w], got != nil)
			require.Equal(t, len(model), table.n)
		}
		seen := map[int]bool{}
		for v := range table.all() {
			require.False(t, seen[*v], "twice")
			seen[*v] = true
		}
		require.Equal(t, model, seen)
	}
}
