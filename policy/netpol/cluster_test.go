package netpol_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// parseCluster reads the spec of a ClusterNetworkPolicy.
func parseCluster(t testing.TB, name, spec string) *netpol.ClusterNetworkPolicy {
	t.Helper()
	p := &netpol.ClusterNetworkPolicy{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(spec), &p.Spec), spec)
	p.Name = name
	return p
}

// nodes are n1 and n2, in zones a and b.
var nodes = []policy.Member{
	{ID: "node:n1", Kind: netpol.NodeKind, Tags: labels("zone=a"), IPs: []netip.Addr{netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("fd00:168::1")}},
	{ID: "node:n2", Kind: netpol.NodeKind, Tags: labels("zone=b"), IPs: []netip.Addr{netip.MustParseAddr("192.168.0.2")}},
}

// installed puts groups and sections into an Engine.
func installed(t testing.TB, e *policy.Engine, groups []policy.Group, sections []policy.Section) {
	t.Helper()
	for _, g := range groups {
		require.NoError(t, e.SetGroup(g))
	}
	for _, s := range sections {
		require.NoError(t, e.SetSection(s))
	}
	require.Empty(t, e.Missing())
}

func installCluster(t testing.TB, e *policy.Engine, p *netpol.ClusterNetworkPolicy, cfg netpol.Config) (unsupported []string) {
	t.Helper()
	groups, sections, err := netpol.CompileCluster(p, cfg)
	var u *netpol.UnsupportedError
	if errors.As(err, &u) {
		unsupported, err = u.Fields, nil
	}
	require.NoError(t, err)
	installed(t, e, groups, sections)
	return unsupported
}

// verdicts holds an Engine, and a program for all ports, to lists of packets.
func verdicts(t *testing.T, e *policy.Engine, allow, deny []string) {
	t.Helper()
	program := everywhere(e)
	for _, list := range []struct {
		packets []string
		want    bool
	}{{allow, true}, {deny, false}} {
		for _, s := range list.packets {
			k := packet(t, s)
			d := e.Eval(k)
			require.Equal(t, list.want, d.Allowed(), "%s: %s", s, d.Why)
			require.Equal(t, d, program.Eval(k), s)
		}
	}
}

// The ClusterNetworkPolicies of a case are named c0, c1, ... and its
// NetworkPolicies, which are in namespace prod, n0, n1, ...
type clusterCase struct {
	clause      string
	cluster     []string
	network     []string
	allow, deny []string
	unsupported []string
}

const (
	fromAll  = `from: [{namespaces: {}}]`
	toAll    = `to: [{namespaces: {}}]`
	anywhere = `to: [{networks: [0.0.0.0/0, "::/0"]}]`
	// Specs begin with one of these.
	admin    = `tier: Admin, priority: 10, subject: {namespaces: {}}`
	baseline = `tier: Baseline, priority: 10, subject: {namespaces: {}}`
	prodOnly = `subject: {namespaces: {matchLabels: {stage: production}}}`
)

