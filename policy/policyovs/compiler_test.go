package policyovs_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// A story is a Compiler that follows an Engine whose objects change.
type story struct {
	t     *testing.T
	seed  uint64
	rnd   *rand.Rand
	l     policyovs.Layout
	e     *policy.Engine
	h     *world.History
	c     *policyovs.Compiler
	prog  *policy.Program
	ports map[string]policyovs.Port
	flows map[ovs.Key]ovs.Flow // what the deltas make
	steps []string
}

func newStory(t *testing.T, seed uint64) *story {
	s := &story{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 13)), l: policyovs.DefaultLayout(), h: world.NewHistory(),
		ports: map[string]policyovs.Port{}, flows: map[ovs.Key]ovs.Flow{}}
	if seed%2 == 1 {
		s.l.Classes = 1 + s.rnd.IntN(3) // more sets share a register
	}
	s.e = policy.NewEngine(policy.Config{Default: policy.Action(s.rnd.IntN(2))})
	var err error
	s.c, err = policyovs.NewCompiler(s.l)
	require.NoError(t, err)
	return s
}

// must fails the test with all that was done if something is not so.
func (s *story) must(ok bool, what string, args ...any) {
	if !ok {
		s.t.Helper()
		require.FailNow(s.t, fmt.Sprintf(what, args...), "seed %d:\n%s", s.seed, strings.Join(s.steps, "\n"))
	}
}

// same wants the same flows in the same order.
func (s *story) same(want, got []ovs.Flow, what string) {
	if !slices.EqualFunc(want, got, ovs.Flow.Equal) {
		s.t.Helper()
		s.must(false, "%s: %s", what, cmp.Diff(dump(want), dump(got)))
	}
}

// movePorts returns a random change of the ports, and follows it.
func (s *story) movePorts() policyovs.PortChange {
	var out policyovs.PortChange
	for i := range 4 {
		id := fmt.Sprint("m", i)
		m, known := s.h.Members[id]
		switch _, here := s.ports[id]; {
		case here && (!known || s.rnd.IntN(8) == 0):
			out.Gone = append(out.Gone, id)
			delete(s.ports, id)
		case known && !here && s.rnd.IntN(4) > 0, here && s.rnd.IntN(8) == 0:
			// Two keys a port, so that keys change too; those of ports never meet.
			p := policyovs.Port{ID: id, Key: uint32(i + 1 + 4*s.rnd.IntN(2)), MAC: ovs.MAC{2, 0, 0, 0, 0, byte(i + 1)}, IPs: m.IPs}
			out.Set = append(out.Set, p)
			s.ports[id] = p
		}
	}
	return out
}

func (s *story) local() (ids []string, ports []policyovs.Port) {
	for id, p := range s.ports {
		ids, ports = append(ids, id), append(ports, p)
	}
	return ids, ports
}

// follow applies what became of the program, and the delta to the flows.
func (s *story) follow(ports policyovs.PortChange) (policy.Change, policyovs.Delta) {
	ids, _ := s.local()
	next := s.e.Program(ids)
	change := policy.Diff(s.prog, next)
	s.steps = append(s.steps, fmt.Sprintf("%+v %+v", change, ports))
	d, err := s.c.Apply(change, ports)
	s.must(err == nil, "%v", err)
	s.prog = next
	for _, f := range d.Gone {
		old, ok := s.flows[f.Key()]
		s.must(ok && old.Equal(f), "gone, but not there: %s", f)
		delete(s.flows, f.Key())
	}
	for _, f := range d.Put {
		old, ok := s.flows[f.Key()]
		s.must(!ok || !old.Equal(f), "put, but there: %s", f)
		s.flows[f.Key()] = f
	}
	return change, d
}

