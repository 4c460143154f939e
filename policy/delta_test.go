package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// A ledger is what deltas make of who is in which group and which rules apply
// to which port.
type ledger struct {
	generation uint64
	groups     map[string]map[string]bool
	ports      map[string]map[policy.RuleID]bool
	all        map[policy.RuleID]bool // apply to every port
}

func (l *ledger) enter(t *testing.T, d policy.Delta) {
	require.Equal(t, l.generation+1, d.Generation)
	l.generation++
	for _, g := range d.Groups {
		if l.groups[g.Group] == nil {
			l.groups[g.Group] = map[string]bool{}
		}
		for _, id := range g.Left {
			require.True(t, l.groups[g.Group][id], "%s left %s, where it was not", id, g.Group)
			delete(l.groups[g.Group], id)
		}
		for _, id := range g.Joined {
			require.False(t, l.groups[g.Group][id], "%s joined %s again", id, g.Group)
			l.groups[g.Group][id] = true
		}
	}
	for _, p := range d.Ports {
		rules := l.all
		if p.Port != policy.Any {
			if l.ports[p.Port] == nil {
				l.ports[p.Port] = map[policy.RuleID]bool{}
			}
			rules = l.ports[p.Port]
		}
		for _, r := range p.Removed {
			require.True(t, rules[r], "%v did not apply to %s", r, p.Port)
			delete(rules, r)
		}
		for _, r := range p.Added {
			require.False(t, rules[r], "%v applies to %s already", r, p.Port)
			rules[r] = true
		}
	}
}

// Deltas alone tell who is in which group, and which rules apply to which port.
func TestDeltaProperty(t *testing.T) {
	for seed := range world.Worlds(t, 60) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		l := ledger{groups: map[string]map[string]bool{}, ports: map[string]map[policy.RuleID]bool{}, all: map[policy.RuleID]bool{}}
		e := policy.NewEngine(policy.Config{Changed: func(d policy.Delta) { l.enter(t, d) }})
		h := world.NewHistory()
		for step := range 60 {
			_, err := h.Step(rnd, e)
			require.NoError(t, err, "seed %d step %d", seed, step)
			o := h.Objects(policy.Drop)
			v := policy.NewEvaluator(o)
			for _, g := range o.Groups {
				want := []string{}
				for _, m := range o.Members {
					if v.Has(g.ID, m.ID) {
						want = append(want, m.ID)
					}
				}
				require.Equal(t, want, e.Members(g.ID), "seed %d step %d: %s", seed, step, g.ID)
				require.Equal(t, want, sorted(l.groups[g.ID]), "seed %d step %d: %s", seed, step, g.ID)
			}
			for _, m := range o.Members {
				got := map[policy.RuleID]bool{}
				for r := range l.all {
					got[r] = true
				}
				for r := range l.ports[m.ID] {
					got[r] = true
				}
				want := map[policy.RuleID]bool{}
				for _, r := range e.Rules(m.ID) {
					want[r] = true
				}
				require.Equal(t, want, got, "seed %d step %d: %s", seed, step, m.ID)
			}
			require.Equal(t, h.Missing(), e.Missing(), "seed %d step %d", seed, step)
			ports := 0
			for _, c := range e.Classes() {
				for _, id := range c.Ports {
					ports++
					require.Equal(t, e.Rules(id), c.Rules, "seed %d step %d: %s", seed, step, id)
				}
			}
			require.Equal(t, len(o.Members), ports, "seed %d step %d", seed, step)
		}
		h.Clear(e)
		require.Empty(t, e.Classes())
		for id, members := range l.groups {
			require.Empty(t, members, id)
		}
	}
}

func sorted(set map[string]bool) []string {
	out := []string{}
	for id := range set {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
