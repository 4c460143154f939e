package hostagent

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is two pods of a segment on two hosts, an edge, and a policy.
var world = []string{
	`{"resource_type":"Tier0","id":"t0","transit_vni":100}`,
	`{"resource_type":"Tier1","id":"t1","tier0_path":"t0"}`,
	`{"resource_type":"Segment","id":"s","connectivity_path":"t1","vni":5000,"subnets":[{"gateway_address":"10.4.0.1/24"}]}`,
	`{"resource_type":"HostTransportNode","id":"h1","tep":"192.0.2.1","role":"host"}`,
	`{"resource_type":"HostTransportNode","id":"h2","tep":"192.0.2.2","role":"host"}`,
	`{"resource_type":"HostTransportNode","id":"e1","tep":"192.0.2.3","role":"edge"}`,
	`{"resource_type":"HostAttachments","id":"h1","iface_ids":["v1"]}`,
	`{"resource_type":"HostAttachments","id":"h2","iface_ids":["v2"]}`,
	`{"resource_type":"SegmentPort","id":"p1","attachment":{"type":"PARENT","id":"v1"}}`,
	`{"resource_type":"SegmentPort","id":"p2","attachment":{"type":"PARENT","id":"v2"}}`,
	`{"resource_type":"Group","id":"g","expression":{"condition":{"operator":"EQUALS","scope":"app","values":["web"]}}}`,
	`{"resource_type":"SecurityPolicy","id":"sec","scope":["g"],"rules":[{"id":"r","direction":"IN","sources":["g"],"services":[{"protocol":"tcp","destination_ports":["80"]}],"action":"ALLOW"},{"id":"rest","direction":"IN","action":"DROP"}]}`,
	`{"resource_type":"SegmentPort","id":"a","segment_path":"s","tags":[{"scope":"app","tag":"web"}],"attachment":{"type":"CHILD","context_id":"p1","traffic_tag":7},"address_bindings":[{"ip_address":"10.4.0.2","mac_address":"02:00:00:00:00:01"}]}`,
	`{"resource_type":"SegmentPort","id":"b","segment_path":"s","attachment":{"type":"CHILD","context_id":"p2","traffic_tag":8},"address_bindings":[{"ip_address":"10.4.0.3","mac_address":"02:00:00:00:00:02"}]}`,
}

// spanOf returns what the manager sends to a host of the world.
func spanOf(t *testing.T, host string) []intent.Object {
	t.Helper()
	store := intent.NewMemory()
	for _, d := range world {
		var o intent.Object
		require.NoError(t, json.Unmarshal([]byte(d), &o), d)
		_, err := store.Apply(t.Context(), []intent.Change{intent.Put(o)})
		require.NoError(t, err, d)
	}
	objs, _, err := store.List(t.Context(), intent.Query{})
	require.NoError(t, err)
	plane := ccp.New(intent.NewMemory())
	require.NoError(t, plane.Update(t.Context(), objs))
	require.NoError(t, plane.Faults())
	span, _, err := plane.Span(host).List(t.Context(), intent.Query{})
	require.NoError(t, err)
	return span
}

// compile returns the flows of a host as text, by table and match.
func compile(t *testing.T, s *session, objs []intent.Object, ifaces map[string]uint32) []string {
	t.Helper()
	span, err := ccp.Span(s.cfg.Host, s.cfg.Role, objs)
	require.NoError(t, err)
	var here []topology.SpanPort
	for _, p := range span.Ports {
		if _, ok := ifaces[p.Iface]; ok && p.VNI != 0 {
			here = append(here, p)
		}
	}
	keys, _, _, err := assign(nil, here)
	require.NoError(t, err)
	s.policy = &enforcement{layout: policyLayout(true)}
	s.firewall, err = newFirewall(s.policy.layout)
	require.NoError(t, err)
	p, err := newPlan(span, here, objs, keys, ifaces)
	require.NoError(t, err)
	stages, err := s.stages(p)
	require.NoError(t, err)
	var flows []ovs.Flow
	bridge := ovs.NewBridge(nil, share)
	for _, g := range stages {
		flows = append(flows, g.flows...)
		require.NoError(t, bridge.Set(g.name, g.flows, nil))
	}
	require.Empty(t, slices.Collect(bridge.Overlaps()), "what a packet meets is never left to the switch")
	seen := map[ovs.Key]bool{}
	var lines []string
	for _, f := range flows {
		require.NoError(t, f.Validate())
		require.False(t, seen[f.Key()], "two flows with one match: %s", f)
		seen[f.Key()] = true
		require.Equal(t, share.Cookie, f.Cookie&share.Mask, "the agent's own: %s", f)
		lines = append(lines, f.String())
	}
	slices.Sort(lines)
	return lines
}

