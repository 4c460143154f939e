package policyovs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

// Numbers depend on which names there are, in whatever order they came, and
// who gets another is told.
func TestNumbersProperty(t *testing.T) {
	moves := 0
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 17))
		hash := func(s string) uint32 { return uint32(s[0]-'a')%4*3 + ^uint32(6) } // few, about the end of the range
		n := &numbers{hash: hash, at: map[uint32]*number{}}
		have, told := map[string]*number{}, map[string]uint32{}
		for range 60 {
			name := string(rune('a' + rnd.IntN(26)))
			if x := have[name]; x != nil {
				delete(have, name)
				delete(told, name)
				n.remove(x)
			} else {
				var x *number
				x = n.add(name, func() { moves++; told[name] = x.id })
				have[name], told[name] = x, x.id
			}
			fresh := &numbers{hash: hash, at: map[uint32]*number{}}
			for name := range have { // in any order
				fresh.add(name, func() {})
			}
			require.Len(t, n.at, len(have))
			for id, x := range n.at {
				require.NotZero(t, id)
				require.Equal(t, id, x.id)
				require.Equal(t, fresh.at[id].name, x.name, "seed %d", seed)
				require.Equal(t, id, told[x.name], "seed %d: %s moved and nobody was told", seed, x.name)
			}
		}
	}
	require.Greater(t, moves, 100)
}

// Rules that come and go at random have priorities in their order, and hardly
// any changes its own.
func TestPrioritizeProperty(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 19))
		var order []*rule
		moved, steps := 0, 1500
		for step := range steps {
			i := rnd.IntN(len(order) + 1)
			switch seed % 3 {
			case 0:
				i = len(order) // always at the end
			case 1:
				i = len(order) / 2 // always at one place
			}
			if len(order) > 0 && rnd.IntN(3) == 0 {
				i = rnd.IntN(len(order))
				order = append(order[:i:i], order[i+1:]...)
			} else {
				r := &rule{ProgramRule: policy.ProgramRule{Rule: fmt.Sprint(step), Order: policy.Order{Category: policy.Emergency}}}
				order = append(order[:i:i], append([]*rule{r}, order[i:]...)...)
			}
			prios, err := prioritize(order, func(r *rule) uint16 { return r.prio })
			require.NoError(t, err)
			for j, r := range order {
				if prios[j] > bands[0] || prios[j] <= bands[1] || j > 0 && prios[j] >= prios[j-1] {
					require.FailNow(t, "out of order", "seed %d step %d: %v", seed, step, prios)
				}
				if r.prio != 0 && r.prio != prios[j] {
					moved++
				}
				r.prio = prios[j]
			}
		}
		require.Less(t, moved, steps*15, "seed %d", seed)
	}
}

// A band can be filled to the last priority, whatever the order.
func TestPrioritizeToTheLast(t *testing.T) {
	places := make([]int, 100)
	for i := range places {
		places[i] = -1
	}
	fill(places, 100)
	for i, p := range places {
		require.Equal(t, i, p)
	}
	places = []int{0, 1, -1, 2, 3}
	fill(places, 5)
	require.Equal(t, []int{0, 1, 2, 3, 4}, places)
}