// Each clause of the API's documentation, as packets that pass and that do not.
func TestClusterClauses(t *testing.T) {
	for _, c := range []clusterCase{
		{clause: "tier: what no tier decides passes", cluster: []string{`{` + admin + `, ingress: [{action: Deny, from: [{namespaces: {matchLabels: {stage: none}}}]}]}`},
			allow: []string{"dev/client->prod/web tcp/80", "prod/web->10.9.9.9 udp/53"}},
		{clause: "tier: Admin denies what a NetworkPolicy allows", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {}, ingress: [{}]}`}, allow: []string{"10.9.9.9->prod/web tcp/80", "vm->prod/web tcp/80"}, deny: []string{"dev/client->prod/web tcp/80"}},
		{clause: "tier: Admin accepts what NetworkPolicies isolate", cluster: []string{`{` + admin + `, ingress: [{action: Accept, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {}}`}, allow: []string{"dev/client->prod/web tcp/80"}, deny: []string{"10.9.9.9->prod/web tcp/80"}},
		{clause: "tier: a NetworkPolicy allows what Baseline denies", cluster: []string{`{` + baseline + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: web}}, ingress: [{}]}`}, allow: []string{"dev/client->prod/web tcp/80"}, deny: []string{"dev/client->prod/db tcp/80"}},
		{clause: "tier: a NetworkPolicy isolates what Baseline accepts", cluster: []string{`{` + baseline + `, ingress: [{action: Accept, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: web}}}`}, allow: []string{"dev/client->prod/db tcp/80"}, deny: []string{"dev/client->prod/web tcp/80"}},
		{clause: "tier: a NetworkPolicy decides in its directions only", cluster: []string{`{` + baseline + `, egress: [{action: Deny, ` + toAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: web}}, ingress: [{}]}`}, allow: []string{"vm->prod/web tcp/80"}, deny: []string{"prod/web->dev/client tcp/80"}},
		{clause: "tier: Admin before Baseline, whatever the priorities", cluster: []string{
			`{tier: Baseline, priority: 0, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`,
			`{tier: Admin, priority: 1000, subject: {namespaces: {}}, ingress: [{action: Accept, ` + fromAll + `}]}`}, allow: []string{"dev/client->prod/web tcp/80"}},

		{clause: "priority: lower first in Admin", cluster: []string{
			`{tier: Admin, priority: 2, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`,
			`{tier: Admin, priority: 1, ` + prodOnly + `, ingress: [{action: Accept, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/web tcp/80"}, deny: []string{"prod/web->dev/client tcp/80"}},
		{clause: "priority: lower first in Baseline", cluster: []string{
			`{tier: Baseline, priority: 1000, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`,
			`{tier: Baseline, priority: 0, ` + prodOnly + `, ingress: [{action: Accept, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/web tcp/80"}, deny: []string{"prod/web->dev/client tcp/80"}},
		{clause: "priority: ties go by id", cluster: []string{
			`{` + admin + `, ingress: [{action: Accept, ` + fromAll + `}]}`, `{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/web tcp/80"}},

		{clause: "subject: namespaces", cluster: []string{`{tier: Admin, priority: 1, ` + prodOnly + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{"dev/web->prod/web tcp/1", "dev/web 6->prod/web tcp/1", "prod/web->prod/db icmp"}},
		{clause: "subject: empty namespaces are all, and pods only", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"dev/web->vm tcp/1"}, deny: []string{"dev/web->prod/web tcp/1", "prod/web->dev/web tcp/1"}},
		{clause: "subject: namespace and pod", cluster: []string{`{tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {matchLabels: {stage: production}}, podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"dev/client->dev/web tcp/1", "dev/client->prod/db tcp/1"}, deny: []string{"dev/client->prod/web tcp/1"}},
		{clause: "subject: pods of any namespace", cluster: []string{`{tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/db tcp/1", "dev/client->vm tcp/1"}, deny: []string{"dev/client->prod/web tcp/1", "dev/client->dev/web tcp/1"}},
		{clause: "subject: a missing namespaceSelector is an empty one", cluster: []string{`{tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			deny: []string{"dev/client->prod/web tcp/1", "dev/client->dev/web tcp/1"}},
		{clause: "subject: pods on the host's network are none", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}], egress: [{action: Deny, ` + toAll + `}]}`},
			allow: []string{"prod/web->192.168.0.1 tcp/10250", "192.168.0.1->prod/web tcp/80"}},
		{clause: "subject: matchExpressions", cluster: []string{`{tier: Admin, priority: 1, subject: {namespaces: {matchExpressions: [{key: team, operator: DoesNotExist}]}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/web tcp/1", "dev/client->vm tcp/1"}, deny: []string{"prod/web->dev/web tcp/1"}},

		{clause: "ingress: the first rule that matches", cluster: []string{`{` + admin + `, ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: client}}}}]}, {action: Deny, ` + fromAll + `}, {action: Accept, ` + fromAll + `}]}`},
			allow: []string{"dev/client->prod/web tcp/1"}, deny: []string{"dev/web->prod/web tcp/1"}},
		{clause: "egress: the first rule that matches", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{pods: {podSelector: {matchLabels: {app: client}}}}]}, {action: Accept, ` + toAll + `}, {action: Deny, ` + toAll + `}]}`},
			allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{"prod/web->dev/client tcp/1"}},
		{clause: "ingress: no rules, no effect", cluster: []string{`{` + admin + `, egress: [{action: Deny, ` + toAll + `}]}`}, allow: []string{"vm->prod/web tcp/1", "10.9.9.9->prod/web tcp/1"}, deny: []string{"prod/web->dev/web tcp/1"}},
		{clause: "egress: no rules, no effect", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`}, allow: []string{"prod/web->vm tcp/1", "prod/web->10.9.9.9 tcp/1"}},
		{clause: "no rules at all", cluster: []string{`{` + admin + `}`}, allow: []string{"dev/web->prod/web tcp/1"}},

		{clause: "action: Accept ends all tiers in its direction", cluster: []string{`{` + admin + `, egress: [{action: Accept, ` + toAll + `}]}`, `{` + baseline + `, egress: [{action: Deny, ` + toAll + `}]}`},
			network: []string{`{podSelector: {}, policyTypes: [Egress]}`}, allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{"prod/web->10.9.9.9 tcp/1"}},
		{clause: "action: Accept at one end is not Accept at the other", cluster: []string{`{` + admin + `, egress: [{action: Accept, ` + toAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: db}}}`}, allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{"dev/web->prod/db tcp/1"}},
		{clause: "action: Pass skips the rest of the tier", cluster: []string{
			`{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {matchLabels: {stage: production}}}]}, {action: Deny, ` + fromAll + `}]}`,
			`{tier: Admin, priority: 2, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"prod/web->prod/db tcp/1", "prod/web->dev/web tcp/1"}, deny: []string{"dev/web->prod/db tcp/1"}},
		{clause: "action: Pass goes on with NetworkPolicies", cluster: []string{`{` + admin + `, ingress: [{action: Pass, ` + fromAll + `}, {action: Accept, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]}`}, allow: []string{"prod/web->prod/db tcp/80", "dev/web->prod/web tcp/1"}, deny: []string{"prod/web->prod/db tcp/81"}},
		{clause: "action: Pass goes on with Baseline where no NetworkPolicy selects", cluster: []string{
			`{` + admin + `, ingress: [{action: Pass, ` + fromAll + `}]}`, `{` + baseline + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			network: []string{`{podSelector: {matchLabels: {app: db}}, ingress: [{}]}`}, allow: []string{"dev/web->prod/db tcp/1"}, deny: []string{"dev/web->prod/web tcp/1"}},
		{clause: "action: Pass in Baseline skips the rest of it", cluster: []string{
			`{tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {matchLabels: {stage: production}}}]}]}`,
			`{tier: Baseline, priority: 2, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"prod/web->prod/db tcp/1"}, deny: []string{"dev/web->prod/db tcp/1"}},

		{clause: "from: any of several", cluster: []string{`{` + admin + `, ingress: [{action: Deny, from: [{namespaces: {matchLabels: {stage: production}}}, {pods: {podSelector: {matchLabels: {app: client}}}}]}]}`},
			allow: []string{"dev/web->prod/db tcp/1"}, deny: []string{"prod/web->prod/db tcp/1", "dev/client->prod/db tcp/1"}},
		{clause: "from namespaces: pods only, not those on the host's network", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`},
			allow: []string{"192.168.0.1->prod/db tcp/1", "vm->prod/db tcp/1", "10.9.9.9->prod/db tcp/1"}, deny: []string{"dev/client->prod/db tcp/1"}},
		{clause: "from pods: namespace and pod", cluster: []string{`{` + admin + `, ingress: [{action: Deny, from: [{pods: {namespaceSelector: {matchLabels: {stage: development}}, podSelector: {matchLabels: {app: web}}}}]}]}`},
			allow: []string{"prod/web->prod/db tcp/1", "dev/client->prod/db tcp/1"}, deny: []string{"dev/web->prod/db tcp/1", "dev/web 6->prod/db tcp/1"}},
		{clause: "from: selects nobody", cluster: []string{`{` + admin + `, ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {app: nothing}}}}]}]}`}, allow: []string{"prod/web->prod/db tcp/1"}},

		{clause: "to nodes: by label, all their addresses", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: a}}}]}]}`},
			allow: []string{"prod/web->192.168.0.2 tcp/1", "prod/web->dev/web tcp/1"}, deny: []string{"prod/web->192.168.0.1 tcp/1", "prod/web 6->fd00:168::1 tcp/1"}},
		{clause: "to nodes: empty is all nodes, and no pods", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{nodes: {}}]}]}`},
			allow: []string{"prod/web->dev/web tcp/1", "prod/web->vm tcp/1", "prod/web->192.168.0.3 tcp/1"}, deny: []string{"prod/web->192.168.0.1 tcp/1", "prod/web->192.168.0.2 icmp"}},
		{clause: "to nodes: matchExpressions", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{nodes: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}}]}]}`},
			allow: []string{"prod/web->192.168.0.1 tcp/1", "prod/web->dev/web tcp/1"}, deny: []string{"prod/web->192.168.0.2 tcp/1"}},
		{clause: "to networks: pods in them, too; ICMP as well", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{networks: [10.0.2.0/24, 192.0.2.0/24]}]}]}`},
			allow: []string{"prod/web->10.9.9.9 tcp/1", "prod/web 6->dev/web tcp/1"}, deny: []string{"prod/web->dev/web tcp/1", "prod/web->192.0.2.9 icmp"}},
		{clause: "to networks: a Pass before them keeps pods out", cluster: []string{`{` + admin + `, egress: [{action: Pass, ` + toAll + `}, {action: Deny, ` + anywhere + `}]}`},
			allow: []string{"prod/web->dev/web tcp/1", "prod/web 6->dev/web tcp/1"}, deny: []string{"prod/web->vm tcp/1", "prod/web->192.0.2.9 tcp/1", "prod/web 6->fd00:9::9 tcp/1", "prod/web 6->fd00:9::9 icmpv6"}},
		{clause: "to networks of IPv6", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{networks: ["fd00:2::/64"]}]}]}`}, allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{"prod/web 6->dev/web tcp/1"}},
		{clause: "to: kinds of peers together", cluster: []string{`{` + admin + `, egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: a}}}, {networks: [192.0.2.0/24]}, {pods: {podSelector: {matchLabels: {app: db}}}}]}]}`},
			allow: []string{"prod/web->192.168.0.2 tcp/1", "prod/web->dev/web tcp/1"}, deny: []string{"prod/web->192.168.0.1 tcp/1", "prod/web->192.0.2.1 tcp/1", "prod/web->prod/db tcp/1"}},

		{clause: "protocols: missing is all", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}]}`}, deny: []string{"dev/web->prod/db tcp/1", "dev/web->prod/db udp/1", "dev/web->prod/db sctp/1", "dev/web->prod/db icmp", "dev/web->prod/db 47"}},
		{clause: "protocols: tcp number", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{tcp: {destinationPort: {number: 80}}}]}]}`},
			allow: []string{"dev/web->prod/db tcp/81", "dev/web->prod/db udp/80"}, deny: []string{"dev/web->prod/db tcp/80"}},
		{clause: "protocols: udp range", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{udp: {destinationPort: {range: {start: 100, end: 200}}}}]}]}`},
			allow: []string{"dev/web->prod/db udp/99", "dev/web->prod/db udp/201", "dev/web->prod/db tcp/100"}, deny: []string{"dev/web->prod/db udp/100", "dev/web->prod/db udp/200"}},
		{clause: "protocols: sctp, egress", cluster: []string{`{` + admin + `, egress: [{action: Deny, ` + anywhere + `, protocols: [{sctp: {destinationPort: {number: 7}}}]}]}`},
			allow: []string{"prod/web->10.9.9.9 sctp/8"}, deny: []string{"prod/web->10.9.9.9 sctp/7", "prod/web->dev/web sctp/7"}},
		{clause: "protocols: any of several", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {number: 53}}}]}]}`},
			allow: []string{"dev/web->prod/db udp/80"}, deny: []string{"dev/web->prod/db tcp/80", "dev/web->prod/db udp/53"}},
		{clause: "protocols: a named port is each pod's own number", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{destinationNamedPort: http}]}]}`},
			allow: []string{"dev/web->prod/db tcp/8080", "dev/web->prod/web tcp/9090", "dev/web->prod/web udp/8080"}, deny: []string{"dev/web->prod/db tcp/9090", "dev/web->prod/web tcp/8080"}},
		{clause: "protocols: a named port in its own protocol", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{destinationNamedPort: dns}]}]}`},
			allow: []string{"dev/web->prod/web tcp/53", "dev/web->prod/db udp/53"}, deny: []string{"dev/web->prod/web udp/53"}},
		{clause: "protocols: a named port of the destination", cluster: []string{`{` + admin + `, egress: [{action: Deny, ` + toAll + `, protocols: [{destinationNamedPort: http}]}]}`},
			allow: []string{"prod/web->prod/db tcp/8080", "prod/web->dev/web tcp/9090"}, deny: []string{"prod/web->prod/db tcp/9090", "prod/web->dev/web tcp/8080"}},

		{clause: "a peer that is not known: Accept matches nothing", cluster: []string{`{` + admin + `, ingress: [{action: Accept, from: [{}, {namespaces: {}}]}]}`},
			network: []string{`{podSelector: {}}`}, deny: []string{"dev/web->prod/db tcp/1"}, unsupported: []string{"spec.ingress[0].from[0]"}},
		{clause: "a peer that is not known: Deny denies all", cluster: []string{`{` + admin + `, ingress: [{action: Deny, from: [{}], protocols: [{tcp: {destinationPort: {number: 80}}}]}]}`},
			allow: []string{"prod/db->10.9.9.9 tcp/1"}, deny: []string{"dev/web->prod/db udp/1", "10.9.9.9->prod/db tcp/1"}, unsupported: []string{"spec.ingress[0].from[0]"}},
		{clause: "a peer that is not known: Pass denies all", cluster: []string{`{` + admin + `, egress: [{action: Accept, to: [{networks: [192.0.2.0/24]}]}, {action: Pass, to: [{}]}]}`},
			allow: []string{"vm->prod/db udp/1", "prod/db->192.0.2.1 tcp/1"}, deny: []string{"prod/db->10.9.9.9 tcp/1"}, unsupported: []string{"spec.egress[1].to[0]"}},
		{clause: "domainNames are not supported", cluster: []string{`{` + admin + `, egress: [{action: Accept, to: [{networks: [192.0.2.0/24]}, {domainNames: ["*.example.com"]}]}, {action: Deny, ` + anywhere + `}]}`},
			deny: []string{"prod/db->192.0.2.1 tcp/1"}, unsupported: []string{"spec.egress[0].to[1].domainNames"}},
		{clause: "a protocol that is not known", cluster: []string{`{` + admin + `, ingress: [{action: Deny, ` + fromAll + `, protocols: [{}, {tcp: {}}]}]}`},
			deny: []string{"10.9.9.9->prod/db icmp"}, unsupported: []string{"spec.ingress[0].protocols[0]", "spec.ingress[0].protocols[1]"}},
	} {
		t.Run(c.clause, func(t *testing.T) {
			e := engine(t)
			for _, m := range nodes {
				require.NoError(t, e.SetMember(m))
			}
			var unsupported []string
			for i, spec := range c.cluster {
				unsupported = append(unsupported, installCluster(t, e, parseCluster(t, fmt.Sprint("c", i), spec), netpol.Config{})...)
			}
			for i, spec := range c.network {
				install(t, e, parse(t, fmt.Sprint("n", i), spec))
			}
			require.Equal(t, c.unsupported, unsupported)
			verdicts(t, e, c.allow, c.deny)
		})
	}
}

