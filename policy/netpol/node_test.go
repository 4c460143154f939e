package netpol_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func kubeNode(t testing.TB, name string, addresses ...string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": name}}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Address: a})
	}
	return n
}

// Pods of node n1 are prod/web and dev/web. Its traffic to them passes all that
// policies forbid, and theirs to it all that NetworkPolicies forbid.
func TestNodeAndItsPods(t *testing.T) {
	const probe, probed, other = "192.168.0.1->prod/web tcp/80", "prod/web->192.168.0.1 tcp/10250", "192.168.0.2->prod/web tcp/80"
	isolated := `{podSelector: {}, policyTypes: [Ingress, Egress]}`
	for _, c := range []struct {
		clause      string
		cluster     string
		network     string
		allow, deny []string
	}{
		{clause: "isolation does not keep a node from its own pods", network: isolated,
			allow: []string{probe, probed, "fd00:168::1->prod/web icmpv6", "169.254.9.1->prod/web tcp/80"}, deny: []string{other, "192.168.0.1->prod/db tcp/80", "prod/db->192.168.0.1 tcp/1", "prod/web->192.168.0.2 tcp/1"}},
		{clause: "nor does a policy that forgets the node", network: `{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`, allow: []string{probe}, deny: []string{other}},
		{clause: "nor does tier Admin, which keeps the pod from the node", cluster: `{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}], egress: [{action: Deny, to: [{nodes: {}}]}]}`,
			allow: []string{probe, other}, deny: []string{probed}},
		{clause: "a pod on the host's network comes from the node's address", network: `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.2/32}}]}]}`, allow: []string{other, "192.168.0.2->prod/db tcp/1"}, deny: []string{"192.168.0.1->prod/db tcp/1"}},
		{clause: "a selector does not find a pod on the host's network", network: `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, {podSelector: {}}]}]}`, allow: []string{"prod/web->prod/db tcp/1"}, deny: []string{other}},
		{clause: "a policy does not select a pod on the host's network", network: isolated, allow: []string{"dev/web->192.168.0.2 tcp/80", "10.9.9.9->192.168.0.2 tcp/80"}},
	} {
		t.Run(c.clause, func(t *testing.T) {
			e := policy.NewEngine(policy.Config{Default: policy.Allow})
			for _, m := range pods {
				if m.ID == "prod/web" || m.ID == "dev/web" {
					m.Tags = append([]policy.Tag{{Scope: netpol.DefaultNodeScope, Tag: "n1"}}, m.Tags...)
				}
				require.NoError(t, e.SetMember(m))
			}
			cfg := netpol.Config{NodeSources: []netip.Prefix{netip.MustParsePrefix("169.254.9.1/32")}}
			for _, n := range []*corev1.Node{kubeNode(t, "n1", "192.168.0.1", "fd00:168::1", "n1.example"), kubeNode(t, "n2", "192.168.0.2")} {
				require.NoError(t, e.SetMember(netpol.NodeMember(n, cfg)))
				groups, sections, err := netpol.CompileNode(n, cfg)
				require.NoError(t, err)
				installed(t, e, groups, sections)
			}
			if c.network != "" {
				install(t, e, parse(t, "n", c.network))
			}
			if c.cluster != "" {
				installCluster(t, e, parseCluster(t, "c", c.cluster), cfg)
			}
			verdicts(t, e, c.allow, c.deny)
		})
	}
}

func TestPodMember(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod", Labels: map[string]string{"stage": "production", "cluster": "other"}}}
	cfg := netpol.Config{IDPrefix: "c1-", ClusterTags: []policy.Tag{{Scope: "cluster", Tag: "c1"}}, Namespace: func(s string) string { return "c1/" + s }, NodeScope: "on-node"}
	const spec = `
metadata: {name: web, namespace: prod, uid: u-1, labels: {app: web, on-node: n9, cluster: other}}
spec:
  nodeName: n1
  initContainers:
  - {name: done, ports: [{name: early, containerPort: 1}]}
  - {name: side, restartPolicy: Always, ports: [{name: side, containerPort: 7, protocol: SCTP}]}
  containers:
  - {name: a, ports: [{name: http, containerPort: 80}, {name: http, containerPort: 81, protocol: UDP}, {containerPort: 5}]}
  - {name: b, ports: [{name: http, containerPort: 8080}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
`
	pod := &corev1.Pod{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(spec), pod))
	m, ok := netpol.PodMember(pod, ns, cfg)
	require.True(t, ok)
	require.NoError(t, m.Validate())
	require.Empty(t, cmp.Diff(policy.Member{
		ID: "c1-u-1", Kind: "Pod", Namespace: "c1/prod", Tags: []policy.Tag{{Scope: "app", Tag: "web"}, {Scope: "on-node", Tag: "n1"}},
		NamespaceTags: []policy.Tag{{Scope: "cluster", Tag: "c1"}, {Scope: "stage", Tag: "production"}, {Scope: "kubernetes.io/metadata.name", Tag: "prod"}},
		IPs:           []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Ports:         map[string]policy.NamedPort{"http": {TCP: 80, UDP: 81}, "side": {SCTP: 7}},
	}, m, addrs))
	c, err := netpol.NewCompiler(cfg)
	require.NoError(t, err)
	for _, p := range []*corev1.Pod{pod, {ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: "prod"}}, pod} {
		want, _ := netpol.PodMember(p, ns, cfg)
		got, ok := c.PodMember(p, netpol.NamespaceTags(ns, cfg))
		require.True(t, ok)
		require.Empty(t, cmp.Diff(want, got, addrs, cmpopts.EquateEmpty()))
	}
	for _, change := range []func(*corev1.Pod){
		func(p *corev1.Pod) { p.Spec.HostNetwork = true }, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
	} {
		p := pod.DeepCopy()
		change(p)
		_, ok := netpol.PodMember(p, ns, cfg)
		require.False(t, ok)
	}
}

func TestNodeMember(t *testing.T) {
	cfg := netpol.Config{IDPrefix: "c1-", ClusterTags: []policy.Tag{{Scope: "cluster", Tag: "c1"}}}
	n := kubeNode(t, "n1", "192.168.0.1", "192.168.0.1", "n1.example", "fd00:168::1")
	m := netpol.NodeMember(n, cfg)
	require.NoError(t, m.Validate())
	require.Empty(t, cmp.Diff(policy.Member{ID: "c1-node:n1", Kind: "Node", Tags: []policy.Tag{{Scope: "cluster", Tag: "c1"}, {Scope: "zone", Tag: "n1"}},
		IPs: []netip.Addr{netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("fd00:168::1")}}, m, addrs))
}