// The whole pipeline of a host and of an edge, as text.
func TestFlows_Golden(t *testing.T) {
	for name, s := range map[string]*session{
		"host": {Agent: New(Config{Host: "h1"}), tunnel: 9},
		"edge": {Agent: New(Config{Host: "e1", Role: topology.RoleEdge}), tunnel: 9, downlink: 10},
	} {
		objs := spanOf(t, s.cfg.Host)
		lines := compile(t, s, objs, map[string]uint32{"v1": 3, "unknown": 4})
		slices.Reverse(objs)
		require.Empty(t, cmp.Diff(lines, compile(t, s, objs, map[string]uint32{"unknown": 4, "v1": 3})), "the order of objects means nothing")
		golden := filepath.Join("testdata", name+".flows")
		got := strings.Join(lines, "\n") + "\n"
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(string(want), got), name)
	}
}

// A VIF that is not plugged in has no flows, nor have its pods.
func TestFlows_WithoutTheVIF(t *testing.T) {
	s := &session{Agent: New(Config{Host: "h1"}), tunnel: 9}
	objs := spanOf(t, "h1")
	for _, line := range compile(t, s, objs, nil) {
		require.NotContains(t, line, "in_port=3", line)
		require.NotContains(t, line, "dl_vlan", line)
	}
	with := compile(t, s, objs, map[string]uint32{"v1": 3})
	require.True(t, slices.ContainsFunc(with, func(l string) bool { return strings.Contains(l, "in_port=3") }), "%s", strings.Join(with, "\n"))
}

func TestFlows_Faults(t *testing.T) {
	s := &session{Agent: New(Config{Host: "h1"}), tunnel: 9}
	objs := spanOf(t, "h1")
	span, err := ccp.Span("h1", topology.RoleHost, objs)
	require.NoError(t, err)
	s.policy = &enforcement{layout: policyLayout(true)}
	s.firewall, err = newFirewall(s.policy.layout)
	require.NoError(t, err)
	ifaces, keys := map[string]uint32{"v1": 3}, map[string]uint32{"a": 1}
	span.Ports = slices.DeleteFunc(span.Ports, func(p topology.SpanPort) bool { return p.ID != "a" })
	require.Len(t, span.Ports, 1)
	for want, spoil := range map[string]func(p *topology.SpanPort){
		`port "a"`: func(p *topology.SpanPort) { p.MAC = "nonsense" },
		"4095":     func(p *topology.SpanPort) { p.Attachment.VLAN = 4095 },
	} {
		here := slices.Clone(span.Ports)
		spoil(&here[0])
		p, err := newPlan(span, here, objs, keys, ifaces)
		if err == nil {
			_, err = s.stages(p)
		}
		require.ErrorContains(t, err, want)
	}
	p, err := newPlan(span, span.Ports, objs, nil, ifaces)
	require.NoError(t, err)
	_, err = s.stages(p)
	require.ErrorContains(t, err, "key", "a port without a key")
}

// A firewall hands on what changed, but all of it until the bridge has that.
func TestFirewall(t *testing.T) {
	port := func(id string, key uint32) policyovs.Port {
		return policyovs.Port{ID: id, Key: key, MAC: ovs.MAC{2, 0, 0, 0, 0, byte(key)}}
	}
	rule := policy.ProgramRule{ID: "r", Section: "s", Rule: "r", Direction: policy.Egress, Action: policy.Allow}
	l := policyLayout(true)
	f, err := newFirewall(l)
	require.NoError(t, err)
	bridge := ovs.NewBridge(nil, share)
	prog := &policy.Program{}
	for i, ports := range [][]policyovs.Port{{port("a", 1)}, {port("a", 1), port("b", 2)}, {port("b", 3)}, {port("b", 3)}, nil} {
		if i%2 == 1 {
			prog = policy.NewProgram(policy.Drop, []policy.ProgramRule{rule}, nil)
		}
		st, err := f.follow(prog, ports, uint32(i))
		require.NoError(t, err)
		require.Equal(t, i > 0 && i != 3, st.changed)
		if i == 2 {
			continue // lost on the way
		}
		require.NoError(t, st.hand(bridge))
		f.handed = true
	}
	got := f.c.Flows()
	l.Generation = 4
	flows, err := policyovs.Flows(prog, nil, l)
	require.NoError(t, err)
	require.True(t, slices.EqualFunc(flows, got, ovs.Flow.Equal))
	require.Error(t, bridge.Update("policy", nil, []ovs.Flow{{Table: 9}}))
	require.NoError(t, bridge.Update("policy", nil, got), "the bridge has them all")
	require.Empty(t, bridge.Owners(), "and no others")
}

