package policy_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

func member(id, tags, ip string) policy.Member {
	m := policy.Member{ID: id, IPs: []netip.Addr{netip.MustParseAddr(ip)}}
	for _, f := range strings.Fields(tags) {
		k, v, _ := strings.Cut(f, "=")
		m.Tags = append(m.Tags, policy.Tag{Scope: k, Tag: v})
	}
	return m
}

func set(t testing.TB, e *policy.Engine, objects ...any) {
	t.Helper()
	for _, o := range objects {
		switch o := o.(type) {
		case policy.Member:
			require.NoError(t, e.SetMember(o))
		case policy.Group:
			require.NoError(t, e.SetGroup(o))
		case policy.Section:
			require.NoError(t, e.SetSection(o))
		}
	}
}

func ping(e *policy.Engine, from, to policy.Member) policy.Decision {
	return e.Eval(policy.Packet{SrcPort: from.ID, DstPort: to.ID, Src: from.IPs[0], Dst: to.IPs[0], Proto: uint8(policy.ICMP), ICMPType: 8})
}

// Three ports enter a group by a label: ping between them stops, and to
// others goes on; the label goes, and all is as before.
func TestLabelMovesPortsIntoRule(t *testing.T) {
	web := []policy.Member{member("w1", "app=web", "10.0.0.1"), member("w2", "app=web", "10.0.0.2"), member("w3", "app=web", "10.0.0.3")}
	redis := member("redis", "app=redis", "10.0.0.9")
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	set(t, e, web[0], web[1], web[2], redis, policy.Group{ID: "secgroup-web", Criteria: policy.TagEquals("secgroup", "web")},
		policy.Section{ID: "s", Category: policy.Environment, Rules: []policy.Rule{
			{ID: "web-web", Sources: []string{"secgroup-web"}, Destinations: []string{"secgroup-web"}, Action: policy.Drop}}})
	before := text(t, e.Program([]string{"w1", "redis"}))
	require.Empty(t, e.Members("secgroup-web"))
	require.True(t, ping(e, web[0], web[1]).Allowed())

	for _, w := range web {
		w.Tags = append(w.Tags, policy.Tag{Scope: "secgroup", Tag: "web"})
		set(t, e, w)
	}
	require.Equal(t, []string{"w1", "w2", "w3"}, e.Members("secgroup-web"))
	require.Equal(t, `OUT at port w1: DROP by rule "web-web" of section "s"`, ping(e, web[0], web[1]).Why)
	require.True(t, ping(e, web[0], redis).Allowed())
	require.NotEqual(t, before, text(t, e.Program([]string{"w1", "redis"})))

	for _, w := range web {
		set(t, e, w)
	}
	require.True(t, ping(e, web[0], web[1]).Allowed())
	require.Equal(t, before, text(t, e.Program([]string{"w1", "redis"})))
}