func TestValidateCluster(t *testing.T) {
	rule := func(s string) string { return `{` + admin + `, egress: [{action: Accept, ` + s + `}]}` }
	many := func(item string) string { return "[" + strings.TrimSuffix(strings.Repeat(item+", ", 26), ", ") + "]" }
	for _, c := range []struct{ spec, want string }{
		{`{tier: Application, priority: 1, subject: {namespaces: {}}}`, `spec.tier: Unsupported value: "Application"`},
		{`{tier: Admin, priority: -1, subject: {namespaces: {}}}`, "spec.priority: Invalid value: -1"},
		{`{tier: Admin, priority: 1001, subject: {namespaces: {}}}`, "spec.priority: Invalid value: 1001"},
		{`{tier: Admin, priority: 1, subject: {}}`, "spec.subject: Required value"},
		{`{tier: Admin, priority: 1, subject: {namespaces: {}, pods: {podSelector: {}}}}`, "spec.subject: Forbidden"},
		{`{tier: Admin, priority: 1, subject: {namespaces: {matchExpressions: [{key: a, operator: In}]}}}`, "spec.subject.namespaces.matchExpressions[0].values"},
		{`{tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabels: {"a b": x}}}}}`, "spec.subject.pods.podSelector.matchLabels"},
		{`{tier: Admin, priority: 1, subject: {pods: {podSelector: {}, namespaceSelector: {matchLabels: {"a b": x}}}}}`, "spec.subject.pods.namespaceSelector.matchLabels"},
		{`{` + admin + `, ingress: ` + many(`{action: Deny, `+fromAll+`}`) + `}`, "spec.ingress: Invalid value: 26"},
		{`{` + admin + `, egress: ` + many(`{action: Deny, `+toAll+`}`) + `}`, "spec.egress: Invalid value: 26"},
		{`{` + admin + `, ingress: [{action: Allow, ` + fromAll + `}]}`, `spec.ingress[0].action: Unsupported value: "Allow"`},
		{`{` + admin + `, ingress: [{` + fromAll + `}]}`, "spec.ingress[0].action: Unsupported value"},
		{`{` + admin + `, ingress: [{action: Deny}]}`, "spec.ingress[0].from: Required value"},
		{`{` + admin + `, ingress: [{action: Deny, from: ` + many(`{namespaces: {}}`) + `}]}`, "spec.ingress[0].from: Invalid value: 26"},
		{`{` + admin + `, ingress: [{name: ` + strings.Repeat("x", 101) + `, action: Deny, ` + fromAll + `}]}`, "spec.ingress[0].name: Invalid value: 101"},
		{`{` + admin + `, ingress: [{action: Deny, from: [{namespaces: {}, pods: {podSelector: {}}}]}]}`, "spec.ingress[0].from[0]: Forbidden"},
		{rule(`to: [{networks: [10.0.0.0/8], nodes: {}}]`), "spec.egress[0].to[0]: Forbidden"},
		{rule(`to: [{networks: []}]`), "spec.egress[0].to[0].networks: Required value"},
		{rule(`to: [{networks: [10.0.0.1]}]`), `spec.egress[0].to[0].networks[0]: Invalid value: "10.0.0.1"`},
		{rule(`to: [{networks: ["::ffff:10.0.0.0/104"]}]`), "spec.egress[0].to[0].networks[0]: Invalid value"},
		{rule(`to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]`), "spec.egress[0].to[0].networks[1]: Invalid value"},
		{rule(`to: [{nodes: {matchLabels: {"a b": x}}}]`), "spec.egress[0].to[0].nodes.matchLabels"},
		{rule(`to: [{domainNames: [a]}]`), "spec.egress[0].to[0].domainNames[0]: Invalid value"},
		{`{` + admin + `, egress: [{action: Deny, to: [{domainNames: [example.com]}]}]}`, "spec.egress[0].to[0].domainNames: Forbidden"},
		{rule(toAll + `, protocols: []`), "spec.egress[0].protocols: Required value"},
		{rule(toAll + `, protocols: [{tcp: {destinationPort: {number: 1}}, udp: {destinationPort: {number: 1}}}]`), "spec.egress[0].protocols[0]: Forbidden"},
		{rule(toAll + `, protocols: [{tcp: {destinationPort: {}}}]`), "spec.egress[0].protocols[0].tcp.destinationPort.number: Invalid value: 0"},
		{rule(toAll + `, protocols: [{udp: {destinationPort: {number: 65536}}}]`), "spec.egress[0].protocols[0].udp.destinationPort.number: Invalid value: 65536"},
		{rule(toAll + `, protocols: [{sctp: {destinationPort: {number: 1, range: {start: 1, end: 2}}}}]`), "spec.egress[0].protocols[0].sctp.destinationPort: Forbidden"},
		{rule(toAll + `, protocols: [{tcp: {destinationPort: {range: {start: 2, end: 2}}}}]`), "spec.egress[0].protocols[0].tcp.destinationPort.range.end: Invalid value: 2"},
		{rule(toAll + `, protocols: [{tcp: {destinationPort: {range: {start: 0, end: 70000}}}}]`), "spec.egress[0].protocols[0].tcp.destinationPort.range.start: Invalid value: 0"},
		{rule(`to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]`), "spec.egress[0].protocols[0].destinationNamedPort: Forbidden"},
		{rule(`to: [{namespaces: {}}, {nodes: {}}], protocols: [{destinationNamedPort: http}]`), "spec.egress[0].protocols[0].destinationNamedPort: Forbidden"},
	} {
		groups, sections, err := netpol.CompileCluster(parseCluster(t, "p", c.spec), netpol.Config{})
		require.ErrorIs(t, err, policy.ErrInvalid, c.spec)
		require.ErrorContains(t, err, c.want, c.spec)
		require.ErrorContains(t, err, "netpol: ClusterNetworkPolicy p: ", c.spec)
		require.Nil(t, groups)
		require.Nil(t, sections)
	}
	_, _, err := netpol.CompileCluster(nil, netpol.Config{})
	require.ErrorIs(t, err, policy.ErrInvalid)
	_, _, err = netpol.CompileCluster(parseCluster(t, "", `{tier: x, priority: 1, subject: {}}`), netpol.Config{})
	for _, want := range []string{"metadata.name: Required value", "spec.tier", "spec.subject"} {
		require.ErrorContains(t, err, want, "all faults are reported")
	}
	for _, cfg := range []netpol.Config{
		{AdminCategory: policy.Application}, {AdminCategory: "x"}, {NodeCategory: "x"}, {AdminPriority: -1}, {BaselinePriority: 8000}, {LastPriority: 2000},
	} {
		_, _, err := netpol.CompileCluster(parseCluster(t, "p", `{`+admin+`}`), cfg)
		require.ErrorIs(t, err, policy.ErrInvalid, "%+v", cfg)
	}
}

