package netpol_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// parse reads the spec of a policy in namespace prod.
func parse(t testing.TB, name, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	np := &networkingv1.NetworkPolicy{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(spec), &np.Spec))
	np.Namespace, np.Name = "prod", name
	return np
}

func labels(s string) []policy.Tag {
	var out []policy.Tag
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		out = append(out, policy.Tag{Scope: k, Tag: v})
	}
	return out
}

// The pods of every case: prod/web, prod/db, dev/web, dev/client, a VM, and a host outside.
var pods = []policy.Member{
	pod("prod/web", "app=web tier=front", "10.0.1.1", "fd00:1::1"), pod("prod/db", "app=db tier=back", "10.0.1.2", "fd00:1::2"),
	pod("dev/web", "app=web", "10.0.2.1", "fd00:2::1"), pod("dev/client", "app=client", "10.0.2.2", "fd00:2::2"),
	{ID: "vm", Kind: "VM", Tags: labels("app=web"), IPs: []netip.Addr{netip.MustParseAddr("10.0.3.1")}},
}

var namespaces = map[string]string{"prod": "stage=production team=a", "dev": "stage=development"}

func pod(id, tags string, ips ...string) policy.Member {
	ns, _, _ := strings.Cut(id, "/")
	m := policy.Member{ID: id, Kind: "Pod", Tags: labels(tags), Namespace: ns, NamespaceTags: labels(namespaces[ns])}
	for _, s := range ips {
		m.IPs = append(m.IPs, netip.MustParseAddr(s))
	}
	m.Ports = map[string]policy.NamedPort{"http": {TCP: 8080}, "dns": {UDP: 53}}
	if id == "prod/db" || id == "dev/client" {
		m.Ports = map[string]policy.NamedPort{"http": {TCP: 9090}}
	}
	return m
}

func engine(t testing.TB, policies ...*networkingv1.NetworkPolicy) *policy.Engine {
	t.Helper()
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	for _, m := range pods {
		require.NoError(t, e.SetMember(m))
	}
	for _, np := range policies {
		install(t, e, np)
	}
	return e
}

func install(t testing.TB, e *policy.Engine, np *networkingv1.NetworkPolicy) {
	t.Helper()
	groups, sections, err := netpol.Compile(np, netpol.Config{})
	require.NoError(t, err)
	for _, g := range groups {
		require.NoError(t, e.SetGroup(g))
	}
	for _, s := range sections {
		require.NoError(t, e.SetSection(s))
	}
	require.Empty(t, e.Missing())
}

// packet reads "dev/client->prod/web:tcp/80", with an address for what is no pod, and
// a 6 before the arrow for IPv6.
func packet(t testing.TB, s string) policy.Packet {
	t.Helper()
	from, rest, _ := strings.Cut(s, "->")
	to, service, _ := strings.Cut(rest, " ")
	from, v6 := strings.CutSuffix(from, " 6")
	end := func(name string) (string, netip.Addr) {
		for _, m := range pods {
			if m.ID == name {
				if v6 {
					return name, m.IPs[1]
				}
				return name, m.IPs[0]
			}
		}
		return "", netip.MustParseAddr(name)
	}
	p := policy.Packet{SrcPortNo: 40000}
	p.SrcPort, p.Src = end(from)
	p.DstPort, p.Dst = end(to)
	proto, port, _ := strings.Cut(service, "/")
	var number policy.Protocol
	require.NoError(t, number.UnmarshalText([]byte(proto)))
	p.Proto = uint8(number)
	if port != "" {
		_, err := fmt.Sscan(port, &p.DstPortNo)
		require.NoError(t, err)
	}
	return p
}