// The first rule decides, by category, sequence number, section id, rule.
func TestOrder(t *testing.T) {
	a, b := member("a", "", "10.0.0.1"), member("b", "", "10.0.0.2")
	rule := func(id string, x policy.Action) []policy.Rule {
		return []policy.Rule{{ID: id, Action: x, Direction: policy.Egress}}
	}
	e := policy.NewEngine(policy.Config{})
	set(t, e, a, b)
	check := func(section, rule string, allowed bool) {
		t.Helper()
		d := e.Eval(policy.Packet{SrcPort: "a", Src: a.IPs[0], Dst: b.IPs[0], Proto: 6, DstPortNo: 80})
		require.Equal(t, section, d.Egress.Section)
		require.Equal(t, rule, d.Egress.Rule)
		require.Equal(t, allowed, d.Allowed())
		require.Equal(t, d, e.Program([]string{"a"}).Eval(policy.Packet{SrcPort: "a", Src: a.IPs[0], Dst: b.IPs[0], Proto: 6, DstPortNo: 80}))
	}
	check("", "", false) // the zero default drops
	for _, s := range []struct {
		section policy.Section
		allowed bool
	}{
		{policy.Section{ID: "base", Category: policy.Baseline, Rules: rule("r", policy.Allow)}, true},
		{policy.Section{ID: "app-9", Priority: 9, Rules: rule("r", policy.Drop)}, false},
		{policy.Section{ID: "m", Priority: 5, Rules: rule("r", policy.Allow)}, true},
		{policy.Section{ID: "a", Priority: 5, Rules: rule("r", policy.Drop)}, false},
		{policy.Section{ID: "env", Category: policy.Environment, Priority: 99, Rules: rule("r", policy.Allow)}, true},
		{policy.Section{ID: "infra", Category: policy.Infrastructure, Rules: rule("r", policy.Drop)}, false},
		{policy.Section{ID: "emergency", Category: policy.Emergency, Rules: rule("r", policy.Allow)}, true},
	} {
		set(t, e, s.section)
		check(s.section.ID, "r", s.allowed)
	}
	// Within a section: the rule's number, then its place.
	set(t, e, policy.Section{ID: "emergency", Category: policy.Emergency, Rules: append(append(rule("x", policy.Allow), policy.Rule{ID: "z", Sequence: 3, Action: policy.Allow}), rule("y", policy.Drop)...)})
	check("emergency", "x", true)
	set(t, e, policy.Section{ID: "emergency", Category: policy.Emergency, Rules: []policy.Rule{{ID: "x", Sequence: 2, Action: policy.Allow}, {ID: "y", Sequence: 1, Action: policy.Drop}}})
	check("emergency", "y", false)
	require.Equal(t, []policy.RuleID{{Section: "emergency", Rule: "y"}, {Section: "emergency", Rule: "x"}, {Section: "infra", Rule: "r"}, {Section: "env", Rule: "r"},
		{Section: "a", Rule: "r"}, {Section: "m", Rule: "r"}, {Section: "app-9", Rule: "r"}, {Section: "base", Rule: "r"}}, e.Order())
	// Pass goes on with Application.
	set(t, e, policy.Section{ID: "emergency", Category: policy.Emergency, Rules: rule("pass", policy.Pass)})
	check("a", "r", false)
	e.DeleteSection("emergency")
	check("infra", "r", false)
}

// What is not known is nobody, whether named, excluded or applied to.
func TestMissingGroups(t *testing.T) {
	a, b := member("a", "", "10.0.0.1"), member("b", "", "10.0.0.2")
	e := policy.NewEngine(policy.Config{})
	set(t, e, a, b)
	for _, r := range []policy.Rule{
		{ID: "r", Action: policy.Allow, Sources: []string{"later"}},
		{ID: "r", Action: policy.Allow, Sources: []string{"later"}, SourcesExcluded: true},
		{ID: "r", Action: policy.Allow, Destinations: []string{"10.9.9.9", "later"}, DestinationsExcluded: true},
		{ID: "r", Action: policy.Allow, AppliedTo: []string{"later"}},
	} {
		set(t, e, policy.Section{ID: "s", Rules: []policy.Rule{r}})
		require.Equal(t, []string{"later"}, e.Missing())
		require.False(t, ping(e, a, b).Allowed(), "%+v", r)
		k := policy.Packet{SrcPort: "a", Src: a.IPs[0], Dst: b.IPs[0]}
		require.False(t, e.Program([]string{"a"}).Eval(k).Allowed(), "%+v", r)
	}
	require.Equal(t, "port nobody is not known", e.Eval(policy.Packet{SrcPort: "nobody"}).Why)
}

// What a port sends to itself passes no port: no rule is about it, and no default.
func TestToItself(t *testing.T) {
	a := member("a", "", "10.0.0.1")
	e := policy.NewEngine(policy.Config{})
	set(t, e, a, policy.Section{ID: "s", Category: policy.Emergency, Rules: []policy.Rule{{ID: "no", Action: policy.Reject}}})
	k := policy.Packet{SrcPort: "a", DstPort: "a", Src: a.IPs[0], Dst: a.IPs[0], Proto: 6, DstPortNo: 80}
	want := policy.Decision{Verdict: policy.Allow, Why: "port a to itself"}
	require.Equal(t, want, e.Eval(k))
	require.Equal(t, want, e.Program([]string{"a"}).Eval(k))
	k.DstPort = "" // to somebody else who has the address
	require.False(t, e.Eval(k).Allowed())
	require.True(t, e.Eval(policy.Packet{Src: a.IPs[0], Dst: a.IPs[0]}).Allowed(), "no port of ours")
}