// check compares with all flows compiled from nothing, and by a Compiler that
// knows the flows on the switch.
func (s *story) check() {
	_, ports := s.local()
	have := s.c.Flows()
	s.must(len(have) == len(s.flows), "%d flows, but deltas make %d", len(have), len(s.flows))
	for _, f := range have {
		s.must(f.Equal(s.flows[f.Key()]), "deltas make no %s", f)
	}
	fresh, err := policyovs.Flows(s.prog, ports, s.l)
	require.NoError(s.t, err)
	s.same(ranked(fresh), ranked(have), "from nothing")
	again, err := policyovs.NewCompiler(s.l, have...)
	require.NoError(s.t, err)
	_, err = again.Apply(policy.Diff(nil, s.prog), policyovs.PortChange{Set: ports})
	require.NoError(s.t, err)
	s.same(have, again.Flows(), "a new compiler keeps priorities")
}

// ranked are the same flows with the priorities of rules counted in each table.
func ranked(flows []ovs.Flow) []ovs.Flow {
	out := slices.Clone(flows)
	rank, last := uint16(60000), uint16(0)
	for i := range out {
		f := &out[i]
		if i == 0 || f.Table != out[i-1].Table {
			rank = 60000
		}
		prio := f.Priority
		if prio > 2000 && prio <= 60000 {
			if prio != last {
				rank--
			}
			f.Priority = rank
		}
		last = prio
	}
	return out
}

// settled reports whether no rule came, went or moved.
func settled(before *policy.Program, c policy.Change) bool {
	had := map[string]policy.Order{}
	if before != nil {
		for _, r := range before.Rules {
			had[r.ID] = r.Order
		}
	}
	return len(c.Gone) == 0 && !slices.ContainsFunc(c.Rules, func(r policy.ProgramRule) bool {
		order, ok := had[r.ID]
		return !ok || order != r.Order
	})
}

// Whatever comes and goes, the flows are those compiled from nothing, and what
// is undone leaves no trace.
func TestCompilerProperty(t *testing.T) {
	exact := 0
	for seed := range world.Worlds(t, 60) {
		s := newStory(t, seed)
		for range 25 {
			undo, err := s.h.Step(s.rnd, s.e)
			require.NoError(t, err)
			if s.rnd.IntN(3) > 0 {
				s.follow(s.movePorts())
				s.check()
				continue
			}
			before, prog := s.c.Flows(), s.prog
			change, _ := s.follow(policyovs.PortChange{})
			s.check()
			require.NoError(t, undo())
			s.follow(policyovs.PortChange{})
			s.check()
			if len(before) > 0 {
				s.same(ranked(before), ranked(s.c.Flows()), "undone")
				if settled(prog, change) {
					exact++
					s.same(before, s.c.Flows(), "undone")
				}
			}
		}
	}
	require.Greater(t, exact, 50, "changes that leave the rules are hardly tried")
}

// Of peers with one match the first is counted, whichever came first.
func TestFirstOfPeersIsCounted(t *testing.T) {
	l := policyovs.DefaultLayout()
	rule := func(id string) policy.ProgramRule {
		return policy.ProgramRule{ID: id, Section: "s", Rule: id, Direction: policy.Egress, Action: policy.Allow, Order: policy.Order{Rule: 1}}
	}
	c, err := policyovs.NewCompiler(l)
	require.NoError(t, err)
	for _, step := range []struct {
		change policy.Change
		want   string
	}{
		{policy.Change{Rules: []policy.ProgramRule{rule("b")}}, "b"}, {policy.Change{Rules: []policy.ProgramRule{rule("c")}}, "b"},
		{policy.Change{Rules: []policy.ProgramRule{rule("a")}}, "a"}, {policy.Change{Gone: []string{"a", "b"}}, "c"},
	} {
		_, err := c.Apply(step.change, policyovs.PortChange{})
		require.NoError(t, err)
		n := 0
		for _, f := range c.Flows() {
			if f.Table == l.EgressRules && f.Priority > 2000 {
				n++
				require.Equal(t, l.RuleCookie(rule(step.want)), f.Cookie)
			}
		}
		require.Equal(t, 2, n, "one flow a family")
	}
}