// Each clause of the API, as packets that pass and that do not.
func TestClauses(t *testing.T) {
	for _, c := range []struct {
		name, spec  string
		allow, deny []string
	}{
		{"podSelector: selects nobody, no effect", `{podSelector: {matchLabels: {app: nothing}}}`, []string{"dev/client->prod/web tcp/80"}, nil},
		{"podSelector: empty is all of the namespace; ingress: missing isolates", `{podSelector: {}}`,
			[]string{"prod/web->dev/client tcp/80", "prod/web->10.9.9.9 udp/53", "dev/client->dev/web tcp/80", "prod/web->vm tcp/1"},
			[]string{"dev/client->prod/web tcp/80", "dev/client 6->prod/web tcp/80", "prod/db->prod/web icmp", "10.9.9.9->prod/db udp/1", "vm->prod/db tcp/1"}},
		{"ingress: empty isolates", `{podSelector: {}, ingress: []}`, nil, []string{"dev/client->prod/web tcp/80"}},
		{"ingress: one empty rule allows anything", `{podSelector: {}, ingress: [{}]}`, []string{"dev/client->prod/web tcp/80", "10.9.9.9->prod/web icmp", "dev/client 6->prod/web 47"}, nil},
		{"from, ports: empty is anything", `{podSelector: {}, ingress: [{from: [], ports: []}]}`, []string{"vm->prod/web tcp/80"}, nil},
		{"podSelector: matchLabels", `{podSelector: {matchLabels: {app: web}}}`, []string{"dev/client->prod/db tcp/80", "dev/client->dev/web tcp/80"}, []string{"dev/client->prod/web tcp/80"}},
		{"policyTypes: Egress alone; egress: missing isolates", `{podSelector: {}, policyTypes: [Egress]}`, []string{"dev/client->prod/web tcp/80"}, []string{"prod/web->dev/client tcp/80", "prod/web->10.9.9.9 udp/53"}},
		{"policyTypes: missing, with egress rules, is both", `{podSelector: {}, egress: [{}]}`, []string{"prod/web->10.9.9.9 udp/53"}, []string{"dev/client->prod/web tcp/80"}},
		{"policyTypes: missing, with empty egress, is Ingress", `{podSelector: {}, egress: []}`, []string{"prod/web->10.9.9.9 udp/53"}, []string{"dev/client->prod/web tcp/80"}},
		{"policyTypes: empty is missing", `{podSelector: {}, policyTypes: [], egress: [{}]}`, []string{"prod/web->10.9.9.9 udp/53"}, []string{"dev/client->prod/web tcp/80"}},
		{"policyTypes: one twice is once", `{podSelector: {}, policyTypes: [Ingress, Ingress]}`, []string{"prod/web->10.9.9.9 udp/53"}, []string{"dev/client->prod/web tcp/80"}},
		{"policyTypes: Ingress leaves egress rules alone", `{podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}`,
			[]string{"prod/web->10.9.9.9 udp/53"}, []string{"dev/client->prod/web tcp/1"}},
		{"policyTypes: Egress leaves ingress rules alone", `{podSelector: {}, policyTypes: [Egress], ingress: [{ports: [{port: 1}]}]}`,
			[]string{"dev/client->prod/web tcp/80"}, []string{"prod/web->10.9.9.9 tcp/1"}},
		{"policyTypes: both, without rules, isolates both ways", `{podSelector: {}, policyTypes: [Ingress, Egress]}`, nil, []string{"dev/client->prod/web tcp/1", "prod/web->10.9.9.9 tcp/1"}},

		{"from.podSelector: own namespace only", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`,
			[]string{"prod/web->prod/db tcp/1", "prod/web 6->prod/db tcp/1"}, []string{"dev/web->prod/db tcp/1", "vm->prod/db tcp/1", "prod/db->prod/web tcp/1"}},
		{"from.podSelector: empty is all of the namespace", `{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`,
			[]string{"prod/web->prod/db tcp/1", "prod/db->prod/web icmp"}, []string{"dev/web->prod/db tcp/1", "10.9.9.9->prod/db tcp/1", "vm->prod/db tcp/1"}},
		{"from.namespaceSelector: all pods of these", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {stage: development}}}]}]}`,
			[]string{"dev/web->prod/db tcp/1", "dev/client->prod/db tcp/1"}, []string{"prod/web->prod/db tcp/1", "vm->prod/db tcp/1"}},
		{"from.namespaceSelector: empty is all pods", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`,
			[]string{"dev/web->prod/db tcp/1", "prod/web->prod/db tcp/1"}, []string{"vm->prod/db tcp/1", "10.9.9.9->prod/db tcp/1"}},
		{"from: both selectors in one peer: and", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {stage: development}}, podSelector: {matchLabels: {app: web}}}]}]}`,
			[]string{"dev/web->prod/db tcp/1"}, []string{"dev/client->prod/db tcp/1", "prod/web->prod/db tcp/1"}},
		{"from: in two peers: or", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {stage: development}}}, {podSelector: {matchLabels: {app: web}}}]}]}`,
			[]string{"dev/web->prod/db tcp/1", "dev/client->prod/db tcp/1", "prod/web->prod/db tcp/1"}, []string{"prod/db->prod/web tcp/1", "vm->prod/db tcp/1"}},
		{"from.podSelector: selects nobody, allows nobody", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: nothing}}}]}]}`, nil, []string{"prod/web->prod/db tcp/1", "10.9.9.9->prod/db tcp/1"}},

		{"matchExpressions: In", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [client, db]}]}}]}]}`,
			[]string{"dev/client->prod/web tcp/1", "prod/db->prod/web tcp/1"}, []string{"dev/web->prod/web tcp/1"}},
		{"matchExpressions: NotIn holds without the label", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}}]}]}`,
			[]string{"dev/client->prod/web tcp/1", "prod/db->prod/web tcp/1"}, []string{"prod/web->prod/db tcp/1"}},
		{"matchExpressions: Exists", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}]}`,
			[]string{"prod/db->prod/web tcp/1"}, []string{"dev/web->prod/web tcp/1"}},
		{"matchExpressions: DoesNotExist, of a namespace", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]}]}`,
			[]string{"dev/web->prod/web tcp/1"}, []string{"prod/db->prod/web tcp/1", "vm->prod/web tcp/1"}},
		{"matchLabels and matchExpressions: and", `{podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [back]}]}}`, []string{"dev/client->prod/web tcp/1"}, nil},

		{"ipBlock.cidr: pods in it, too", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.2.0/24}}]}]}`, []string{"dev/web->prod/db tcp/1", "10.0.2.77->prod/db tcp/1"}, []string{"prod/web->prod/db tcp/1", "dev/web 6->prod/db tcp/1"}},
		{"ipBlock.except", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.2.0/25, 10.9.0.0/16]}}]}]}`,
			[]string{"prod/web->prod/db tcp/1", "10.0.2.128->prod/db tcp/1"}, []string{"dev/web->prod/db tcp/1", "10.9.1.1->prod/db tcp/1", "prod/web 6->prod/db tcp/1"}},
		{"ipBlock: of IPv6", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "fd00:2::/64", except: ["fd00:2::2/128"]}}]}]}`,
			[]string{"dev/web 6->prod/db tcp/1"}, []string{"dev/client 6->prod/db tcp/1", "dev/web->prod/db tcp/1"}},
		{"ipBlock.except: does not bind another peer", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.2.0/24, except: [10.0.2.1/32]}}, {namespaceSelector: {}}]}]}`,
			[]string{"dev/web->prod/db tcp/1"}, nil},

		{"port: of TCP by default", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`, []string{"dev/web->prod/db tcp/80"}, []string{"dev/web->prod/db udp/80", "dev/web->prod/db tcp/81", "dev/web->prod/db icmp"}},
		{"protocol: UDP, SCTP; any of several ports", `{podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}, {port: 7, protocol: SCTP}]}]}`,
			[]string{"dev/web->prod/db udp/53", "dev/web->prod/db sctp/7"}, []string{"dev/web->prod/db tcp/53", "dev/web->prod/db sctp/53"}},
		{"protocol: without port is all of it", `{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}`, []string{"dev/web->prod/db sctp/9"}, []string{"dev/web->prod/db tcp/9"}},
		{"ports: an empty entry is TCP", `{podSelector: {}, ingress: [{ports: [{}]}]}`, []string{"dev/web->prod/db tcp/9"}, []string{"dev/web->prod/db udp/9"}},
		{"endPort: from port to endPort", `{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8009}]}]}`,
			[]string{"dev/web->prod/db tcp/8000", "dev/web->prod/db tcp/8009"}, []string{"dev/web->prod/db tcp/7999", "dev/web->prod/db tcp/8010"}},
		{"endPort: that is port", `{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 80, protocol: SCTP}]}]}`, []string{"dev/web->prod/db sctp/80"}, []string{"dev/web->prod/db sctp/81", "dev/web->prod/db tcp/80"}},
		{"port: a name beside numbers", `{podSelector: {}, ingress: [{ports: [{port: http}, {port: 22}, {port: dns, protocol: UDP}]}]}`,
			[]string{"dev/web->prod/db tcp/9090", "dev/web->prod/db tcp/22", "dev/web->prod/web udp/53"}, []string{"dev/web->prod/db tcp/8080", "dev/web->prod/db udp/53", "dev/web->prod/web udp/22"}},
		{"port: a name is each pod's own number", `{podSelector: {}, ingress: [{ports: [{port: http}]}]}`,
			[]string{"dev/web->prod/db tcp/9090", "dev/web->prod/web tcp/8080"}, []string{"dev/web->prod/db tcp/8080", "dev/web->prod/web tcp/9090", "dev/web->prod/web udp/8080"}},
		{"port: a name in a protocol that has none", `{podSelector: {}, ingress: [{ports: [{port: http, protocol: UDP}]}]}`, nil, []string{"dev/web->prod/web udp/8080", "dev/web->prod/web tcp/8080"}},
		{"port: a name that only some pods have", `{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}`, []string{"dev/web->prod/web udp/53"}, []string{"dev/web->prod/db udp/53"}},
		{"from and ports: and", `{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}`, []string{"prod/web->prod/db tcp/80"}, []string{"prod/web->prod/db tcp/81", "dev/web->prod/db tcp/80"}},
		{"ingress: rules: or", `{podSelector: {}, ingress: [{ports: [{port: 80}]}, {from: [{podSelector: {}}]}]}`, []string{"prod/web->prod/db tcp/81", "dev/web->prod/db tcp/80"}, []string{"dev/web->prod/db tcp/81"}},

		{"to.podSelector", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}`,
			[]string{"prod/web->prod/db tcp/1", "prod/web 6->prod/db tcp/1"}, []string{"prod/web->dev/web tcp/1", "prod/web->vm tcp/1", "prod/web->10.9.9.9 tcp/1"}},
		{"to.namespaceSelector and ports: and", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {stage: development}}}], ports: [{port: 53, protocol: UDP}]}]}`,
			[]string{"prod/web->dev/web udp/53"}, []string{"prod/web->dev/web tcp/53", "prod/web->prod/db udp/53"}},
		{"to: two peers: or", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}, {podSelector: {matchLabels: {app: db}}}]}]}`,
			[]string{"prod/web->192.0.2.1 tcp/1", "prod/web->prod/db tcp/1"}, []string{"prod/web->dev/web tcp/1"}},
		{"to: missing or empty is anywhere", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [], ports: [{port: 1}]}, {ports: [{port: 2}]}]}`, []string{"prod/web->10.9.9.9 tcp/1", "prod/web->dev/web tcp/2"}, []string{"prod/web->dev/web tcp/3"}},
		{"to.podSelector: empty is all of the namespace", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}`, []string{"prod/web->prod/db tcp/1"}, []string{"prod/web->dev/web tcp/1", "prod/web->vm tcp/1", "prod/web->10.9.9.9 tcp/1"}},
		{"egress: empty isolates", `{podSelector: {}, policyTypes: [Egress], egress: []}`, []string{"dev/client->prod/web tcp/80"}, []string{"prod/web->prod/db tcp/1", "prod/web->10.9.9.9 icmp"}},
		{"egress: one empty rule allows anything", `{podSelector: {}, policyTypes: [Egress], egress: [{}]}`, []string{"prod/web->10.9.9.9 icmp", "prod/web 6->dev/web udp/1"}, nil},
		{"to.ipBlock.except", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}`,
			[]string{"prod/web->192.0.2.1 tcp/1"}, []string{"prod/web->10.9.9.9 tcp/1", "prod/web->dev/web tcp/1"}},
		{"egress port: a name is each destination's own number", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: http}]}]}`,
			[]string{"prod/web->prod/db tcp/9090", "prod/web->dev/web tcp/8080", "prod/web->dev/client tcp/9090"},
			[]string{"prod/web->prod/db tcp/8080", "prod/web->dev/web tcp/9090", "prod/web->10.9.9.9 tcp/8080"}},
		{"egress port: a name, to anywhere", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}`, []string{"prod/web->dev/web tcp/8080"}, []string{"prod/web->dev/web tcp/9090", "prod/web->10.9.9.9 tcp/8080"}},
		{"egress endPort", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 1, endPort: 65535, protocol: UDP}]}]}`, []string{"prod/web->10.9.9.9 udp/65535"}, []string{"prod/web->10.9.9.9 tcp/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := engine(t, parse(t, "p", c.spec))
			verdicts(t, e, c.allow, c.deny)
		})
	}
}

