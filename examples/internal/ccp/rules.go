package ccp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// defaultAction is what becomes of a packet that no rule is about: between
// pods that no policy selects, everything passes (baseline allow_cluster).
const defaultAction = policy.Allow

// rules keeps a policy engine in step with the intent, touching what changed.
type rules struct {
	engine *policy.Engine
	// seen is what each member, group and section was made from.
	seen map[intent.Key]string
}

func newRules() *rules {
	return &rules{engine: policy.NewEngine(policy.Config{Default: defaultAction}), seen: map[intent.Key]string{}}
}

// update gives the engine what is new and takes what is gone. It returns the
// objects that were refused.
func (r *rules) update(objs []intent.Object, n network) []error {
	var errs []error
	gone := maps.Clone(r.seen)
	for _, o := range objs {
		version := fmt.Sprint(o.Revision)
		if o.ResourceType == model.KindSegmentPort {
			version += " " + fmt.Sprint(segmentTags(n, o.ID))
		}
		if !slices.Contains([]string{model.KindSegmentPort, model.KindClusterNode, model.KindGroup, model.KindSection}, o.ResourceType) {
			continue
		}
		delete(gone, o.Key())
		if r.seen[o.Key()] == version {
			continue
		}
		r.seen[o.Key()] = version
		if err := r.set(o, n); err != nil {
			errs = append(errs, err)
		}
	}
	for k := range gone {
		delete(r.seen, k)
		switch k.ResourceType {
		case model.KindSegmentPort, model.KindClusterNode:
			r.engine.DeleteMember(k.ID)
		case model.KindGroup:
			r.engine.DeleteGroup(k.ID)
		case model.KindSection:
			r.engine.DeleteSection(k.ID)
		}
	}
	return errs
}

func (r *rules) set(o intent.Object, n network) error {
	switch o.ResourceType {
	case model.KindSegmentPort:
		p, ok := n.ports[o.ID]
		if !ok || p.Attachment.Type == topology.AttachmentParent {
			return nil
		}
		return r.engine.SetMember(member(p, segmentTags(n, o.ID)))
	case model.KindClusterNode:
		node, err := model.Decode[model.ClusterNode](o)
		if err != nil {
			return err
		}
		m := policy.Member{ID: o.ID, Kind: netpol.NodeKind, IPs: node.Addresses}
		for _, t := range o.Tags {
			m.Tags = append(m.Tags, policy.Tag(t))
		}
		return r.engine.SetMember(m)
	case model.KindGroup:
		g, err := model.Decode[policy.Group](o)
		if err != nil {
			return err
		}
		return r.engine.SetGroup(g)
	default:
		s, err := model.Decode[policy.Section](o)
		if err != nil {
			return err
		}
		return r.engine.SetSection(s)
	}
}

// segmentTags are the tags of the segment that a port is on.
func segmentTags(n network, port string) []topology.Tag {
	return n.segments[n.ports[port].Segment].Tags
}

// Scopes of the tags that tell where a port belongs.
var scopes = model.DefaultScopes()

// member is a port as rules see it. Its namespace is that of its cluster.
func member(p model.Port, segment []topology.Tag) policy.Member {
	m := policy.Member{ID: p.ID, Kind: netpol.PodKind, IPs: p.IPs(), Ports: map[string]policy.NamedPort{}}
	var cluster, project string
	for _, t := range p.Tags {
		m.Tags = append(m.Tags, policy.Tag(t))
		switch t.Scope {
		case scopes.Cluster:
			cluster = t.Tag
		case scopes.Project:
			project = t.Tag
		}
	}
	if project != "" {
		m.Namespace = model.Namespace(cluster, project)
	}
	for _, t := range segment {
		m.NamespaceTags = append(m.NamespaceTags, policy.Tag(t))
	}
	for _, np := range p.NamedPorts {
		named := m.Ports[np.Name]
		switch np.Protocol {
		case 6:
			named.TCP = np.Port
		case 17:
			named.UDP = np.Port
		case 132:
			named.SCTP = np.Port
		}
		m.Ports[np.Name] = named
	}
	return m
}

// objects returns the rules that apply to a host's ports, and the sets that
// these name, as objects of the host's store.
func (r *rules) objects(ports []topology.SpanPort) ([]intent.Object, error) {
	var ids []string
	for _, p := range ports {
		ids = append(ids, p.ID)
	}
	program := r.engine.Program(ids)
	var out []intent.Object
	var errs []error
	put := func(kind, id string, v any) {
		o, err := model.Encode(kind, id, nil, v)
		out, errs = append(out, o), append(errs, err)
	}
	put(model.KindSpanPolicy, "default", model.SpanPolicy{Default: program.Default})
	for _, rule := range program.Rules {
		put(model.KindSpanRule, rule.ID, model.SpanRule{Rule: rule})
	}
	for _, id := range slices.Sorted(maps.Keys(program.Sets)) {
		put(model.KindSpanSet, id, model.SpanSet{Prefixes: program.Sets[id]})
	}
	return out, errors.Join(errs...)
}

// Program is the inverse of objects: what a host agent makes of its store.
// Without a SpanPolicy everything is dropped.
func Program(objs []intent.Object) (*policy.Program, error) {
	var list []policy.ProgramRule
	sets := map[string][]netip.Prefix{}
	def := policy.Drop
	var errs []error
	for _, o := range objs {
		switch o.ResourceType {
		case model.KindSpanPolicy:
			v, err := model.Decode[model.SpanPolicy](o)
			def, errs = v.Default, append(errs, err)
		case model.KindSpanRule:
			v, err := model.Decode[model.SpanRule](o)
			list, errs = append(list, v.Rule), append(errs, err)
		case model.KindSpanSet:
			v, err := model.Decode[model.SpanSet](o)
			sets[o.ID], errs = v.Prefixes, append(errs, err)
		}
	}
	return policy.NewProgram(def, list, sets), errors.Join(errs...)
}

// Engine returns a policy engine that holds the whole intent, to ask what
// should become of a packet.
func Engine(objs []intent.Object) (*policy.Engine, error) {
	r := newRules()
	n := readNetwork(objs)
	errs := append(n.errs, r.update(objs, n)...)
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return r.engine, errors.Join(errs...)
}
