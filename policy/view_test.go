package policy_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// What the changes of views make, step by step, is what is compiled from
// scratch, by an engine that the objects reach in another order; a change that
// is undone leaves no trace; and both decide as the objects do.
func TestViewProperty(t *testing.T) {
	for seed := range world.Worlds(t, 60) {
		rnd := rand.New(rand.NewPCG(seed, 10))
		cfg := policy.Config{Default: []policy.Action{policy.Drop, policy.Allow}[seed%2]}
		e := policy.NewEngine(cfg)
		h := world.NewHistory()
		type follower struct {
			ports []string
			view  *policy.View
			now   *policy.Program
		}
		all := []string{"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"}
		some := func() []string { return all[:rnd.IntN(len(all)+1)] }
		var followers []*follower
		for range 3 {
			ports := some()
			followers = append(followers, &follower{ports, e.View(ports...), &policy.Program{}})
		}
		check := func(step int) {
			fresh, err := h.Fresh(rnd, cfg)
			require.NoError(t, err)
			o := h.Objects(cfg.Default)
			v := policy.NewEvaluator(o)
			for i, f := range followers {
				var c policy.Change
				require.NoError(t, json.Unmarshal([]byte(text(t, f.view.Change())), &c))
				f.now = f.now.With(c)
				want := fresh.Program(f.ports)
				require.Equal(t, text(t, want), text(t, f.now), "seed %d step %d view %d of %v", seed, step, i, f.ports)
				require.Equal(t, text(t, want), text(t, f.view.Program()))
				require.True(t, f.view.Change().IsZero())
				w := world.World{Members: o.Members}
				for range 5 * min(len(w.Members), 1) {
					k := w.Packet(rnd)
					if !slices.Contains(f.ports, k.SrcPort) {
						k.SrcPort = ""
					}
					if !slices.Contains(f.ports, k.DstPort) {
						k.DstPort = ""
					}
					require.Equal(t, v.Eval(k), f.now.Eval(k), "seed %d step %d packet %s", seed, step, k)
				}
			}
		}
		for step := range 40 {
			n := rnd.IntN(8)
			var before []string
			if n == 0 {
				check(step)
				for _, f := range followers {
					before = append(before, text(t, f.now))
				}
			}
			undo, err := h.Step(rnd, e)
			require.NoError(t, err, "seed %d step %d", seed, step)
			switch n {
			case 0:
				check(step)
				require.NoError(t, undo())
				check(step)
				for i, f := range followers {
					require.Equal(t, before[i], text(t, f.now), "seed %d step %d", seed, step)
				}
			case 1:
				f := followers[rnd.IntN(3)]
				f.ports = some()
				f.view.SetPorts(f.ports)
				check(step)
			case 2, 3:
				check(step)
			}
		}
		check(40)
		for _, f := range followers {
			f.view.Close()
		}
	}
}

// A view sees what changes a rule in a roundabout way.
func TestViewSees(t *testing.T) {
	named := func(id, tags, ip string, http uint16) policy.Member {
		m := member(id, tags, ip)
		m.Ports = map[string]policy.NamedPort{"http": {TCP: http}}
		return m
	}
	web := policy.Group{ID: "web", Criteria: policy.TagEquals("app", "web")}
	http := []policy.Service{{Protocol: policy.TCP, NamedPort: "http"}}
	for name, c := range map[string]struct {
		rule   policy.Rule
		change func(e *policy.Engine)
	}{
		"a peer's named port has another number": {
			policy.Rule{ID: "r", Destinations: []string{"web"}, Services: http, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, named("w", "app=web", "10.0.0.2", 81)) }},
		"a peer with a named port comes": {
			policy.Rule{ID: "r", Destinations: []string{"web"}, Services: http, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, named("w2", "app=web", "10.0.0.3", 80)) }},
		"a peer with a named port has another address": {
			policy.Rule{ID: "r", Destinations: []string{"web"}, Services: http, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, named("w", "app=web", "10.0.0.4", 80)) }},
		"somebody with a named port is a peer no more": {
			policy.Rule{ID: "r", Destinations: []string{"web"}, Services: http, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, named("w", "app=none", "10.0.0.2", 80)) }},
		"somebody with a named port comes": {
			policy.Rule{ID: "r", Services: http, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, named("x", "", "10.0.0.5", 82)) }},
		"a member of the own group has the port's address": {
			policy.Rule{ID: "r", Sources: []string{"web"}, Direction: policy.Egress},
			func(e *policy.Engine) { set(t, e, member("twin", "app=web", "10.0.0.1")) }},
		"a group goes and comes again, and a member left": {
			policy.Rule{ID: "r", Destinations: []string{"web"}, Direction: policy.Egress},
			func(e *policy.Engine) {
				e.DeleteGroup("web")
				e.DeleteMember("w")
				set(t, e, web)
			}},
		"a nested group changes": {
			policy.Rule{ID: "r", Destinations: []string{"all"}, Direction: policy.Egress},
			func(e *policy.Engine) {
				set(t, e, policy.Group{ID: "web", Criteria: policy.TagEquals("app", "other"), IPs: pfx("192.0.2.0/24")})
			}},
	} {
		t.Run(name, func(t *testing.T) {
			e := policy.NewEngine(policy.Config{})
			set(t, e, member("port", "", "10.0.0.1"), named("w", "app=web", "10.0.0.2", 80), web, policy.Group{ID: "all", Groups: []string{"web"}},
				policy.Section{ID: "s", Rules: []policy.Rule{c.rule}})
			v := e.View("port")
			before := (&policy.Program{}).With(v.Change())
			c.change(e)
			after := before.With(v.Change())
			require.Equal(t, text(t, e.Program([]string{"port"})), text(t, after))
			require.NotEqual(t, text(t, before), text(t, after))
		})
	}
}