// everywhere is a program for all ports.
func everywhere(e *policy.Engine) *policy.Program {
	var all []string
	for _, m := range pods {
		all = append(all, m.ID)
	}
	return e.Program(all)
}

// What one policy allows, another does not take away; both ends must agree.
func TestPoliciesAddUp(t *testing.T) {
	deny := parse(t, "a-deny", `{podSelector: {}, policyTypes: [Ingress, Egress]}`)
	in := parse(t, "z-in", `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 5432}]}]}`)
	out := parse(t, "m-out", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}`)
	allowed := func(e *policy.Engine) bool { return e.Eval(packet(t, "prod/web->prod/db tcp/5432")).Allowed() }
	require.False(t, allowed(engine(t, deny)))
	require.False(t, allowed(engine(t, deny, in)), "egress of web is still isolated")
	require.False(t, allowed(engine(t, deny, out)), "ingress of db is still isolated")
	for _, list := range [][]*networkingv1.NetworkPolicy{{deny, in, out}, {out, deny, in}, {in, out, deny}} {
		require.True(t, allowed(engine(t, list...)))
		require.False(t, engine(t, list...).Eval(packet(t, "prod/web->prod/db tcp/80")).Allowed())
	}
}

// An administrator's drop goes before, an administrator's baseline after.
func TestAdminRulesSideBySide(t *testing.T) {
	e := engine(t, parse(t, "open", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`))
	require.NoError(t, e.SetGroup(policy.Group{ID: "db", Criteria: policy.TagEquals("app", "db")}))
	require.NoError(t, e.SetGroup(policy.Group{ID: "vms", Criteria: policy.When(policy.Condition{Key: policy.KeyKind, Operator: policy.Equals, Values: []string{"VM"}})}))
	require.True(t, e.Eval(packet(t, "dev/client->prod/db tcp/80")).Allowed())
	require.NoError(t, e.SetSection(policy.Section{ID: "admin", Category: policy.Infrastructure, Rules: []policy.Rule{{ID: "no-db", Destinations: []string{"db"}, Action: policy.Drop}}}))
	require.NoError(t, e.SetSection(policy.Section{ID: "base", Category: policy.Baseline, Rules: []policy.Rule{{ID: "no-vm", Destinations: []string{"vms"}, Action: policy.Drop}, {ID: "no-ssh", Action: policy.Drop,
		Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(22)}}}, Direction: policy.Ingress}}}))
	d := e.Eval(packet(t, "dev/client->prod/db tcp/80"))
	require.Equal(t, `OUT at port dev/client: DROP by rule "no-db" of section "admin"`, d.Why)
	require.True(t, e.Eval(packet(t, "dev/client->prod/web tcp/80")).Allowed())
	require.Equal(t, "prod.open-isolation", e.Eval(packet(t, "dev/client->prod/web tcp/22")).Ingress.Section)
	require.Equal(t, "base", e.Eval(packet(t, "dev/client->dev/web tcp/22")).Ingress.Section)
	require.Equal(t, "base", e.Eval(packet(t, "dev/client->vm tcp/1")).Egress.Section, "a port that is no pod's obeys as well")
}