func TestRefused(t *testing.T) {
	e := policy.NewEngine(policy.Config{})
	services := func(s ...policy.Service) policy.Section {
		return policy.Section{ID: "s", Rules: []policy.Rule{{ID: "ok"}, {ID: "r", Services: s}}}
	}
	eight := uint8(8)
	for _, c := range []struct {
		err  error
		want string
	}{
		{e.SetMember(policy.Member{}), `policy: member "": id: empty: invalid`},
		{e.SetMember(policy.Member{ID: "m", IPs: []netip.Addr{{}}}), `policy: member "m": ip_addresses[0]: "invalid IP"`},
		{e.SetMember(policy.Member{ID: "m", IPs: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")}}), "ip_addresses[0]"},
		{e.SetGroup(policy.Group{ID: "10.0.0.0/8"}), `group "10.0.0.0/8": id: reads as an address`},
		{e.SetGroup(policy.Group{ID: "g", IPs: []netip.Prefix{{}}}), "ip_addresses[0]"},
		{e.SetGroup(policy.Group{ID: "g", Members: []string{""}}), "members[0]: empty"},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.And(policy.TagEquals("a", "b"), policy.Or(policy.TagEquals("", "b")))}), "expression.all[1].any[0].condition.scope: empty"},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.Expr{All: []policy.Expr{policy.TagEquals("a", "b")}, Any: []policy.Expr{policy.TagEquals("a", "b")}}}), "expression: exactly one of"},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.Expr{All: []policy.Expr{}}}), "expression: exactly one of"},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.When(policy.Condition{Operator: "LIKE", Scope: "a"})}), `expression.condition.operator: "LIKE"`},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.When(policy.Condition{Operator: policy.In, Scope: "a"})}), "expression.condition.values: none with IN"},
		{e.SetGroup(policy.Group{ID: "g", Criteria: policy.When(policy.Condition{Operator: policy.Exists, Scope: "a", Values: []string{"x"}})}), "1 values, want none"},
		{e.SetSection(policy.Section{ID: "s", Category: "Ethernet"}), `section "s": category: "Ethernet" is none of`},
		{e.SetSection(policy.Section{ID: "s", AppliedTo: []string{"10.0.0.1"}}), "scope[0]: 10.0.0.1 is an address"},
		{e.SetSection(policy.Section{ID: "s", Rules: []policy.Rule{{ID: "r"}, {ID: "r"}}}), `rules[1].id: "r" is that of rules[0]`},
		{e.SetSection(policy.Section{ID: "s", Rules: []policy.Rule{{ID: "r", Action: policy.Pass}}}), "rules[0].action: JUMP_TO_APPLICATION in a section"},
		{e.SetSection(policy.Section{ID: "s", Rules: []policy.Rule{{ID: "r", Sources: []string{"g", "ANY"}}}}), `rules[0].sources[1]: "ANY"`},
		{e.SetSection(policy.Section{ID: "s", Rules: []policy.Rule{{ID: "r", SourcesExcluded: true}}}), "rules[0].sources_excluded: nothing is left"},
		{e.SetSection(services(policy.Service{Ports: []policy.PortRange{policy.Port(1)}})), "rules[1].services[0].protocol: ANY has no ports"},
		{e.SetSection(services(policy.Service{Protocol: 6, Ports: []policy.PortRange{{From: 2, To: 1}}})), "destination_ports[0]: 2-1 ends before"},
		{e.SetSection(services(policy.Service{Protocol: 6, ICMPType: &eight})), "icmp_type: set for TCP"},
		{e.SetSection(services(policy.Service{Protocol: 1, ICMPCode: &eight})), "icmp_code: set without"},
	} {
		require.ErrorIs(t, c.err, policy.ErrInvalid, c.want)
		require.ErrorContains(t, c.err, c.want)
	}
	require.Empty(t, e.Members("g"))
	err := e.SetSection(policy.Section{Category: "X", Rules: []policy.Rule{{}}})
	for _, want := range []string{"id: empty", "category", "rules[0].id"} {
		require.ErrorContains(t, err, want, "all faults are reported")
	}
}

