package ncp

import (
	"errors"
	"net/netip"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// translation is how netpol makes objects whose ids begin with the cluster and a role.
func (c *Controller) translation(role string) netpol.Config {
	return netpol.Config{
		IDPrefix:    c.cfg.Cluster + "-" + role,
		ClusterTags: []policy.Tag{{Scope: c.cfg.Scopes.Cluster, Tag: c.cfg.Cluster}},
		Namespace:   func(name string) string { return model.Namespace(c.cfg.Cluster, name) },
		NodeScope:   c.cfg.Scopes.NodeName,
		NodeSources: c.cfg.NodeSources,
		Logged:      c.cfg.LogTraffic == LogAll,
		LogDrops:    c.cfg.LogDropped || c.cfg.LogTraffic == LogDeny,
		LogLabel:    c.cfg.Cluster,
	}
}

// rules returns groups and sections made for ref.
func (c *Controller) rules(ref cluster.Ref, groups []policy.Group, sections []policy.Section, tags ...intent.Tag) (objects []intent.Object, err error) {
	for _, g := range groups {
		o, e := c.object(ref, model.KindGroup, g.ID, g.DisplayName, g, tags...)
		objects, err = append(objects, o), errors.Join(err, e)
	}
	for _, s := range sections {
		o, e := c.object(ref, model.KindSection, s.ID, s.DisplayName, s, tags...)
		objects, err = append(objects, o), errors.Join(err, e)
	}
	return objects, err
}

// networkPolicy returns the groups and sections of a NetworkPolicy.
func (c *Controller) networkPolicy(ref cluster.Ref) (desired, error) {
	np, ok := c.objs.NetworkPolicy(ref.Namespace, ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(np.UID)}
	groups, sections, err := netpol.Compile(np, c.translation("np-"))
	if err != nil {
		return d, waitError{&conditionError{"NetworkPolicyInvalid", err}}
	}
	d.objects, err = c.rules(ref, groups, sections, intent.Tag{Scope: c.cfg.Scopes.Project, Tag: ref.Namespace})
	return d, err
}

// clusterNetworkPolicy returns the groups and the section of a
// ClusterNetworkPolicy. What of it is not supported is told, and fails closed.
func (c *Controller) clusterNetworkPolicy(ref cluster.Ref) (desired, error) {
	p, ok := c.objs.ClusterNetworkPolicy(ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(p.UID)}
	groups, sections, err := netpol.CompileCluster(&p.ClusterNetworkPolicy, c.translation("cnp-"))
	var unsupported *netpol.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		d.warning = &conditionError{"ClusterNetworkPolicyUnsupported", err}
	case err != nil:
		return d, waitError{&conditionError{"ClusterNetworkPolicyInvalid", err}}
	case p.Unknown != "":
		d.warning = condition("ClusterNetworkPolicyUnsupported", "%s: %s", ref, p.Unknown)
	}
	d.objects, err = c.rules(ref, groups, sections)
	return d, err
}

// node returns a node as a peer, and what lets it talk with its own pods.
func (c *Controller) node(ref cluster.Ref) (desired, error) {
	node, ok := c.objs.Node(ref.Name)
	if !ok {
		return desired{}, nil
	}
	cfg := c.translation("node-")
	m := netpol.NodeMember(node, cfg)
	o, err := c.object(ref, model.KindClusterNode, m.ID, node.Name, model.ClusterNode{Addresses: m.IPs}, c.labelTags("node "+node.Name, node.Labels)...)
	if err != nil {
		return desired{}, err
	}
	groups, sections, err := netpol.CompileNode(node, cfg)
	if err != nil {
		return desired{}, err
	}
	rules, err := c.rules(ref, groups, sections)
	return desired{objects: append([]intent.Object{o}, rules...)}, err
}

// baselineRef is the key of what the baseline is for the cluster as a whole.
var baselineRef = cluster.Ref{Kind: "Baseline", Name: "cluster"}

// baseline returns the rules of the baseline that are not a namespace's.
func (c *Controller) baseline() (desired, error) {
	groups, sections, err := netpol.CompileBaseline(c.cfg.Baseline, c.translation(""))
	if err != nil {
		return desired{}, err
	}
	objects, err := c.rules(baselineRef, groups, sections)
	return desired{objects: objects}, err
}

// namespaceBaseline returns the rules of the baseline for a namespace.
func (c *Controller) namespaceBaseline(ref cluster.Ref) ([]intent.Object, error) {
	groups, sections, err := netpol.CompileNamespaceBaseline(c.cfg.Baseline, ref.Name, c.translation(""))
	if err != nil {
		return nil, err
	}
	return c.rules(ref, groups, sections, intent.Tag{Scope: c.cfg.Scopes.Project, Tag: ref.Name})
}

// groupID names the group of a Group object.
func (c *Controller) groupID(name string) string { return c.cfg.Cluster + "-group-" + name }

// group returns an administrator's group. It has members of our cluster only.
func (c *Controller) group(ref cluster.Ref) (desired, error) {
	obj, ok := c.objs.Group(ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(obj.UID)}
	g := obj.Spec
	g.ID, g.DisplayName, g.Tags = c.groupID(ref.Name), ref.Name, nil
	if !g.Criteria.IsZero() {
		g.Criteria = policy.And(policy.TagEquals(c.cfg.Scopes.Cluster, c.cfg.Cluster), g.Criteria)
	}
	if err := g.Validate(); err != nil {
		return d, waitError{&conditionError{"GroupInvalid", err}}
	}
	o, err := c.object(ref, model.KindGroup, g.ID, g.DisplayName, g)
	d.objects = []intent.Object{o}
	return d, err
}

// securityPolicy returns an administrator's section, with the names of groups
// replaced by their ids.
func (c *Controller) securityPolicy(ref cluster.Ref) (desired, error) {
	obj, ok := c.objs.SecurityPolicy(ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(obj.UID)}
	s := obj.Spec
	s.ID, s.DisplayName, s.Tags = c.cfg.Cluster+"-policy-"+ref.Name, ref.Name, nil
	var missing []error
	ids := func(field string, names []string) []string {
		var out []string
		for _, n := range names {
			if n == policy.Any || isAddress(n) {
				out = append(out, n)
				continue
			}
			if _, ok := c.objs.Group(n); !ok {
				missing = append(missing, condition("GroupMissing", "SecurityPolicy %s: %s: no Group %q", ref.Name, field, n))
			}
			out = append(out, c.groupID(n))
		}
		return out
	}
	s.AppliedTo = ids("scope", s.AppliedTo)
	rules := make([]policy.Rule, len(s.Rules))
	for i, r := range s.Rules {
		r.Sources, r.Destinations = ids("rule "+r.ID+": sources", r.Sources), ids("rule "+r.ID+": destinations", r.Destinations)
		r.AppliedTo = ids("rule "+r.ID+": scope", r.AppliedTo)
		rules[i] = r
	}
	s.Rules = rules
	if len(missing) > 0 {
		return d, errors.Join(missing...) // tried again: a group may come
	}
	if err := s.Validate(); err != nil {
		return d, waitError{&conditionError{"SecurityPolicyInvalid", err}}
	}
	o, err := c.object(ref, model.KindSection, s.ID, s.DisplayName, s)
	d.objects = []intent.Object{o}
	return d, err
}

func isAddress(s string) bool {
	_, errA := netip.ParseAddr(s)
	_, errP := netip.ParsePrefix(s)
	return errA == nil || errP == nil
}