// A manager that serves several clusters keeps their pods apart.
func TestClusters(t *testing.T) {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	for _, c := range []string{"c1", "c2"} {
		for i, name := range []string{"web", "db"} {
			m := policy.Member{ID: c + "/prod/" + name, Tags: labels("app=" + name), Namespace: c + "/prod", NamespaceTags: labels("cluster=" + c)}
			m.IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, c[1] - '0', byte(i + 1)})}
			require.NoError(t, e.SetMember(m))
		}
	}
	np := parse(t, "p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`)
	np.UID = "u-1"
	tags := []policy.Tag{{Scope: "cluster", Tag: "c1"}}
	groups, sections, err := netpol.Compile(np, netpol.Config{IDPrefix: "c1-", Tags: tags, ClusterTags: tags, Namespace: func(s string) string { return "c1/" + s }})
	require.NoError(t, err)
	for _, g := range groups {
		require.NoError(t, e.SetGroup(g))
		require.Equal(t, tags, g.Tags)
		require.Equal(t, []string{"c1/prod/db", "c1/prod/web"}, e.Members(g.ID), g.ID)
		require.True(t, strings.HasPrefix(g.ID, "c1-u-1-"), g.ID)
	}
	require.Equal(t, []string{"c1-u-1", "c1-u-1-isolation"}, []string{sections[0].ID, sections[1].ID})
	require.Less(t, sections[0].Priority, sections[1].Priority)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{`{podSelector: {matchExpressions: [{key: a, operator: In}]}}`, "spec.podSelector.matchExpressions[0].values"},
		{`{podSelector: {matchExpressions: [{key: a, operator: Like, values: [x]}]}}`, "spec.podSelector.matchExpressions[0].operator"},
		{`{podSelector: {matchLabels: {"a b": x}}}`, "spec.podSelector.matchLabels"},
		{`{podSelector: {}, policyTypes: [Ingress, Both]}`, `spec.policyTypes[1]: Unsupported value: "Both"`},
		{`{podSelector: {}, policyTypes: [Ingress, Egress, Egress]}`, "spec.policyTypes: Invalid value: 3"},
		{`{podSelector: {}, ingress: [{}, {from: [{}]}]}`, "spec.ingress[1].from[0]: Required value"},
		{`{podSelector: {}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}`, "spec.ingress[0].from[0]: Forbidden"},
		{`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0}}]}]}`, `spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.0"`},
		{`{podSelector: {}, egress: [{to: [{ipBlock: {}}]}]}`, "spec.egress[0].to[0].ipBlock.cidr: Required value"},
		{`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.0.0.0/8]}}]}]}`, "spec.egress[0].to[0].ipBlock.except[1]: Invalid value"},
		{`{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: ["fd00::/64"]}}]}]}`, "spec.egress[0].to[0].ipBlock.except[0]: Invalid value"},
		{`{podSelector: {}, ingress: [{ports: [{port: 0}]}]}`, "spec.ingress[0].ports[0].port: Invalid value: 0"},
		{`{podSelector: {}, ingress: [{ports: [{port: 65536}]}]}`, "spec.ingress[0].ports[0].port: Invalid value: 65536"},
		{`{podSelector: {}, ingress: [{ports: [{port: "Not a name"}]}]}`, "spec.ingress[0].ports[0].port: Invalid value"},
		{`{podSelector: {}, ingress: [{ports: [{protocol: ICMP}]}]}`, "spec.ingress[0].ports[0].protocol: Unsupported value"},
		{`{podSelector: {}, ingress: [{ports: [{endPort: 5}]}]}`, "spec.ingress[0].ports[0].port: Required value"},
		{`{podSelector: {}, ingress: [{ports: [{port: http, endPort: 5}]}]}`, "spec.ingress[0].ports[0].endPort: Invalid value"},
		{`{podSelector: {}, ingress: [{ports: [{port: 6, endPort: 5}]}]}`, "spec.ingress[0].ports[0].endPort: Invalid value: 5"},
		{`{podSelector: {}, ingress: [{ports: [{port: 6, endPort: 70000}]}]}`, "spec.ingress[0].ports[0].endPort: Invalid value: 70000"},
	} {
		groups, sections, err := netpol.Compile(parse(t, "p", c.spec), netpol.Config{})
		require.ErrorIs(t, err, policy.ErrInvalid, c.spec)
		require.ErrorContains(t, err, c.want, c.spec)
		require.ErrorContains(t, err, "netpol: policy prod/p: ", c.spec)
		require.Nil(t, groups)
		require.Nil(t, sections)
	}
	_, _, err := netpol.Compile(nil, netpol.Config{})
	require.ErrorIs(t, err, policy.ErrInvalid)
	_, _, err = netpol.Compile(parse(t, "p", `{podSelector: {}}`), netpol.Config{AllowPriority: 9, IsolationPriority: 9})
	require.ErrorIs(t, err, policy.ErrInvalid)
	_, _, err = netpol.Compile(parse(t, "", `{podSelector: {}, ingress: [{ports: [{port: 0}]}]}`), netpol.Config{})
	require.ErrorContains(t, err, "metadata.name: Required value", "all faults are reported")
	require.ErrorContains(t, err, "spec.ingress[0].ports[0].port")
}

