package netpol

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/policy"
)

// Defaults of [Config].
const (
	DefaultAllowPriority     = 1000
	DefaultIsolationPriority = 2000
)

// Config says how policies are translated. The zero value is good for one cluster.
type Config struct {
	// IDPrefix starts every id. An id goes on with the UID of the policy, or
	// its namespace and name if it has none.
	IDPrefix string
	// Tags are put on every group and section.
	Tags []policy.Tag
	// ClusterTags are tags that the namespaces of the cluster have, where the
	// members of several clusters are in one Engine: selectors select no others.
	ClusterTags []policy.Tag
	// Namespace returns what [policy.Member.Namespace] is for a namespace; nil
	// is its name.
	Namespace func(name string) string
	// Category of the sections; empty is Application.
	Category policy.Category
	// AllowPriority and IsolationPriority are sequence numbers of sections, the
	// second larger; 0 is the default.
	AllowPriority, IsolationPriority int
	// Logged is put on every rule; LogDrops on those of isolation.
	Logged, LogDrops bool
}

// Compile translates a policy.
func Compile(np *networkingv1.NetworkPolicy, cfg Config) ([]policy.Group, []policy.Section, error) {
	cfg.AllowPriority = cmp.Or(cfg.AllowPriority, DefaultAllowPriority)
	cfg.IsolationPriority = cmp.Or(cfg.IsolationPriority, DefaultIsolationPriority)
	cfg.Category = cmp.Or(cfg.Category, policy.Application)
	if cfg.Namespace == nil {
		cfg.Namespace = func(name string) string { return name }
	}
	if cfg.AllowPriority < 0 || cfg.AllowPriority >= cfg.IsolationPriority || cfg.Category.Rank() < 0 {
		return nil, nil, fmt.Errorf("netpol: config: category %q, allow priority %d, isolation priority %d: %w",
			cfg.Category, cfg.AllowPriority, cfg.IsolationPriority, policy.ErrInvalid)
	}
	if np == nil {
		return nil, nil, fmt.Errorf("netpol: no policy: %w", policy.ErrInvalid)
	}
	if err := Validate(np); err != nil {
		return nil, nil, err
	}
	c := &compiler{Config: cfg, np: np, name: np.Namespace + "/" + np.Name, id: ID(np, cfg)}
	c.compile()
	return c.groups, c.sections, nil
}

// ID returns the id of the section that has what a policy allows. The ids of
// all its other objects start with it and "-".
func ID(np *networkingv1.NetworkPolicy, cfg Config) string {
	if np.UID != "" {
		return cfg.IDPrefix + string(np.UID)
	}
	return cfg.IDPrefix + np.Namespace + "." + np.Name
}

type compiler struct {
	Config
	np       *networkingv1.NetworkPolicy
	name     string // for display names
	id       string
	groups   []policy.Group
	sections []policy.Section
}

func (c *compiler) compile() {
	spec := c.np.Spec
	pods := c.group("pods", policy.Group{Criteria: c.own(&spec.PodSelector)})
	allow := policy.Section{ID: c.id, DisplayName: c.name, Tags: slices.Clone(c.Tags), Category: c.Category, Priority: c.AllowPriority, AppliedTo: []string{pods}}
	isolation := allow
	isolation.ID, isolation.Priority = c.id+"-isolation", c.IsolationPriority
	isolate := func(id string, d policy.Direction) {
		isolation.Rules = append(isolation.Rules, policy.Rule{ID: id, DisplayName: c.name + " isolation " + id, Sequence: 1,
			Action: policy.Drop, Direction: d, Logged: c.Logged || c.LogDrops})
	}
	types := PolicyTypes(c.np)
	if slices.Contains(types, networkingv1.PolicyTypeIngress) {
		for i, r := range spec.Ingress {
			from := c.peers(fmt.Sprintf("ingress-%d", i), r.From)
			c.rule(&allow, policy.Rule{ID: fmt.Sprintf("ingress-%d", i), Direction: policy.Ingress, Sources: from, Services: services(r.Ports)})
		}
		isolate("ingress", policy.Ingress)
	}
	if slices.Contains(types, networkingv1.PolicyTypeEgress) {
		for i, r := range spec.Egress {
			to := c.peers(fmt.Sprintf("egress-%d", i), r.To)
			c.rule(&allow, policy.Rule{ID: fmt.Sprintf("egress-%d", i), Direction: policy.Egress, Destinations: to, Services: services(r.Ports)})
		}
		isolate("egress", policy.Egress)
	}
	if len(allow.Rules) > 0 {
		c.sections = append(c.sections, allow)
	}
	c.sections = append(c.sections, isolation)
}

// PolicyTypes returns the directions that a policy isolates pods in.
func PolicyTypes(np *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(np.Spec.PolicyTypes) > 0 {
		return np.Spec.PolicyTypes
	}
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(np.Spec.Egress) > 0 {
		types = append(types, networkingv1.PolicyTypeEgress)
	}
	return types
}

// rule adds a rule that allows. The order of such rules makes no difference:
// one sequence number makes them peers.
func (c *compiler) rule(s *policy.Section, r policy.Rule) {
	r.DisplayName, r.Sequence, r.Action, r.Logged = c.name+" "+r.ID, 1, policy.Allow, c.Logged
	s.Rules = append(s.Rules, r)
}

func (c *compiler) group(suffix string, g policy.Group) string {
	g.ID, g.DisplayName, g.Tags = c.id+"-"+suffix, c.name+" "+suffix, slices.Clone(c.Tags)
	c.groups = append(c.groups, g)
	return g.ID
}

// peers returns the groups of a rule's peers; none is any.
func (c *compiler) peers(rule string, list []networkingv1.NetworkPolicyPeer) []string {
	var ids []string
	for i, p := range list {
		g := policy.Group{}
		if p.IPBlock != nil {
			g.IPs = []netip.Prefix{prefix(p.IPBlock.CIDR)}
			for _, x := range p.IPBlock.Except {
				g.ExcludedIPs = append(g.ExcludedIPs, prefix(x))
			}
		} else {
			g.Criteria = c.selected(p.NamespaceSelector, p.PodSelector)
		}
		ids = append(ids, c.group(fmt.Sprintf("%s-%d", rule, i), g))
	}
	return ids
}

// own selects pods of the policy's namespace.
func (c *compiler) own(pods *metav1.LabelSelector) policy.Expr {
	all := []policy.Expr{policy.InNamespace(c.Namespace(c.np.Namespace))}
	return policy.And(append(all, append(c.cluster(), selector(pods, policy.OfMember)...)...)...)
}

func (c *compiler) selected(namespaces, pods *metav1.LabelSelector) policy.Expr {
	if namespaces == nil {
		return c.own(pods)
	}
	all := append(c.cluster(), policy.When(policy.Condition{Subject: policy.OfNamespace, Key: policy.KeyName, Operator: policy.Exists}))
	all = append(all, selector(namespaces, policy.OfNamespace)...)
	if pods != nil {
		all = append(all, selector(pods, policy.OfMember)...)
	}
	return policy.And(all...)
}

func (c *compiler) cluster() []policy.Expr {
	var out []policy.Expr
	for _, t := range c.ClusterTags {
		out = append(out, policy.NamespaceTagEquals(t.Scope, t.Tag))
	}
	return out
}