// A change that is refused changes nothing.
func TestCompilerRefuses(t *testing.T) {
	e, ports := shop(t)
	prog := program(e, ports)
	c, err := policyovs.NewCompiler(policyovs.DefaultLayout())
	require.NoError(t, err)
	_, err = c.Apply(policy.Diff(nil, prog), policyovs.PortChange{Set: ports})
	require.NoError(t, err)
	before := dump(c.Flows())
	var set string
	for set = range prog.Sets {
		break
	}
	good := policy.ProgramRule{ID: "new", Direction: policy.Egress}
	many := policy.Change{}
	for i := range 8001 {
		many.Rules = append(many.Rules, policy.ProgramRule{ID: fmt.Sprint("n", i), Rule: fmt.Sprint(i), Direction: policy.Egress, Order: policy.Order{Category: policy.Emergency, Position: i}})
	}
	other := policy.Reject
	for name, x := range map[string]struct {
		change policy.Change
		ports  policyovs.PortChange
		is     error
		want   string
	}{
		"default":        {policy.Change{Default: &other}, policyovs.PortChange{}, policyovs.ErrInvalid, "default REJECT"},
		"rule gone":      {policy.Change{Gone: []string{"x"}}, policyovs.PortChange{}, policyovs.ErrInvalid, `rule "x": gone, but not there`},
		"rule twice":     {policy.Change{Rules: []policy.ProgramRule{good, good}}, policyovs.PortChange{}, policyovs.ErrInvalid, `rule "new": it is there twice`},
		"set gone":       {policy.Change{Sets: []policy.SetChange{{ID: "x", Gone: true}}}, policyovs.PortChange{}, policyovs.ErrInvalid, `set "x": given twice, or gone`},
		"not in it":      {policy.Change{Sets: []policy.SetChange{{ID: set, Removed: prefixes("1.2.3.4/32")}}}, policyovs.PortChange{}, policyovs.ErrInvalid, "removed[0]: 1.2.3.4/32 is not in it"},
		"in it":          {policy.Change{Sets: []policy.SetChange{{ID: set, Added: prog.Sets[set][:1]}}}, policyovs.PortChange{}, policyovs.ErrInvalid, "is in it already"},
		"no prefix":      {policy.Change{Sets: []policy.SetChange{{ID: set, Added: prefixes("10.0.0.1/8")}}}, policyovs.PortChange{}, policyovs.ErrInvalid, "10.0.0.1/8 is not a prefix"},
		"port gone":      {policy.Change{}, policyovs.PortChange{Gone: []string{"x"}}, policyovs.ErrInvalid, `port "x": gone, but not there`},
		"key taken":      {policy.Change{}, policyovs.PortChange{Set: []policyovs.Port{{ID: "x", Key: 1, MAC: mac(9)}}}, policyovs.ErrInvalid, `port "x": key 1 is that of port "web-1"`},
		"one is good":    {policy.Change{Rules: []policy.ProgramRule{good}, Gone: []string{"x"}}, policyovs.PortChange{}, policyovs.ErrInvalid, `rule "x"`},
		"too many rules": {many, policyovs.PortChange{Set: []policyovs.Port{{ID: "x", Key: 9, MAC: mac(9)}}}, policyovs.ErrTooMany, "Emergency has priorities for 8000 rules"},
	} {
		d, err := c.Apply(x.change, x.ports)
		require.ErrorIs(t, err, x.is, name)
		require.ErrorContains(t, err, x.want, name)
		require.Zero(t, d, name)
		require.Equal(t, before, dump(c.Flows()), name)
	}
	// Ports may swap keys in one change.
	web1, web2 := ports[0], ports[1]
	web1.Key, web2.Key = web2.Key, web1.Key
	_, err = c.Apply(policy.Change{}, policyovs.PortChange{Set: []policyovs.Port{web1, web2}})
	require.NoError(t, err)
}
