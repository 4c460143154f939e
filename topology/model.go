package topology

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A Model is all objects of a network. The zero value is an empty one.
type Model struct {
	Tier0s   []Tier0
	Tier1s   []Tier1
	Segments []Segment
	Ports    []Port
	NATRules []NATRule
	Hosts    []Host
	// PortHost says on which host a parent or independent port is, by port id.
	// Child ports are where their parent is. [Locate] makes it of iface ids.
	PortHost map[string]string
}

// Locate finds the hosts of parent and independent ports. Ifaces are the iface
// ids (external_ids:iface-id) that each host holds, by host id. When two hosts
// hold an iface, it is at the first by id.
func Locate(ports []Port, ifaces map[string][]string) map[string]string {
	at := map[string]string{}
	for _, host := range slices.Backward(slices.Sorted(maps.Keys(ifaces))) {
		for _, id := range ifaces[host] {
			at[id] = host
		}
	}
	out := map[string]string{}
	for _, p := range ports {
		if host, ok := at[p.Attachment.ID]; ok && p.Attachment.Type != AttachmentChild {
			out[p.ID] = host
		}
	}
	return out
}

// Validate reports every fault: invalid objects, ids and VNIs that are used
// twice, and references to what is not there. [Model.Span] leaves such objects
// out and goes on with the others.
func (m Model) Validate() error {
	if errs := m.index().errs; len(errs) > 0 {
		return fmt.Errorf("topology: %w", errors.Join(errs...))
	}
	return nil
}

// index is the valid part of a model, sorted by id.
type index struct {
	tier0s   map[string]Tier0
	tier1s   map[string]Tier1
	segments map[string]Segment
	ports    map[string]Port
	hosts    map[string]Host
	rules    map[string]NATRule
	located  map[string]string // port to host, for child ports too
	errs     []error
}

func (x *index) fault(format string, args ...any) {
	x.errs = append(x.errs, fmt.Errorf(format+": %w", append(args, ErrInvalid)...))
}

// keep returns what is valid of list by id; of objects with the same id, the first.
func keep[T any](x *index, kind string, list []T, id func(T) string, validate func(T) error) map[string]T {
	out := map[string]T{}
	for _, o := range list {
		if err := validate(o); err != nil {
			x.errs = append(x.errs, err)
			continue
		}
		if _, ok := out[id(o)]; ok {
			x.fault("%s %q: twice", kind, id(o))
			continue
		}
		out[id(o)] = o
	}
	return out
}

func (m Model) index() *index {
	x := &index{located: map[string]string{}}
	x.tier0s = keep(x, "tier-0", m.Tier0s, func(o Tier0) string { return o.ID }, Tier0.validate)
	x.tier1s = keep(x, "tier-1", m.Tier1s, func(o Tier1) string { return o.ID }, Tier1.validate)
	x.segments = keep(x, "segment", m.Segments, func(o Segment) string { return o.ID }, Segment.validate)
	x.ports = keep(x, "port", m.Ports, func(o Port) string { return o.ID }, Port.validate)
	x.hosts = keep(x, "host", m.Hosts, func(o Host) string { return o.ID }, Host.validate)
	x.rules = keep(x, "nat rule", m.NATRules, func(o NATRule) string { return o.ID }, NATRule.validate)
	x.checkVNIs()
	x.checkReferences()
	x.locate(m.PortHost)
	return x
}

// checkVNIs drops tier-0s and segments whose VNI is already another's.
func (x *index) checkVNIs() {
	used := map[uint32]string{}
	for id, t := range sorted(x.tier0s) {
		if other, ok := used[t.TransitVNI]; ok {
			x.fault("tier-0 %q: transit_vni %d: also of %s", id, t.TransitVNI, other)
			delete(x.tier0s, id)
			continue
		}
		used[t.TransitVNI] = fmt.Sprintf("tier-0 %q", id)
	}
	for id, s := range sorted(x.segments) {
		if other, ok := used[s.VNI]; ok {
			x.fault("segment %q: vni %d: also of %s", id, s.VNI, other)
			delete(x.segments, id)
			continue
		}
		used[s.VNI] = fmt.Sprintf("segment %q", id)
	}
}

// checkReferences drops what refers to something that is not there.
func (x *index) checkReferences() {
	for id, t := range sorted(x.tier0s) {
		if h, ok := x.hosts[t.Edge]; t.Edge != "" && (!ok || h.Role != RoleEdge) {
			x.fault("tier-0 %q: edge_path %q: no such edge host", id, t.Edge)
		}
	}
	for id, t := range sorted(x.tier1s) {
		if _, ok := x.tier0s[t.Tier0]; t.Tier0 != "" && !ok {
			x.fault("tier-1 %q: tier0_path %q: no such tier-0", id, t.Tier0)
			delete(x.tier1s, id)
		}
	}
	for id, s := range sorted(x.segments) {
		_, tier1 := x.tier1s[s.Tier1]
		if _, tier0 := x.tier0s[s.Tier1]; s.Tier1 != "" && !tier1 && !tier0 {
			x.fault("segment %q: connectivity_path %q: no such tier-1 or tier-0", id, s.Tier1)
			delete(x.segments, id)
		}
	}
	for id, r := range sorted(x.rules) {
		if _, ok := x.tier0Of(r.Gateway); !ok {
			x.fault("nat rule %q: gateway_path %q: no such tier-0", id, r.Gateway)
			delete(x.rules, id)
		}
	}
	for id, p := range sorted(x.ports) {
		if _, ok := x.segments[p.Segment]; p.Segment != "" && !ok {
			x.fault("port %q: segment_path %q: no such segment", id, p.Segment)
			delete(x.ports, id)
		}
	}
	for id, p := range sorted(x.ports) {
		a := p.Attachment
		if parent, ok := x.ports[a.Parent]; a.Type == AttachmentChild && (!ok || parent.Attachment.Type != AttachmentParent) {
			x.fault("port %q: attachment.context_id %q: no such parent port", id, a.Parent)
			delete(x.ports, id)
		}
	}
}

func (x *index) locate(portHost map[string]string) {
	for id, p := range x.ports {
		at := id
		if p.Attachment.Type == AttachmentChild {
			at = p.Attachment.Parent
		}
		if host, ok := portHost[at]; ok {
			x.located[id] = host
		}
	}
}

// tier0Of returns the tier-0 of a router id, be it a tier-0 or a tier-1.
func (x *index) tier0Of(router string) (Tier0, bool) {
	if t, ok := x.tier1s[router]; ok {
		router = t.Tier0
	}
	t, ok := x.tier0s[router]
	return t, ok
}

// edge returns the active edge of a tier-0.
func (x *index) edge(t Tier0) (Host, bool) {
	if h, ok := x.hosts[t.Edge]; ok && h.Role == RoleEdge {
		return h, true
	}
	for _, h := range sorted(x.hosts) {
		if t.Edge == "" && h.Role == RoleEdge {
			return h, true
		}
	}
	return Host{}, false
}

// sorted ranges over a map in the order of its keys as they are now.
func sorted[K cmp.Ordered, V any](m map[K]V) func(yield func(K, V) bool) {
	keys := slices.Sorted(maps.Keys(m))
	return func(yield func(K, V) bool) {
		for _, k := range keys {
			if v, ok := m[k]; ok && !yield(k, v) {
				return
			}
		}
	}
}
