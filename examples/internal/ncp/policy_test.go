package ncp_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/ncp"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
	"github.com/tierloom/tierloom/reconcile/intent"
)

const (
	policyNode = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: a}}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: n1}]}\n"
	policyPods = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: a, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: c}]}\n---\n" +
		"apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: b, labels: {app: db}}\nspec: {nodeName: n1, containers: [{name: c}]}\n---\n" +
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b, labels: {stage: production}}\n"
	isolateB = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: b}\nspec: {podSelector: {}}\n"
	// To production from nowhere, and from production to no node.
	guard = `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {stage: production}}}
  ingress: [{name: nothing, action: Deny, from: [{namespaces: {}}]}]
  egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: a}}}]}]
`
)

// allowed reads "a/web>b/db", with an address for what is no pod, and asks the
// intent what becomes of a connection to TCP port 80.
func (w *world) allowed(packet string) bool {
	w.t.Helper()
	objs, _, err := w.api.Intent.List(w.t.Context(), intent.Query{})
	require.NoError(w.t, err)
	engine, err := ccp.Engine(objs)
	require.NoError(w.t, err)
	end := func(name string) (string, netip.Addr) {
		for _, o := range objs {
			if o.ResourceType == model.KindSegmentPort && o.DisplayName == name {
				p, err := model.Decode[model.Port](o)
				require.NoError(w.t, err)
				return o.ID, p.Addresses[0].IP
			}
		}
		return "", netip.MustParseAddr(name)
	}
	k := policy.Packet{Proto: uint8(policy.TCP), SrcPortNo: 40000, DstPortNo: 80}
	from, to, _ := strings.Cut(packet, ">")
	k.SrcPort, k.Src = end(from)
	k.DstPort, k.Dst = end(to)
	return engine.Eval(k).Allowed()
}

// ports waits until pods have theirs.
func (w *world) ports(n int) {
	w.t.Helper()
	w.eventually(func() bool {
		return len(w.objects(model.KindSegmentPort)) == n+1 && len(w.objects(model.KindClusterNode)) == 1
	}, "ports")
}

func (w *world) section(name string) (policy.Section, bool) {
	w.t.Helper()
	for _, o := range w.objects(model.KindSection) {
		if o.DisplayName == name {
			s, err := model.Decode[policy.Section](o)
			require.NoError(w.t, err)
			return s, true
		}
	}
	return policy.Section{}, false
}