func TestProgramRuleRefused(t *testing.T) {
	eight := uint8(8)
	good := policy.ProgramRule{ID: "r", Direction: policy.Egress, Order: policy.Order{Category: policy.Environment}, Action: policy.Pass, Local: pfx("10.0.0.1/32"),
		Peers: &policy.AddressSet{Prefixes: pfx("fd00::/64")}, Services: []policy.Service{{Protocol: policy.ICMP, ICMPType: &eight}}}
	require.NoError(t, good.Validate())
	require.NoError(t, policy.ProgramRule{ID: "r", Direction: policy.Ingress}.Validate(), "no category is Application")
	for want, change := range map[string]func(*policy.ProgramRule){
		`policy: rule "": id: empty: invalid`:     func(r *policy.ProgramRule) { r.ID = "" },
		`rule "r": direction: IN_OUT is neither`:  func(r *policy.ProgramRule) { r.Direction = policy.InOut },
		`action: `:                                func(r *policy.ProgramRule) { r.Action = 99 },
		`established: `:                           func(r *policy.ProgramRule) { r.Established = 99 },
		`order.category: "X" is none of`:          func(r *policy.ProgramRule) { r.Order.Category = "X" },
		`action: JUMP_TO_APPLICATION in category`: func(r *policy.ProgramRule) { r.Order.Category = policy.Application },
		`local[0]: 10.0.0.1/8 is not`:             func(r *policy.ProgramRule) { r.Local = pfx("10.0.0.1/8") },
		`peers.prefixes[1]: invalid Prefix is not`: func(r *policy.ProgramRule) {
			r.Peers = &policy.AddressSet{Prefixes: append(pfx("::/0"), netip.Prefix{})}
		},
		`services[0].named_port: "http" is not a numb`: func(r *policy.ProgramRule) { r.Services = []policy.Service{{Protocol: policy.TCP, NamedPort: "http"}} },
		`services[0].icmp_code: set without`:           func(r *policy.ProgramRule) { r.Services = []policy.Service{{Protocol: policy.ICMP, ICMPCode: &eight}} },
	} {
		r := good
		change(&r)
		require.ErrorIs(t, r.Validate(), policy.ErrInvalid, want)
		require.ErrorContains(t, r.Validate(), want)
	}
}

func TestJSON(t *testing.T) {
	eight := uint8(8)
	group := policy.Group{ID: "g", DisplayName: "G", Tags: []policy.Tag{{Scope: "a", Tag: "b"}}, Members: []string{"m"},
		Criteria: policy.And(policy.TagEquals("app", "web"), policy.Or(policy.NamespaceTagEquals("env", "prod"), policy.InNamespace("x"))),
		IPs:      pfx("10.0.0.0/8", "fd00::/64"), ExcludedIPs: pfx("10.1.0.0/16")}
	section := policy.Section{ID: "s", DisplayName: "S", Category: policy.Emergency, Priority: 7, AppliedTo: []string{"g"}, Rules: []policy.Rule{
		{ID: "r", DisplayName: "R", Sequence: 3, Sources: []string{"g"}, SourcesExcluded: true, Destinations: []string{"10.0.0.0/8"}, Action: policy.Reject, Direction: policy.Ingress, Logged: true,
			AppliedTo: []string{"h"}, Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(80), {From: 8000, To: 8999}}, NamedPort: "http"},
				{Protocol: policy.ICMP, ICMPType: &eight, ICMPCode: &eight}, {Protocol: 47}, {}}}}}
	m := member("m", "a=b", "10.0.0.1")
	m.Ports = map[string]policy.NamedPort{"http": {TCP: 80, UDP: 81}}
	roundTrip(t, group)
	roundTrip(t, section)
	roundTrip(t, m)
	require.JSONEq(t, `{"id":"s","display_name":"S","category":"Emergency","sequence_number":7,"scope":["g"],"rules":[
		{"id":"r","display_name":"R","sequence_number":3,"sources":["g"],"sources_excluded":true,"destinations":["10.0.0.0/8"],"action":"REJECT","direction":"IN","logged":true,"scope":["h"],
		"services":[{"protocol":"TCP","destination_ports":["80","8000-8999"],"named_port":"http"},{"protocol":"ICMP","icmp_type":8,"icmp_code":8},{"protocol":"47"},{}]}]}`, text(t, section))
	require.JSONEq(t, `{"id":"g"}`, text(t, policy.Group{ID: "g"}))
	for _, s := range []string{`{"action":"permit"}`, `{"direction":"UP"}`, `{"services":[{"protocol":"QUIC"}]}`, `{"services":[{"destination_ports":["9-8"]}]}`, `{"services":[{"destination_ports":["65536"]}]}`} {
		require.ErrorIs(t, json.Unmarshal([]byte(s), &policy.Rule{}), policy.ErrInvalid, s)
	}
	var r policy.Rule
	require.NoError(t, json.Unmarshal([]byte(`{"action":"allow","direction":"in_out","services":[{"protocol":"tcp"}]}`), &r))
	require.Equal(t, policy.Rule{Action: policy.Allow, Services: []policy.Service{{Protocol: policy.TCP}}}, r)
}

