package policyovs_test

import (
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

var update = flag.Bool("update", false, "write golden files")

func ips(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, pfx(s))
	}
	return out
}

func mac(n byte) ovs.MAC { return ovs.MAC{0x02, 0x74, 0x6c, 0, 0x01, n} }

func tagged(id, app string, addrs ...string) policy.Member {
	return policy.Member{ID: id, Tags: []policy.Tag{{Scope: "app", Tag: app}}, IPs: ips(addrs...)}
}

// shop is three tiers with an administrator's section above.
func shop(t *testing.T) (*policy.Engine, []policyovs.Port) {
	t.Helper()
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	for _, m := range []policy.Member{
		tagged("web-1", "web", "10.4.1.2"), tagged("web-2", "web", "10.4.1.3"), tagged("web-3", "web", "10.4.2.9"),
		tagged("db-1", "db", "10.4.1.4", "fd00:4::4"),
	} {
		require.NoError(t, e.SetMember(m))
	}
	for _, g := range []policy.Group{
		{ID: "web", Criteria: policy.TagEquals("app", "web")}, {ID: "db", Criteria: policy.TagEquals("app", "db")},
		{ID: "office", IPs: []netip.Prefix{pfx("198.51.100.0/24"), pfx("2001:db8::/32")}, ExcludedIPs: []netip.Prefix{pfx("198.51.100.0/26")}},
	} {
		require.NoError(t, e.SetGroup(g))
	}
	for _, s := range []policy.Section{
		{ID: "admin", Category: policy.Infrastructure, Rules: []policy.Rule{
			{ID: "web-to-web", Sources: []string{"web"}, Destinations: []string{"web"}, Services: []policy.Service{{Protocol: policy.ICMP}}, Action: policy.Drop},
			{ID: "office", Sources: []string{"office"}, Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(22)}}}, Action: policy.Pass, Direction: policy.Ingress},
			{ID: "ssh", Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(22)}}}, Action: policy.Reject, Direction: policy.Ingress},
		}},
		{ID: "db", AppliedTo: []string{"db"}, Rules: []policy.Rule{
			{ID: "from-web", Sequence: 1, Sources: []string{"web"}, Services: []policy.Service{
				{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432), {From: 6000, To: 6009}}}}, Action: policy.Allow, Direction: policy.Ingress},
			{ID: "from-office", Sequence: 1, Sources: []string{"office"}, Services: []policy.Service{
				{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432)}}}, Action: policy.Allow, Direction: policy.Ingress},
			{ID: "rest", Sequence: 2, Action: policy.Drop, Direction: policy.Ingress},
		}},
	} {
		require.NoError(t, e.SetSection(s))
	}
	return e, []policyovs.Port{
		{ID: "web-1", Key: 1, MAC: mac(1), IPs: ips("10.4.1.2")}, {ID: "web-2", Key: 2, MAC: mac(2), IPs: ips("10.4.1.3")},
		{ID: "db-1", Key: 3, MAC: mac(3), IPs: ips("10.4.1.4", "fd00:4::4")},
	}
}

func program(e *policy.Engine, ports []policyovs.Port) *policy.Program {
	var ids []string
	for _, p := range ports {
		ids = append(ids, p.ID)
	}
	return e.Program(ids)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), got), "%s: run with -update and read the difference", file)
}

func TestFlowsGolden(t *testing.T) {
	e, ports := shop(t)
	p := program(e, ports)
	flows, err := policyovs.Flows(p, ports, policyovs.DefaultLayout())
	require.NoError(t, err)
	checkFlows(t, flows)
	golden(t, "testdata/shop.flows", dump(flows))
	golden(t, "testdata/shop.json", mustJSON(t, p)+"\n")
}

// One more NetworkPolicy-like peer rule leaves the flows of others alone.
func TestPeersDoNotMoveOthers(t *testing.T) {
	e, ports := shop(t)
	before, err := policyovs.Flows(program(e, ports), ports, policyovs.DefaultLayout())
	require.NoError(t, err)
	require.NoError(t, e.SetSection(policy.Section{ID: "aaa", AppliedTo: []string{"web"}, Rules: []policy.Rule{
		{ID: "x", Sequence: 1, Services: []policy.Service{{Protocol: policy.UDP}}, Action: policy.Allow, Direction: policy.Ingress}}}))
	after, err := policyovs.Flows(program(e, ports), ports, policyovs.DefaultLayout())
	require.NoError(t, err)
	d := ovs.Diff(after, nil, before, nil)
	require.Len(t, d.FlowAdd, 4)
	require.Empty(t, d.FlowDelete)
}

