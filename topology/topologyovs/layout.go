package topologyovs

import (
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// A Layout says where in a bridge's pipeline the flows go. Packets enter the
// stage ARP (from ports) and L2 (from ports after egress rules, from tunnels,
// and from an edge's downlink) with Source and metadata set and Dest zero.
type Layout struct {
	// Tables of the stages compiled here.
	ARP, L2, L3, Neighbor uint8
	// Tables that packets are handed to: IP packets from a port, packets to
	// a local port, and packets that are to leave.
	EgressCT, IngressCT, Output uint8
	// Registers 0 to 15: key of the source port (0: from a tunnel), key of
	// the destination port (0: to a tunnel), and connection tracking zone.
	Source, Dest, Zone int
	// Owner and Feature of the cookies, see [ovs.MakeCookie]. The object is
	// the hash of the id of the port, segment or tier-0.
	Owner, Feature uint8
}

// Defaults of [DefaultLayout].
const (
	DefaultOwner   = 0x74
	DefaultFeature = 0x02
)

// DefaultLayout returns the layout of a host bridge.
func DefaultLayout() Layout {
	return Layout{
		ARP: 20, L2: 40, L3: 50, Neighbor: 60,
		EgressCT: 30, IngressCT: 70, Output: 80,
		Source: 0, Dest: 1, Zone: 5,
		Owner: DefaultOwner, Feature: DefaultFeature,
	}
}

// Stages returns the table numbers of the stages compiled here by name.
func (l Layout) Stages() map[string]uint8 {
	return map[string]uint8{"arp": l.ARP, "l2": l.L2, "l3": l.L3, "neighbor": l.Neighbor}
}

func (l Layout) validate() error {
	var errs []error
	for _, p := range []struct {
		from, to string
		a, b     uint8
	}{
		{"arp", "l2", l.ARP, l.L2}, {"arp", "egress-ct", l.ARP, l.EgressCT}, {"l2", "l3", l.L2, l.L3}, {"l3", "neighbor", l.L3, l.Neighbor},
		{"neighbor", "ingress-ct", l.Neighbor, l.IngressCT}, {"ingress-ct", "output", l.IngressCT, l.Output},
	} {
		if p.a >= p.b {
			errs = append(errs, fmt.Errorf("topologyovs: layout: table %d of %s is not before %d of %s: %w", p.a, p.from, p.b, p.to, ovs.ErrInvalid))
		}
	}
	for _, r := range []int{l.Source, l.Dest, l.Zone} {
		if r < 0 || r > 15 {
			errs = append(errs, fmt.Errorf("topologyovs: layout: register %d: want 0 to 15: %w", r, ovs.ErrInvalid))
		}
	}
	if l.Source == l.Dest || l.Dest == l.Zone || l.Source == l.Zone {
		errs = append(errs, fmt.Errorf("topologyovs: layout: registers %d, %d, %d are not different: %w", l.Source, l.Dest, l.Zone, ovs.ErrInvalid))
	}
	return errors.Join(errs...)
}
