package topology

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Span is what one host has to know: the parts of a [Model] that its switch
// is programmed from. Lists are sorted by id and free of what the host does
// not need, so that a host's span changes only when its forwarding does.
type Span struct {
	Host      string         `json:"host"`
	Role      Role           `json:"role"`
	Segments  []SpanSegment  `json:"segments,omitempty"`
	Ports     []SpanPort     `json:"ports,omitempty"`     // on this host
	Neighbors []SpanNeighbor `json:"neighbors,omitempty"` // on other hosts
	TEPs      []SpanTEP      `json:"teps,omitempty"`
	Edges     []SpanEdge     `json:"edges,omitempty"`     // one for each tier-0
	NATRules  []NATRule      `json:"nat_rules,omitempty"` // on an edge
}

// A SpanSegment is a segment that a host switches or routes to. Its ID is the
// segment's.
type SpanSegment struct {
	ID  string `json:"id"`
	VNI uint32 `json:"vni"`
	// Router is the transit VNI of the tier-0 that routes the segment; it
	// names the routing domain. 0 means not routed.
	Router    uint32         `json:"router,omitempty"`
	RouterMAC string         `json:"router_mac,omitempty"` // of the gateways
	Gateways  []netip.Prefix `json:"gateway_addresses,omitempty"`
}

// A SpanPort is a port on this host. Its ID is the port's.
type SpanPort struct {
	ID         string       `json:"id"`
	Segment    string       `json:"segment_path,omitempty"`
	VNI        uint32       `json:"vni,omitempty"` // 0 for a parent without a segment
	Attachment Attachment   `json:"attachment"`
	Iface      string       `json:"iface_id"` // of the VIF that carries the port
	MAC        string       `json:"mac_address,omitempty"`
	IPs        []netip.Addr `json:"ip_addresses,omitempty"`
}

// A SpanNeighbor is a port on another host. Its ID is the port's.
type SpanNeighbor struct {
	ID  string       `json:"id"`
	VNI uint32       `json:"vni"`
	MAC string       `json:"mac_address"`
	IPs []netip.Addr `json:"ip_addresses,omitempty"`
	TEP netip.Addr   `json:"tep"`
}

// A SpanTEP lists the tunnel end points that broadcasts of a segment go to.
// Its ID is the segment's.
type SpanTEP struct {
	ID   string       `json:"id"`
	VNI  uint32       `json:"vni"`
	TEPs []netip.Addr `json:"teps"`
}

// A SpanEdge is the way out of a tier-0. Its ID is the tier-0's.
type SpanEdge struct {
	ID               string     `json:"id"`
	TEP              netip.Addr `json:"tep"`
	TransitVNI       uint32     `json:"transit_vni"`
	RouterMAC        string     `json:"router_mac"`         // distributed router
	ServiceRouterMAC string     `json:"service_router_mac"` // the edge's end of the transit network
}

// Span returns what a host has to know. A host gets its own ports, every
// segment of the tier-0s that its ports are routed by, the ports of those
// segments on other hosts, and the tunnel end points for broadcasts in the
// segments it has ports in. An edge gets the segments of the tier-0s it is the
// active edge of, their ports and NAT rules. Invalid objects are left out, see
// [Model.Validate]. The result shares tags with the model.
func (m Model) Span(host string) (Span, error) {
	x := m.index()
	h, ok := x.hosts[host]
	if !ok {
		return Span{}, fmt.Errorf("topology: span of host %q: %w", host, ErrNotFound)
	}
	return x.span(h), nil
}

// Spans returns the span of every host, sorted by host id. It costs little
// more than the spans themselves: the model is prepared once.
func (m Model) Spans() []Span {
	x := m.index()
	var out []Span
	for _, h := range sorted(x.hosts) {
		out = append(out, x.span(h))
	}
	return out
}

func (x *index) span(h Host) Span {
	s := Span{Host: h.ID, Role: h.Role}
	local := map[string]bool{}  // segments with a port on this host
	tier0s := map[string]bool{} // tier-0s that route for this host
	for id, p := range sorted(x.ports) {
		if x.located[id] != h.ID || h.Role == RoleEdge {
			continue
		}
		s.Ports = append(s.Ports, x.spanPort(p))
		if p.Segment == "" {
			continue
		}
		local[p.Segment] = true
		if t, ok := x.tier0Of(x.segments[p.Segment].Tier1); ok {
			tier0s[t.ID] = true
		}
	}
	for id, t := range sorted(x.tier0s) {
		e, ok := x.edge(t)
		if h.Role == RoleEdge && ok && e.ID == h.ID {
			tier0s[id] = true
		}
		if ok && tier0s[id] {
			s.Edges = append(s.Edges, SpanEdge{ID: id, TEP: e.TEP, TransitVNI: t.TransitVNI,
				RouterMAC: t.routerMAC(), ServiceRouterMAC: t.serviceRouterMAC()})
		}
	}
	reach := map[string]bool{}
	for id, g := range sorted(x.segments) {
		t, routed := x.tier0Of(g.Tier1)
		if !local[id] && !(routed && tier0s[t.ID]) {
			continue
		}
		reach[id] = true
		e := SpanSegment{ID: id, VNI: g.VNI}
		if routed {
			e.Router, e.RouterMAC = t.TransitVNI, t.routerMAC()
			for _, n := range g.Subnets {
				e.Gateways = append(e.Gateways, n.Gateway)
			}
		}
		s.Segments = append(s.Segments, e)
	}
	x.addRemote(&s, reach, local)
	if h.Role == RoleEdge {
		for _, r := range sorted(x.rules) {
			if t, ok := x.tier0Of(r.Gateway); ok && tier0s[t.ID] {
				s.NATRules = append(s.NATRules, r)
			}
		}
	}
	return s
}

func (x *index) spanPort(p Port) SpanPort {
	iface := p.Attachment.ID
	if p.Attachment.Type == AttachmentChild {
		iface = x.ports[p.Attachment.Parent].Attachment.ID
	}
	return SpanPort{ID: p.ID, Segment: p.Segment, VNI: x.segments[p.Segment].VNI, Attachment: p.Attachment,
		Iface: iface, MAC: p.MAC(), IPs: p.IPs()}
}

// addRemote adds the ports of the segments in reach that are on other hosts,
// and the tunnel end points of the segments in local.
func (x *index) addRemote(s *Span, reach, local map[string]bool) {
	teps := map[string][]netip.Addr{}
	for id, p := range sorted(x.ports) {
		at, ok := x.hosts[x.located[id]]
		if !ok || at.ID == s.Host || at.Role != RoleHost || !reach[p.Segment] {
			continue
		}
		s.Neighbors = append(s.Neighbors, SpanNeighbor{ID: id, VNI: x.segments[p.Segment].VNI, MAC: p.MAC(), IPs: p.IPs(), TEP: at.TEP})
		if local[p.Segment] {
			teps[p.Segment] = append(teps[p.Segment], at.TEP)
		}
	}
	for id, list := range sorted(teps) {
		slices.SortFunc(list, netip.Addr.Compare)
		s.TEPs = append(s.TEPs, SpanTEP{ID: id, VNI: x.segments[id].VNI, TEPs: slices.Compact(list)})
	}
}