// What selects the same by the same terms is the same value, whoever asks and in
// whatever order: an Engine keeps it once.
func TestEqualSelectorsAreEqual(t *testing.T) {
	criteria := func(name, spec string) policy.Expr {
		groups, _, err := netpol.Compile(parse(t, name, spec), netpol.Config{})
		require.NoError(t, err)
		return groups[0].Criteria
	}
	want := criteria("a", `{podSelector: {matchLabels: {app: web, tier: front}, matchExpressions: [{key: x, operator: NotIn, values: [a, b]}]}}`)
	for _, spec := range []string{
		`{podSelector: {matchLabels: {tier: front, app: web}, matchExpressions: [{key: x, operator: NotIn, values: [b, a, b]}]}, ingress: [{}]}`,
		`{podSelector: {matchExpressions: [{key: x, operator: NotIn, values: [b, a]}, {key: tier, operator: In, values: [front]}, {key: app, operator: In, values: [web]}]}}`,
		`{podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [front, front]}, {key: x, operator: NotIn, values: [a, b]}, {key: app, operator: In, values: [web]}]}}`,
	} {
		require.Empty(t, cmp.Diff(want, criteria("b", spec)), spec)
	}
	groups, _, err := netpol.Compile(parse(t, "c", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`), netpol.Config{})
	require.NoError(t, err)
	require.Len(t, groups, 1, "a peer that is the pods themselves")
	groups, sections, err := netpol.Compile(parse(t, "d", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}, {namespaceSelector: {}}], ports: [{port: 1}]},
		{from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {app: db}}}], ports: [{port: 2}]}]}`), netpol.Config{})
	require.NoError(t, err)
	require.Len(t, groups, 3, "peers that another rule has")
	require.Equal(t, []string{groups[2].ID, groups[1].ID}, sections[0].Rules[1].Sources)
}