// A clause of one peer that is all of another needs no flow, and gets none.
func TestPeersShareMatches(t *testing.T) {
	tcp := []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(80), policy.Port(90), policy.Port(100)}}}
	rule := func(id string, peers []netip.Prefix, services []policy.Service, position int) policy.ProgramRule {
		return policy.ProgramRule{ID: id, Section: "s", Rule: id, Direction: policy.Egress, Action: policy.Allow, Order: policy.Order{Rule: 1, Position: position},
			Peers: &policy.AddressSet{Prefixes: peers}, Services: services}
	}
	some := []netip.Prefix{pfx("10.0.0.1/32"), pfx("10.0.0.3/32"), pfx("10.0.0.5/32")}
	p := &policy.Program{Rules: []policy.ProgramRule{rule("a", some, tcp, 0), rule("b", some[:1], nil, 1), rule("c", some[:2], tcp, 2)}}
	flows, err := policyovs.Flows(p, []policyovs.Port{{ID: "x", Key: 1, MAC: mac(1)}}, policyovs.DefaultLayout())
	require.NoError(t, err)
	checkFlows(t, flows)
	m := newMachine(flows)
	for _, c := range []struct {
		dst  string
		port uint16
		want uint8
	}{{"10.0.0.1/32", 80, 40}, {"10.0.0.1/32", 81, 40}, {"10.0.0.3/32", 80, 40}, {"10.0.0.3/32", 81, 0}, {"10.0.0.5/32", 100, 40}, {"10.0.0.7/32", 80, 0}} {
		got, err := m.run(newPacket(ovs.Reg(0, 1), ovs.EthType(0x0800), ovs.IPDst(pfx(c.dst)), ovs.IPProto(6), ovs.TCPDst(c.port)), 30, isNew)
		require.NoError(t, err)
		require.Equal(t, c.want, got.table, "%+v", c)
	}
}

// One section's id and rule's id are not another's with the slash elsewhere.
func TestCookieOfRule(t *testing.T) {
	l := policyovs.DefaultLayout()
	require.NotEqual(t, l.RuleCookie(policy.ProgramRule{Section: "s", Rule: "x/r"}), l.RuleCookie(policy.ProgramRule{Section: "s/x", Rule: "r"}))
	cookie, mask := l.RuleCookies()
	require.Equal(t, cookie, l.RuleCookie(policy.ProgramRule{Section: "s", Rule: "r"})&mask)
}

// What was passed on at the port a packet left is tried at the port it reaches.
func TestPassIsOfOneEnd(t *testing.T) {
	rule := func(id string, d policy.Direction, a policy.Action, peer string) policy.ProgramRule {
		return policy.ProgramRule{ID: id, Section: "s", Rule: id, Direction: d, Action: a, Order: policy.Order{Category: policy.Emergency},
			Peers: &policy.AddressSet{Prefixes: []netip.Prefix{pfx(peer)}}}
	}
	p := &policy.Program{Default: policy.Allow, Rules: []policy.ProgramRule{
		rule("a-pass", policy.Egress, policy.Pass, "10.0.0.2/32"), rule("b-drop", policy.Ingress, policy.Drop, "10.0.0.1/32")}}
	l := policyovs.DefaultLayout()
	flows, err := policyovs.Flows(p, []policyovs.Port{{ID: "x", Key: 1, MAC: mac(1)}, {ID: "y", Key: 2, MAC: mac(2)}}, l)
	require.NoError(t, err)
	m := newMachine(flows)
	k := newPacket(ovs.Reg(0, 1), ovs.Reg(1, 2), ovs.EthType(0x0800), ovs.IPSrc(pfx("10.0.0.1/32")), ovs.IPDst(pfx("10.0.0.2/32")))
	got, err := m.run(k, l.EgressCT, isNew)
	require.NoError(t, err)
	require.Equal(t, l.L2, got.table)
	got, err = m.run(k, l.IngressCT, isNew)
	require.NoError(t, err)
	require.Zero(t, got.table, "%s", dump(got.path))
}

func TestUnknownPortsReachNothing(t *testing.T) {
	e, ports := shop(t)
	l := policyovs.DefaultLayout()
	flows, err := policyovs.Flows(program(e, ports), ports, l)
	require.NoError(t, err)
	m := newMachine(flows)
	for _, eth := range []uint16{0x0800, 0x86dd, 0x0806, 0x88cc} {
		for _, table := range []uint8{l.Spoofguard, l.EgressCT, l.IngressCT} {
			for _, key := range []uint32{0, 4, 99} {
				got, err := m.run(newPacket(ovs.Reg(0, key), ovs.Reg(1, key), ovs.Reg(5, key), ovs.EthType(eth)), table, isReply)
				require.NoError(t, err)
				require.Zero(t, got.table, "eth_type %#x, table %d, key %d", eth, table, key)
			}
		}
	}
}