func TestAssign(t *testing.T) {
	ports := func(ids string) (out []topology.SpanPort) {
		for _, id := range strings.Fields(ids) {
			var p topology.SpanPort
			p.ID = id
			out = append(out, p)
		}
		return out
	}
	const k = keyPrefix
	type m = map[string]uint32
	for _, c := range []struct {
		name  string
		ids   map[string]string
		ports string
		keys  m
		stale m
		fresh map[string]string
	}{
		{"none", nil, "", m{}, m{}, map[string]string{}},
		{"new, by name", nil, "b a", m{"a": 1, "b": 2}, m{}, map[string]string{k + "a": "1", k + "b": "2"}},
		{"kept", map[string]string{k + "a": "7", "other": "x"}, "a", m{"a": 7}, m{}, map[string]string{}},
		{"lowest free", map[string]string{k + "a": "2"}, "a b c", m{"a": 2, "b": 1, "c": 3}, m{}, map[string]string{k + "b": "1", k + "c": "3"}},
		{"gone", map[string]string{k + "a": "1", k + "b": "2"}, "b", m{"b": 2}, m{"a": 1}, map[string]string{}},
		{"gone, and not given yet", map[string]string{k + "a": "1"}, "b", m{"b": 2}, m{"a": 1}, map[string]string{k + "b": "2"}},
		{"the last", map[string]string{k + "a": "65535"}, "a", m{"a": 65535}, m{}, map[string]string{}},
	} {
		keys, stale, fresh, err := assign(c.ids, ports(c.ports))
		require.NoError(t, err, c.name)
		require.Equal(t, c.keys, keys, c.name)
		require.Equal(t, c.stale, stale, c.name)
		require.Equal(t, c.fresh, fresh, c.name)
	}
	for value, ids := range map[string]map[string]string{
		`tierloom-key-a="x"`:     {k + "a": "x"},
		`tierloom-key-a="0"`:     {k + "a": "0"},
		`tierloom-key-a="65536"`: {k + "a": "65536"},
		`tierloom-key-b="1"`:     {k + "a": "1", k + "b": "1"},
	} {
		_, _, _, err := assign(ids, ports("a b"))
		require.ErrorContains(t, err, value)
	}
	full := map[string]string{}
	for i := range maxKey {
		full[fmt.Sprintf("%s%d", k, i)] = strconv.Itoa(i + 1)
	}
	_, _, _, err := assign(full, ports("more"))
	require.ErrorContains(t, err, `port "more": no key left: 65535 ports have one`)
}

func TestOptions(t *testing.T) {
	o := DefaultOptions()
	require.ErrorContains(t, o.Validate(), "host: required")
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	o.Flags(fs)
	require.NoError(t, fs.Parse([]string{"-host", "h1", "-bridge", "", "-tls-ca", "ca.pem"}))
	require.ErrorContains(t, o.Validate(), "bridge: required")
	require.ErrorContains(t, o.Validate(), "all three or none")
	require.NoError(t, fs.Parse([]string{"-bridge", "br0", "-tls-ca", "", "-datapath", "netdev", "-run-dir", "/r", "-manager", "http://m"}))
	require.NoError(t, o.Validate())
	cfg, err := o.Config(proc.Env{})
	require.NoError(t, err)
	require.Equal(t, []string{"h1", "br0", "netdev", "/r"}, []string{cfg.Host, cfg.Bridge, cfg.DatapathType, cfg.RunDir})
	require.NotNil(t, cfg.Manager)
}

// An agent that starts again finds the flows of rules as it would make them.
func TestFirewallResumes(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	of, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	defer of.Close()
	ports := []policyovs.Port{{ID: "a", Key: 1, MAC: ovs.MAC{2}}}
	prog := &policy.Program{}
	s := &session{of: of, bridge: ovs.NewBridge(of, share), policy: &enforcement{layout: policyLayout(true)}}
	for i := range 20 { // each before those that are there
		r := policy.ProgramRule{ID: fmt.Sprint("r", 20-i), Section: "s", Rule: fmt.Sprint("r", 20-i), Direction: policy.Egress,
			Action: policy.Action(i % 2), Order: policy.Order{Section: 20 - i}}
		prog = policy.NewProgram(policy.Drop, append(slices.Clone(prog.Rules), r), nil)
		for range 2 { // the second is another agent
			s.firewall, err = s.resumeFirewall(t.Context())
			require.NoError(t, err)
			st, err := s.firewall.follow(prog, ports, 0)
			require.NoError(t, err)
			require.NoError(t, st.hand(s.bridge))
			report, err := s.bridge.Sync(t.Context())
			require.NoError(t, err)
			if s.bridge = ovs.NewBridge(of, share); i > 0 {
				require.LessOrEqual(t, report.Deleted, 4, "other rules keep their priorities")
			}
		}
		st, err := s.firewall.follow(prog, ports, 0)
		require.NoError(t, err)
		require.NoError(t, st.hand(s.bridge))
		report, err := s.bridge.Sync(t.Context())
		require.NoError(t, err)
		require.False(t, report.Changed(), "%+v", report)
	}
}
