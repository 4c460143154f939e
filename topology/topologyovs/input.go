package topologyovs

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/topology"
)

// An Input is what a switch forwards by: a span with the ports that are
// plugged in, and their keys.
type Input struct {
	Role      topology.Role // empty means RoleHost
	Segments  []topology.SpanSegment
	Ports     []Port
	Neighbors []topology.SpanNeighbor
	Floods    []topology.SpanTEP
	Edges     []topology.SpanEdge
}

// A Port is a local port of a segment.
type Port struct {
	ID  string
	Key uint32 // 1 to 65535, local to the host; also the port's connection tracking zone
	VNI uint32
	MAC ovs.MAC
	IPs []netip.Addr
}

// InputOf returns the input for a span. Keys are those of the ports that are
// plugged in, by port id; other ports are left out until they are, and so are
// ports without a segment.
func InputOf(span topology.Span, keys map[string]uint32) (Input, error) {
	in := Input{Role: span.Role, Segments: span.Segments, Neighbors: span.Neighbors, Floods: span.TEPs, Edges: span.Edges}
	var errs []error
	for _, p := range span.Ports {
		key, ok := keys[p.ID]
		if !ok || p.VNI == 0 {
			continue
		}
		mac, err := ovs.ParseMAC(p.MAC)
		if err != nil {
			errs = append(errs, fmt.Errorf("topologyovs: port %q: mac_address: %w", p.ID, err))
			continue
		}
		in.Ports = append(in.Ports, Port{ID: p.ID, Key: key, VNI: p.VNI, MAC: mac, IPs: p.IPs})
	}
	return in, errors.Join(errs...)
}

func (in Input) validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("topologyovs: "+format+": %w", append(args, ovs.ErrInvalid)...))
	}
	tep := func(kind, id string, a netip.Addr) {
		if !a.Is4() {
			fault("%s %q: tep %v: want an IPv4 address", kind, id, a)
		}
	}
	keys := map[uint32]string{}
	for _, p := range in.Ports {
		if p.Key == 0 || p.Key > 0xffff {
			fault("port %q: key %d: want 1 to 65535", p.ID, p.Key)
		}
		if other, ok := keys[p.Key]; ok {
			fault("port %q: key %d: also of port %q", p.ID, p.Key, other)
		}
		keys[p.Key] = p.ID
	}
	for _, n := range in.Neighbors {
		tep("neighbor", n.ID, n.TEP)
	}
	for _, f := range in.Floods {
		for _, a := range f.TEPs {
			tep("segment", f.ID, a)
		}
	}
	for _, e := range in.Edges {
		tep("tier-0", e.ID, e.TEP)
	}
	return errors.Join(errs...)
}