func TestFlowsRefuse(t *testing.T) {
	port := policyovs.Port{ID: "a", Key: 1, MAC: mac(1), IPs: ips("10.0.0.1")}
	rule := policy.ProgramRule{ID: "s/r/in", Direction: policy.Ingress, Order: policy.Order{Category: policy.Application}}
	for name, c := range map[string]struct {
		prog   policy.Program
		ports  []policyovs.Port
		layout func(*policyovs.Layout)
		want   string
	}{
		"key":       {ports: []policyovs.Port{{ID: "a", Key: 70000, MAC: mac(1)}}, want: `port "a": key 70000 is not in 1..65535`},
		"same key":  {ports: []policyovs.Port{port, {ID: "b", Key: 1, MAC: mac(1)}}, want: `port "b": key 1 is that of port "a"`},
		"same id":   {ports: []policyovs.Port{port, {ID: "a", Key: 2, MAC: mac(1)}}, want: `port "a": its id is empty or there twice`},
		"mac":       {ports: []policyovs.Port{{ID: "a", Key: 1, MAC: ovs.MAC{1}}}, want: "not the MAC address of a port"},
		"ip":        {ports: []policyovs.Port{{ID: "a", Key: 1, MAC: mac(1), IPs: ips("::ffff:10.0.0.1")}}, want: "ips[0]: ::ffff:10.0.0.1 is not the address"},
		"direction": {prog: policy.Program{Rules: []policy.ProgramRule{{ID: "x", Order: rule.Order}}}, want: `rule "x": direction: IN_OUT is neither`},
		"named": {prog: policy.Program{Rules: []policy.ProgramRule{{ID: "x", Direction: policy.Ingress, Order: rule.Order,
			Services: []policy.Service{{Protocol: policy.TCP, NamedPort: "http"}}}}}, want: `services[0].named_port: "http" is not a number`},
		"pass": {prog: policy.Program{Rules: []policy.ProgramRule{{ID: "x", Direction: policy.Ingress, Order: rule.Order, Action: policy.Pass}}},
			want: "JUMP_TO_APPLICATION in category"},
		"tables":    {layout: func(l *policyovs.Layout) { l.L2 = 5 }, want: "do not increase"},
		"registers": {layout: func(l *policyovs.Layout) { l.Zone = 0 }, want: "register 0"},
		"classes":   {layout: func(l *policyovs.Layout) { l.Class = 5 }, want: "register 5"},
		"too far":   {layout: func(l *policyovs.Layout) { l.Class = 9 }, want: "register 16"},
		"none":      {layout: func(l *policyovs.Layout) { l.Classes = 0 }, want: "0 registers for classes"},
		"prefix": {prog: policy.Program{Rules: []policy.ProgramRule{{ID: "x", Direction: policy.Ingress, Order: rule.Order,
			Peers: &policy.AddressSet{Prefixes: []netip.Prefix{{}}}}}}, want: "peers.prefixes[0]: invalid Prefix is not"},
		"order": {prog: policy.Program{Rules: []policy.ProgramRule{{ID: "y", Direction: policy.Ingress, Order: policy.Order{Category: policy.Baseline}}, rule}},
			want: `rule "s/r/in": it comes after "y"`},
	} {
		t.Run(name, func(t *testing.T) {
			l := policyovs.DefaultLayout()
			if c.layout != nil {
				c.layout(&l)
			}
			flows, err := policyovs.Flows(&c.prog, c.ports, l)
			require.ErrorIs(t, err, policyovs.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.Nil(t, flows)
		})
	}
}

func TestBandIsFull(t *testing.T) {
	p := policy.Program{}
	for i := range 8001 {
		p.Rules = append(p.Rules, policy.ProgramRule{ID: string(rune('a'+i%26)) + string(rune(0x4e00+i)), Section: "s", Rule: string(rune(0x4e00 + i)),
			Direction: policy.Egress, Order: policy.Order{Category: policy.Emergency, Position: i}})
	}
	_, err := policyovs.Flows(&p, nil, policyovs.DefaultLayout())
	require.ErrorIs(t, err, policyovs.ErrTooMany)
	p.Rules = p.Rules[:8000]
	_, err = policyovs.Flows(&p, nil, policyovs.DefaultLayout())
	require.NoError(t, err)
}
