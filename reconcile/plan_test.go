package reconcile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

type thing struct{ owner, value string }

func equal(a, b thing) bool { return a == b }

// applied is actual state after a plan.
func applied(actual map[string]thing, p Plan[string, thing]) map[string]thing {
	out := maps.Clone(actual)
	for _, s := range p.Delete {
		delete(out, s.Key)
	}
	for _, s := range p.Create {
		out[s.Key] = s.New
	}
	for _, s := range p.Update {
		out[s.Key] = s.New
	}
	return out
}

func state(rnd *rand.Rand, owners ...string) map[string]thing {
	m := map[string]thing{}
	for range rnd.IntN(20) {
		m[fmt.Sprint(rnd.IntN(20))] = thing{owners[rnd.IntN(len(owners))], fmt.Sprint(rnd.IntN(3))}
	}
	return m
}

func TestDiffProperty(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 42))
		desired, actual := state(rnd, "me"), state(rnd, "me")
		p := Diff(desired, actual, equal)
		got := applied(actual, p)
		require.Empty(t, cmp.Diff(desired, got, cmp.AllowUnexported(thing{})), "seed %d: %s", seed, p)
		require.Zero(t, Diff(desired, got, equal).Len(), "seed %d", seed)
	}
}

func TestDiffOwnedProperty(t *testing.T) {
	mine := func(v thing) bool { return v.owner == "me" }
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 42))
		desired, actual := state(rnd, "me"), state(rnd, "me", "other")
		p := DiffOwned(desired, actual, equal, mine)
		got := applied(actual, p)
		want := maps.Clone(desired)
		foreign := 0
		for k, v := range actual {
			if !mine(v) {
				if _, clash := desired[k]; clash {
					foreign++
				}
				want[k] = v // stays byte for byte
			}
		}
		require.Empty(t, cmp.Diff(want, got, cmp.AllowUnexported(thing{})), "seed %d: %s", seed, p)
		require.Len(t, p.Foreign, foreign, "seed %d", seed)
	}
}

func TestOwner(t *testing.T) {
	type tags = [][2]string
	for _, tc := range []struct {
		name  string
		owner Owner
		tags  tags
		want  bool
	}{
		{"own tag", Owner{"ncp/cluster", "c1"}, tags{{"ncp/pod", "p"}, {"ncp/cluster", "c1"}}, true},
		{"other cluster", Owner{"ncp/cluster", "c1"}, tags{{"ncp/cluster", "c2"}}, false},
		{"shared", Owner{"ncp/cluster", "c1"}, tags{{"ncp/cluster", "c1"}, {"ncp/cluster", "c2"}}, false},
		{"value in other scope", Owner{"ncp/cluster", "c1"}, tags{{"ncp/pod", "c1"}}, false},
		{"no tags", Owner{"ncp/cluster", "c1"}, nil, false},
		{"zero owner", Owner{}, tags{{"", ""}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, tc.owner.Owns(func(yield func(string, string) bool) {
				for _, p := range tc.tags {
					if !yield(p[0], p[1]) {
						return
					}
				}
			}))
		})
	}
}