func TestClusterNetworkPolicyFromManifest(t *testing.T) {
	w := newWorld(t)
	w.admin(tier0, wideBlock, widePool, host, parent, plugs)
	w.startNCP()
	w.manifest("node.yaml", policyNode)
	w.manifest("pods.yaml", policyPods)
	w.ports(2)
	w.eventually(func() bool { return w.allowed("192.168.0.1>b/db") }, "node's rule")
	require.True(t, w.allowed("a/web>b/db"))
	require.True(t, w.allowed("b/db>192.168.0.1"))

	w.manifest("guard.yaml", guard)
	w.eventually(func() bool { return !w.allowed("a/web>b/db") && !w.allowed("b/db>192.168.0.1") }, "guard")
	require.True(t, w.allowed("a/web>192.168.0.1"))
	require.True(t, w.allowed("192.168.0.1>b/db"), "a node reaches its own pods")
	s, _ := w.section("guard")
	require.Equal(t, policy.Environment, s.Category)
	require.Equal(t, "guard nothing", s.Rules[0].DisplayName)

	// What is at fault changes nothing, and is told by field.
	fault := func() string {
		return w.status("ClusterNetworkPolicy", "", "guard").Annotations[cluster.AnnotationError]
	}
	w.manifest("guard.yaml", strings.Replace(strings.Replace(guard, "priority: 10", "priority: 2000", 1), "action: Deny, to", "action: Accept, to", 1))
	w.eventually(func() bool {
		return strings.Contains(fault(), "ClusterNetworkPolicyInvalid") && strings.Contains(fault(), "spec.priority")
	}, "fault")
	require.False(t, w.allowed("b/db>192.168.0.1"), "the last good version")
	w.eventually(func() bool { return len(w.status("ClusterNetworkPolicy", "", "guard").Events) == 1 }, "event")

	// What is not supported is told, too, and the rest is in force.
	w.manifest("guard.yaml", strings.Replace(guard, "action: Deny, to: [", "action: Accept, to: [{domainNames: [example.com]}]}, {action: Deny, to: [", 1))
	w.eventually(func() bool {
		return strings.Contains(fault(), "ClusterNetworkPolicyUnsupported") && strings.Contains(fault(), "spec.egress[0].to[0].domainNames")
	}, "not supported")
	require.False(t, w.allowed("b/db>192.168.0.1"))

	w.manifest("guard.yaml", guard)
	w.eventually(func() bool { return fault() == "" }, "mended")
	w.manifest("guard.yaml", "")
	w.eventually(func() bool { return w.allowed("a/web>b/db") && w.allowed("b/db>192.168.0.1") }, "gone")

	// Isolation does not keep a node from its pods; when the node is gone, so is its rule.
	w.manifest("isolate.yaml", isolateB)
	w.eventually(func() bool { return !w.allowed("a/web>b/db") }, "isolation")
	require.True(t, w.allowed("192.168.0.1>b/db"))
	require.False(t, w.allowed("192.168.0.2>b/db"))
	w.manifest("node.yaml", "")
	w.eventually(func() bool { return len(w.objects(model.KindClusterNode)) == 0 && !w.allowed("192.168.0.1>b/db") }, "node gone")
}

func TestBaselineOfACluster(t *testing.T) {
	w := newWorld(t)
	w.admin(tier0, wideBlock, widePool, host, parent, plugs)
	w.manifest("node.yaml", policyNode)
	w.manifest("pods.yaml", policyPods+"---\n"+strings.Replace(strings.Split(policyPods, "---\n")[0], "name: web", "name: web2", 1))
	for _, c := range []struct {
		baseline               netpol.Baseline
		within, across, beyond bool
	}{
		{netpol.NoBaseline, true, true, true},
		{netpol.AllowNamespaceStrict, true, false, false},
		{netpol.AllowNamespace, true, false, true},
		{netpol.AllowCluster, true, true, true},
		{"none", true, true, true},
	} {
		w.startNCP(func(cfg *ncp.Config) { cfg.Baseline, cfg.LogDropped = c.baseline, true })
		w.ports(3)
		w.eventually(func() bool {
			return w.allowed("a/web>a/web2") == c.within && w.allowed("a/web>b/db") == c.across && w.allowed("a/web>198.51.100.1") == c.beyond
		}, string(c.baseline))
		for _, o := range w.objects(model.KindSection) {
			s, err := model.Decode[policy.Section](o)
			require.NoError(t, err)
			for _, r := range s.Rules {
				require.Equal(t, r.Action == policy.Drop, r.Logged && r.LogLabel == "c1", s.ID)
			}
		}
		w.stopNCP()
	}
	_, err := ncp.New(ncp.Config{Cluster: "c1", Baseline: "allow_all", Source: cluster.NewFolder(cluster.FolderConfig{})})
	require.ErrorContains(t, err, `baseline_policy_type`)
	_, err = ncp.New(ncp.Config{Cluster: "c1", LogTraffic: "SOME", Source: cluster.NewFolder(cluster.FolderConfig{})})
	require.ErrorContains(t, err, `log_firewall_traffic "SOME"`)
}

