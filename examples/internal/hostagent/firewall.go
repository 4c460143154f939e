package hostagent

import (
	"context"
	"maps"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// A firewall follows the rules and the ports that they are for. Of what it
// makes, a session hands on only what changed.
type firewall struct {
	c      *policyovs.Compiler
	prog   *policy.Program
	ports  map[string]policyovs.Port
	handed bool // all that follow returned before is with the bridge
}

// resumeFirewall returns a firewall whose rules keep the priorities that they
// have on the switch.
func (s *session) resumeFirewall(ctx context.Context) (*firewall, error) {
	cookie, mask := s.policy.layout.RuleCookies()
	have, err := s.of.Flows(ctx, cookie, mask)
	if err != nil {
		return nil, err
	}
	return newFirewall(s.policy.layout, have...)
}

func newFirewall(l policyovs.Layout, have ...ovs.Flow) (*firewall, error) {
	c, err := policyovs.NewCompiler(l, have...)
	return &firewall{c: c, ports: map[string]policyovs.Port{}}, err
}

// follow compiles what changed, for a generation of connections. Until the stage
// is handed to the bridge and handed is set, the next one is whole.
func (f *firewall) follow(prog *policy.Program, ports []policyovs.Port, generation uint32) (stage, error) {
	var change policyovs.PortChange
	now := map[string]policyovs.Port{}
	for _, p := range ports {
		now[p.ID] = p
		if old, ok := f.ports[p.ID]; !ok || old.Key != p.Key || old.MAC != p.MAC || !slices.Equal(old.IPs, p.IPs) {
			change.Set = append(change.Set, p)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.ports)) {
		if _, ok := now[id]; !ok {
			change.Gone = append(change.Gone, id)
		}
	}
	delta, err := f.c.Apply(policy.Diff(f.prog, prog), change)
	if err != nil {
		return stage{}, err
	}
	f.prog, f.ports = prog, now
	next := f.c.Advance(generation) // other flows than those of rules and ports
	out := stage{name: "policy", flows: append(delta.Put, next.Put...), changed: true, gone: append(delta.Gone, next.Gone...)}
	if !f.handed {
		out = stage{name: "policy", flows: f.c.Flows()}
	}
	f.handed = false
	return out, nil
}