func TestValidateDoesNotAllocate(t *testing.T) {
	np := parse(t, "p", `{podSelector: {matchLabels: {app.kubernetes.io/name: web}}, policyTypes: [Ingress, Egress],
		ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: In, values: [x, y]}]}, namespaceSelector: {}}], ports: [{port: 80, endPort: 90}]}],
		egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := netpol.Validate(np); err != nil {
			t.Error(err)
		}
	}))
}

// What a Compiler makes one after another is what Compile makes, and an Engine
// that has it does not see that it is written over.
func TestCompiler(t *testing.T) {
	c, err := netpol.NewCompiler(netpol.Config{})
	require.NoError(t, err)
	specs := []string{
		`{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: http}]}]}`,
		`{podSelector: {}, policyTypes: [Ingress, Egress]}`,
		`{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.2.0/24]}}, {namespaceSelector: {matchLabels: {stage: production}}}]}, {ports: [{port: 1, endPort: 9}]}]}`,
	}
	e := engine(t)
	for range 3 {
		for i, spec := range specs {
			np := parse(t, fmt.Sprint("p", i), spec)
			wantGroups, wantSections, err := netpol.Compile(np, netpol.Config{})
			require.NoError(t, err)
			groups, sections, err := c.Compile(np)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(wantGroups, groups, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })))
			require.Empty(t, cmp.Diff(wantSections, sections))
			installed(t, e, groups, sections)
		}
	}
	verdicts(t, e, []string{"prod/db->prod/web tcp/80", "prod/web->10.3.0.0 tcp/5"}, []string{"dev/web->prod/web tcp/80", "prod/web->dev/web udp/1"})
	_, _, err = c.Compile(nil)
	require.ErrorIs(t, err, policy.ErrInvalid)
	_, err = netpol.NewCompiler(netpol.Config{Category: "x"})
	require.ErrorIs(t, err, policy.ErrInvalid)
}

func TestLogging(t *testing.T) {
	const spec = `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}`
	for _, c := range []struct {
		cfg          netpol.Config
		allow, drops bool
	}{{}, {cfg: netpol.Config{LogDrops: true, LogLabel: "c1"}, drops: true}, {cfg: netpol.Config{Logged: true, LogLabel: "c1"}, allow: true, drops: true}} {
		_, sections, err := netpol.Compile(parse(t, "p", spec), c.cfg)
		require.NoError(t, err)
		_, more, err := netpol.CompileCluster(parseCluster(t, "c", `{`+admin+`, ingress: [{action: Accept, `+fromAll+`}, {action: Deny, `+fromAll+`}, {action: Deny, from: [{}]}]}`), c.cfg)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		for _, s := range append(sections, more...) {
			for _, r := range s.Rules {
				want := c.allow
				if r.Action == policy.Drop {
					want = c.drops
				}
				require.Equal(t, want, r.Logged, "%s of %s, %+v", r.ID, s.ID, c.cfg)
				require.Equal(t, want, r.LogLabel == "c1", "%s of %s, %+v", r.ID, s.ID, c.cfg)
			}
		}
	}
}
