package topology

import (
	"errors"
	"fmt"
	"net"
)

// faults collects what is wrong with one object.
type faults struct {
	subject string
	errs    []error
}

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		f.errs = append(f.errs, fmt.Errorf("%s: %s: %w", f.subject, fmt.Sprintf(format, args...), ErrInvalid))
	}
}

func (f *faults) mac(field, s string) {
	hw, err := net.ParseMAC(s)
	f.check(s == "" || err == nil && len(hw) == 6, "%s %q: want an EUI-48", field, s)
}

func (f *faults) err() error { return errors.Join(f.errs...) }

func (n Namespace) validate() error {
	f := faults{subject: "namespace"}
	f.check(n.Cluster != "", "cluster: missing")
	f.check(n.Name != "", "name: missing")
	f.check(n.UID != "", "uid: missing")
	f.check(n.Tier0 != "", "tier-0: missing")
	f.check(n.Bits >= 0 && n.Bits <= 126, "bits %d: want 1 to 126", n.Bits)
	return f.err()
}

func (t Tier0) validate() error {
	f := faults{subject: fmt.Sprintf("tier-0 %q", t.ID)}
	f.check(t.ID != "", "id: missing")
	f.check(t.TransitVNI > 0 && t.TransitVNI <= MaxVNI, "transit_vni %d: want 1 to %d", t.TransitVNI, MaxVNI)
	f.mac("router_mac", t.RouterMAC)
	f.mac("service_router_mac", t.ServiceRouterMAC)
	return f.err()
}

func (t Tier1) validate() error {
	f := faults{subject: fmt.Sprintf("tier-1 %q", t.ID)}
	f.check(t.ID != "", "id: missing")
	return f.err()
}

func (s Segment) validate() error {
	f := faults{subject: fmt.Sprintf("segment %q", s.ID)}
	f.check(s.ID != "", "id: missing")
	f.check(s.VNI > 0 && s.VNI <= MaxVNI, "vni %d: want 1 to %d", s.VNI, MaxVNI)
	for _, n := range s.Subnets {
		f.check(n.Gateway.IsValid(), "gateway_address: missing")
	}
	return f.err()
}

func (r NATRule) validate() error {
	f := faults{subject: fmt.Sprintf("nat rule %q", r.ID)}
	f.check(r.ID != "", "id: missing")
	f.check(r.Gateway != "", "gateway_path: missing")
	switch r.Action {
	case SNAT:
		f.check(r.Source.IsValid(), "source_network: SNAT needs one")
		f.check(r.Translated.IsValid(), "translated_network: SNAT needs one")
		f.check(!r.Source.IsValid() || r.Source.Addr().Is4() == r.Translated.Is4(), "source_network and translated_network of different families")
	case DNAT:
		f.check(r.Destination.IsValid(), "destination_network: DNAT needs one")
		f.check(r.Translated.IsValid(), "translated_network: DNAT needs one")
		f.check(!r.Destination.IsValid() || r.Destination.Addr().Is4() == r.Translated.Is4(), "destination_network and translated_network of different families")
	case NoSNAT:
		f.check(r.Source.IsValid(), "source_network: NO_SNAT needs one")
	default:
		f.check(false, "action %q: want SNAT, DNAT or NO_SNAT", r.Action)
	}
	f.check(!r.Source.IsValid() || !r.Destination.IsValid() || r.Source.Addr().Is4() == r.Destination.Addr().Is4(),
		"source_network and destination_network of different families")
	return f.err()
}

// Validate reports every fault of the rule by itself.
func (r NATRule) Validate() error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return nil
}

func (p Port) validate() error {
	f := faults{subject: fmt.Sprintf("port %q", p.ID)}
	f.check(p.ID != "", "id: missing")
	a := p.Attachment
	switch a.Type {
	case AttachmentParent:
		f.check(a.ID != "", "attachment.id: %s needs one", a.Type)
	case AttachmentIndependent:
		f.check(a.ID != "", "attachment.id: %s needs one", a.Type)
		f.check(p.Segment != "", "segment_path: missing")
	case AttachmentChild:
		f.check(a.Parent != "", "attachment.context_id: %s needs one", a.Type)
		f.check(a.VLAN >= 1 && a.VLAN <= 4094, "attachment.traffic_tag %d: want 1 to 4094", a.VLAN)
		f.check(p.Segment != "", "segment_path: missing")
	default:
		f.check(false, "attachment.type %q: want PARENT, CHILD or INDEPENDENT", a.Type)
	}
	mac := p.MAC()
	f.check(p.Segment == "" || mac != "", "mac_address: missing")
	for _, b := range p.Addresses {
		f.mac("mac_address", b.MAC)
		f.check(b.MAC == "" || b.MAC == mac, "mac_address %q and %q: want one", mac, b.MAC)
	}
	return f.err()
}

func (h Host) validate() error {
	f := faults{subject: fmt.Sprintf("host %q", h.ID)}
	f.check(h.ID != "", "id: missing")
	f.check(h.TEP.IsValid(), "tep: missing")
	f.check(h.Role == RoleHost || h.Role == RoleEdge, "role %q: want host or edge", h.Role)
	return f.err()
}
