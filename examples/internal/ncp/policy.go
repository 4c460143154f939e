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

// networkPolicy returns the groups and sections of a NetworkPolicy.
func (c *Controller) networkPolicy(ref cluster.Ref) (desired, error) {
	np, ok := c.objs.NetworkPolicy(ref.Namespace, ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(np.UID)}
	groups, sections, err := netpol.Compile(np, netpol.Config{
		IDPrefix:    c.cfg.Cluster + "-np-",
		ClusterTags: []policy.Tag{{Scope: c.cfg.Scopes.Cluster, Tag: c.cfg.Cluster}},
		Namespace:   func(name string) string { return model.Namespace(c.cfg.Cluster, name) },
	})
	if err != nil {
		return d, waitError{&conditionError{"NetworkPolicyInvalid", err}}
	}
	tag := intent.Tag{Scope: c.cfg.Scopes.Project, Tag: ref.Namespace}
	for _, g := range groups {
		o, e := c.object(ref, model.KindGroup, g.ID, g.DisplayName, g, tag)
		d.objects, err = append(d.objects, o), errors.Join(err, e)
	}
	for _, s := range sections {
		o, e := c.object(ref, model.KindSection, s.ID, s.DisplayName, s, tag)
		d.objects, err = append(d.objects, o), errors.Join(err, e)
	}
	return d, err
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
