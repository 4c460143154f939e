package policy_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

func text(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(b)
}

// Programs do not depend on the order of arrival, and decide as the objects do.
func TestProgramProperty(t *testing.T) {
	counts := map[policy.Action]int{}
	for seed := range uint64(120) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		p := e.Program(w.Local)
		other, err := w.Engine(rnd)
		require.NoError(t, err)
		local := slices.Clone(w.Local)
		rnd.Shuffle(len(local), func(i, j int) { local[i], local[j] = local[j], local[i] })
		require.Empty(t, cmp.Diff(text(t, p), text(t, other.Program(local))), "seed %d", seed)
		require.Equal(t, text(t, p), text(t, e.Program(w.Local)), "seed %d: again", seed)

		var decoded policy.Program
		require.NoError(t, json.Unmarshal([]byte(text(t, p)), &decoded))
		require.Equal(t, text(t, p), text(t, &decoded), "seed %d: JSON", seed)
		require.True(t, slices.IsSortedFunc(p.Rules, policy.ProgramRule.Compare), "seed %d", seed)
		rules := slices.Clone(p.Rules)
		rnd.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		require.Equal(t, text(t, p), text(t, policy.NewProgram(p.Default, rules, p.Sets)), "seed %d: from parts", seed)

		for range 100 {
			k := w.Packet(rnd)
			// A program decides for its own ports only.
			if !slices.Contains(w.Local, k.SrcPort) {
				k.SrcPort = ""
			}
			if !slices.Contains(w.Local, k.DstPort) {
				k.DstPort = ""
			}
			want := e.Eval(k)
			counts[want.Verdict]++
			require.Equal(t, want, decoded.Eval(k), "seed %d packet %+v\nworld %s\nprogram %s", seed, k, text(t, w), text(t, p))
		}
	}
	t.Log(counts)
	for _, a := range []policy.Action{policy.Allow, policy.Drop, policy.Reject} {
		require.Greater(t, counts[a], 200, "%s is hardly tried", a)
	}
}

// Membership that is kept incrementally is the one that criteria give.
func TestMembersProperty(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		v := policy.NewEvaluator(policy.Objects{Members: w.Members, Groups: w.Groups})
		for _, g := range w.Groups {
			want := []string{}
			for _, m := range w.Members {
				if v.Has(g.ID, m.ID) {
					want = append(want, m.ID)
				}
			}
			require.Equal(t, want, e.Members(g.ID), "seed %d group %s", seed, text(t, g))
			for _, m := range w.Members {
				require.Equal(t, slices.Contains(want, m.ID), slices.Contains(e.Groups(m.ID), g.ID))
			}
		}
	}
}

func TestPrefixProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 1000 {
		a, b := prefixes(rnd), prefixes(rnd)
		union, diff := policy.Aggregate(append(slices.Clone(a), b...)), policy.Subtract(a, b)
		for i := range 32 {
			for _, x := range addrs(byte(i)) {
				in := contains(a, x)
				require.Equal(t, in || contains(b, x), contains(union, x), "%s in %v + %v = %v", x, a, b, union)
				require.Equal(t, in && !contains(b, x), contains(diff, x), "%s in %v - %v = %v", x, a, b, diff)
			}
		}
		require.Equal(t, union, policy.Aggregate(union))
		require.Equal(t, union, policy.Aggregate(policy.Subtract(policy.Everything(), policy.Subtract(policy.Everything(), union))))
	}
}

// Everything may be called at once.
func TestEngineConcurrently(t *testing.T) {
	w := world.New(rand.New(rand.NewPCG(1, 4)))
	e, err := w.Engine(rand.New(rand.NewPCG(1, 5)))
	require.NoError(t, err)
	want := text(t, e.Program(w.Local))
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 6))
			for range 200 {
				if err := errors.Join(e.SetMember(w.Members[rnd.IntN(len(w.Members))]), e.SetGroup(w.Groups[rnd.IntN(len(w.Groups))]),
					e.SetSection(w.Sections[rnd.IntN(len(w.Sections))])); err != nil {
					t.Error(err)
				}
				e.Eval(w.Packet(rnd))
				e.Program(w.Local)
				e.Members(w.Groups[0].ID)
				e.Missing()
			}
		})
	}
	wg.Wait()
	require.Equal(t, want, text(t, e.Program(w.Local)))
}

// A change makes the one program of the other, and nothing of equal ones.
func TestChangeProperty(t *testing.T) {
	var from *policy.Program
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		to := e.Program(w.Local)
		c := policy.Diff(from, to)
		require.True(t, policy.Diff(to, to).IsZero())
		var decoded policy.Change
		require.NoError(t, json.Unmarshal([]byte(text(t, c)), &decoded))
		base := from
		if base == nil {
			base = &policy.Program{}
		}
		require.Equal(t, text(t, to), text(t, base.With(decoded)), "seed %d", seed)
		from = to
	}
}