func TestNamedPortsOfPods(t *testing.T) {
	w := newWorld(t)
	w.admin(tier0, wideBlock, widePool, host, parent, plugs)
	w.startNCP()
	w.manifest("node.yaml", policyNode)
	w.manifest("pods.yaml", strings.Replace(strings.Replace(policyPods,
		"name: db, namespace: b, labels: {app: db}}\nspec: {", "name: db, namespace: b, labels: {app: db}}\nspec: {initContainers: [{name: side, restartPolicy: Always, ports: [{name: http, containerPort: 80}]}], ", 1),
		"spec: {nodeName: n1, containers: [{name: c}]}", "spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 81}]}]}", 1))
	w.manifest("open.yaml", strings.Replace(isolateB, "podSelector: {}", "podSelector: {}, ingress: [{ports: [{port: http}]}]", 1)+"---\n"+
		strings.Replace(strings.Replace(isolateB, "podSelector: {}", "podSelector: {}, ingress: [{ports: [{port: http}]}]", 1), "namespace: b", "namespace: a", 1))
	w.ports(2)
	w.eventually(func() bool { return w.allowed("a/web>b/db") && !w.allowed("b/db>a/web") }, "port 80 is http of one and not of the other")
}

// A cluster gets ClusterNetworkPolicies when it has their definition.
const clusterPolicyDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusternetworkpolicies.policy.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/network-policy-api/pull/347"}
spec:
  group: policy.networking.k8s.io
  scope: Cluster
  names: {kind: ClusterNetworkPolicy, listKind: ClusterNetworkPolicyList, plural: clusternetworkpolicies, singular: clusternetworkpolicy}
  versions:
    - name: v1alpha2
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
`

func TestClusterNetworkPolicyFromAPIServer(t *testing.T) {
	w := newKubeWorld(t)
	w.admin(tier0, wideBlock, widePool, host, parent, plugs)
	w.startNCPWith(w.source("tierloom-ncp", ""))
	w.server.ApplyText(t, clusterPolicyDefinition)
	w.server.ApplyText(t, guard)
	w.eventually(func() bool { _, ok := w.section("guard"); return ok }, "policy of a definition that came later")

	policies := w.server.Dynamic.Resource(schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha2", Resource: "clusternetworkpolicies"})
	fault := func() string {
		p, err := policies.Get(t.Context(), "guard", metav1.GetOptions{})
		require.NoError(t, err)
		return p.GetAnnotations()[cluster.AnnotationError]
	}
	w.server.ApplyText(t, strings.Replace(guard, "tier: Admin", "tier: Emergency", 1))
	w.eventually(func() bool { return strings.Contains(fault(), "spec.tier") }, "fault")
	w.eventually(func() bool {
		events, err := w.server.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=ClusterNetworkPolicyInvalid"})
		return err == nil && len(events.Items) == 1 && events.Items[0].InvolvedObject.Name == "guard"
	}, "event")

	// A peer that only a newer definition knows: an Accept accepts nothing.
	newer := strings.Replace(guard, "action: Deny, from: [{namespaces: {}}]", "action: Accept, from: [{services: {}}]", 1)
	w.server.ApplyText(t, newer)
	w.eventually(func() bool { return strings.Contains(fault(), "spec.ingress[0].from[0]") }, "not supported")
	w.eventually(func() bool {
		s, _ := w.section("guard")
		return len(s.Rules) == 1 && s.Rules[0].Direction == policy.Egress
	}, "the other rule is in force")
	// A field beside those of a rule is told.
	w.server.ApplyText(t, strings.Replace(guard, "tier: Admin", "tier: Admin\n  schedule: nightly", 1))
	w.eventually(func() bool { return strings.Contains(fault(), "schedule") }, "unknown field")
	w.server.ApplyText(t, guard)
	w.eventually(func() bool { return fault() == "" }, "mended")

	w.stopNCP()
	require.NoError(t, policies.Delete(t.Context(), "guard", metav1.DeleteOptions{}))
	w.startNCPWith(w.source("tierloom-ncp", ""))
	w.eventually(func() bool { _, ok := w.section("guard"); return !ok }, "what went while NCP was away")
}