// What comes out has the names that logs and counters show.
func TestClusterNames(t *testing.T) {
	p := parseCluster(t, "guard", `{`+admin+`, ingress: [{name: from-production, action: Deny, from: [{namespaces: {matchLabels: {stage: production}}}]}],
		egress: [{action: Pass, to: [{networks: [10.1.2.3/8]}, {namespaces: {}}]}]}`)
	p.UID = "u-1"
	tags := []policy.Tag{{Scope: "cluster", Tag: "c1"}}
	groups, sections, err := netpol.CompileCluster(p, netpol.Config{IDPrefix: "c1-", Tags: tags, ClusterTags: tags, LogDrops: true})
	require.NoError(t, err)
	require.Equal(t, []string{"c1-u-1-subject", "c1-u-1-ingress-0-0"}, []string{groups[0].ID, groups[1].ID})
	require.Empty(t, cmp.Diff([]policy.Section{{ID: "c1-u-1", DisplayName: "guard", Tags: tags, Category: policy.Environment, Priority: 1010,
		AppliedTo: []string{"c1-u-1-subject"}, Rules: []policy.Rule{
			{ID: "ingress-0", DisplayName: "guard from-production", Sequence: 1, Sources: []string{"c1-u-1-ingress-0-0"}, Action: policy.Drop, Direction: policy.Ingress, Logged: true},
			{ID: "egress-0", DisplayName: "guard egress-0", Sequence: 2, Destinations: []string{"10.0.0.0/8", "c1-u-1-subject"}, Action: policy.Pass, Direction: policy.Egress},
		}}}, sections))
	require.True(t, groups[0].Criteria.Matches(policy.Member{ID: "x", Namespace: "n", NamespaceTags: tags}))
	require.False(t, groups[0].Criteria.Matches(policy.Member{ID: "x", Namespace: "n"}), "a pod of another cluster")
}

// Where the Engine drops by default, that is what Pass in Baseline comes to.
func TestPassOfTheLastTier(t *testing.T) {
	e := policy.NewEngine(policy.Config{})
	for _, m := range pods {
		require.NoError(t, e.SetMember(m))
	}
	spec := `{` + baseline + `, ingress: [{action: Pass, from: [{namespaces: {matchLabels: {stage: production}}}]}, {action: Accept, ` + fromAll + `}], egress: [{action: Accept, ` + toAll + `}]}`
	installCluster(t, e, parseCluster(t, "c", spec), netpol.Config{DefaultDrop: true})
	verdicts(t, e, []string{"dev/web->prod/db tcp/1"}, []string{"prod/web->prod/db tcp/1"})
}