func roundTrip[T any](t *testing.T, v T) {
	t.Helper()
	var got T
	require.NoError(t, json.Unmarshal([]byte(text(t, v)), &got))
	require.Empty(t, cmp.Diff(v, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })))
}

// The Engine keeps copies: neither arguments nor results are shared.
func TestCopies(t *testing.T) {
	a := member("a", "app=web", "10.0.0.1")
	g := policy.Group{ID: "g", Criteria: policy.TagEquals("app", "web")}
	s := policy.Section{ID: "s", Rules: []policy.Rule{{ID: "r", Destinations: []string{"g"}, Action: policy.Allow, Services: []policy.Service{{Protocol: 6, Ports: []policy.PortRange{policy.Port(80)}}}}}}
	e := policy.NewEngine(policy.Config{})
	set(t, e, a, g, s)
	want := text(t, e.Program([]string{"a"}))
	a.Tags[0].Tag, a.IPs[0] = "db", netip.MustParseAddr("10.9.9.9")
	g.Criteria.Condition.Values[0] = "db"
	s.Rules[0].Destinations[0], s.Rules[0].Services[0].Ports[0] = "h", policy.Port(1)
	p := e.Program([]string{"a"})
	require.Len(t, p.Sets, 1)
	for _, list := range p.Sets {
		list[0] = pfx("0.0.0.0/0")[0]
	}
	p.Rules[0].Services[0].Ports[0] = policy.Port(2)
	require.Equal(t, want, text(t, e.Program([]string{"a"})))
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"80", "8000-8999", "tcp", "47", "ALLOW", "IN_OUT", "-", "1-", "ICMPv6", "pass"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, r2 policy.PortRange
		if r.UnmarshalText([]byte(s)) == nil {
			require.NoError(t, r2.UnmarshalText([]byte(r.String())))
			require.Equal(t, r, r2)
			require.LessOrEqual(t, r.From, r.To)
		}
		var p, p2 policy.Protocol
		if p.UnmarshalText([]byte(s)) == nil {
			require.NoError(t, p2.UnmarshalText([]byte(p.String())))
			require.Equal(t, p, p2)
		}
		var a, a2 policy.Action
		if a.UnmarshalText([]byte(s)) == nil {
			require.NoError(t, a2.UnmarshalText([]byte(a.String())))
			require.Equal(t, a, a2)
		}
		var d, d2 policy.Direction
		if d.UnmarshalText([]byte(s)) == nil {
			require.NoError(t, d2.UnmarshalText([]byte(d.String())))
			require.Equal(t, d, d2)
		}
	})
}

func FuzzSectionJSON(f *testing.F) {
	f.Add(`{"id":"s","category":"Emergency","rules":[{"id":"r","action":"ALLOW","services":[{"protocol":"TCP","destination_ports":["80"]}]}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		var v, again policy.Section
		if json.Unmarshal([]byte(s), &v) != nil || v.Validate() != nil {
			return
		}
		first := text(t, v)
		require.NoError(t, json.Unmarshal([]byte(first), &again))
		require.Equal(t, first, text(t, again))
		e := policy.NewEngine(policy.Config{})
		set(t, e, member("m", "", "10.0.0.1"), v)
		e.Program([]string{"m"})
	})
}
