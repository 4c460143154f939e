package netpol

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/policy"
)

// CompileNode returns what lets a node and its own pods talk, such as for the
// probes of its kubelet. Pods are those with a tag of NodeScope and the node's
// name. What the node sends comes before all policies, in NodeCategory: only sections
// in a category before that, or before it in that one, keep it away. What a pod sends
// to its node comes before the isolation of NetworkPolicies and after tier Admin. A node
// without addresses and NodeSources has nothing to be let.
func CompileNode(node *corev1.Node, cfg Config) ([]policy.Group, []policy.Section, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, nil, err
	}
	if len(NodeMember(node, cfg).IPs)+len(cfg.NodeSources) == 0 {
		return nil, nil, nil
	}
	b := builder{cfg: cfg, id: NodeID(node, cfg), name: "node " + node.Name}
	b.when(policy.Condition{Subject: policy.OfMember, Operator: policy.Equals, Scope: cfg.NodeScope, Values: b.list(node.Name)})
	b.inCluster(policy.OfNamespace)
	scope := []string{b.group("pods", policy.Group{Criteria: b.all(0)})}
	from := []string{b.group("sources", policy.Group{Members: []string{b.id}, IPs: cfg.NodeSources})}
	sections := []policy.Section{
		{ID: b.id + "-in", Category: cfg.NodeCategory, Rules: []policy.Rule{{ID: "in", Sources: from, Direction: policy.Ingress}}},
		{ID: b.id + "-out", Category: cfg.Category, Priority: cfg.AllowPriority, Rules: []policy.Rule{{ID: "out", Destinations: from, Direction: policy.Egress}}},
	}
	for i := range sections {
		s := &sections[i]
		s.DisplayName, s.Tags, s.AppliedTo = b.name, cfg.Tags, scope
		s.Rules[0].Action = policy.Allow
		cfg.logs(&s.Rules[0])
	}
	return b.groups, sections, nil
}
