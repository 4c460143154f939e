package topology

import (
	"cmp"
	"net/netip"
)

// MACs that a tier-0 has unless it names others.
const (
	// DefaultRouterMAC is the address of every distributed gateway.
	DefaultRouterMAC = "02:74:6c:00:00:01"
	// DefaultServiceRouterMAC is that of the tier-0's service router on its edge.
	DefaultServiceRouterMAC = "02:74:6c:00:00:02"
)

// MaxVNI is the largest virtual network identifier (RFC 8926, section 3.4).
const MaxVNI = 1<<24 - 1

// A Tag is a label on an object: a scope and a value.
type Tag struct {
	Scope string `json:"scope"`
	Tag   string `json:"tag"`
}

// A Tier0 is the outermost router of a network. It is distributed over the
// hosts; what leaves the network goes over the transit network to an edge.
type Tier0 struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
	// TransitVNI is the network between hosts and edge, 1 to [MaxVNI]. It
	// also names the tier-0 in a switch, so that no two tier-0s share it.
	TransitVNI uint32 `json:"transit_vni"`
	// RouterMAC is the gateway of all segments, [DefaultRouterMAC] if empty.
	RouterMAC string `json:"router_mac,omitempty"`
	// ServiceRouterMAC is that of the edge on the transit network,
	// [DefaultServiceRouterMAC] if empty.
	ServiceRouterMAC string `json:"service_router_mac,omitempty"`
	// Edge is the id of the active edge host. If empty, it is the first host
	// by id with role edge.
	Edge string `json:"edge_path,omitempty"`
}

func (t Tier0) routerMAC() string        { return cmp.Or(t.RouterMAC, DefaultRouterMAC) }
func (t Tier0) serviceRouterMAC() string { return cmp.Or(t.ServiceRouterMAC, DefaultServiceRouterMAC) }

// A Tier1 is a router of one tenant, connected to a tier-0.
type Tier1 struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
	Tier0       string `json:"tier0_path,omitempty"` // id; empty means isolated
}

// A Subnet is a gateway address with the length of its subnet's prefix:
// 10.4.1.1/24.
type Subnet struct {
	Gateway netip.Prefix `json:"gateway_address"`
}

// A Segment is a layer 2 network.
type Segment struct {
	ID          string   `json:"id"`
	DisplayName string   `json:"display_name,omitempty"`
	Tags        []Tag    `json:"tags,omitempty"`
	Tier1       string   `json:"connectivity_path,omitempty"` // id of a tier-1 or tier-0; empty means not routed
	VNI         uint32   `json:"vni"`                         // 1 to MaxVNI
	Subnets     []Subnet `json:"subnets,omitempty"`
}

// A NATAction says what a [NATRule] does.
type NATAction string

// What a NAT rule may do.
const (
	SNAT   NATAction = "SNAT"    // translate the source of what leaves
	DNAT   NATAction = "DNAT"    // translate the destination of what arrives
	NoSNAT NATAction = "NO_SNAT" // leave the source as it is, before any SNAT
)

// A NATRule translates addresses on the edge of a tier-0.
type NATRule struct {
	ID          string       `json:"id"`
	DisplayName string       `json:"display_name,omitempty"`
	Tags        []Tag        `json:"tags,omitempty"`
	Gateway     string       `json:"gateway_path"` // id of a tier-0, or of a tier-1 of it
	Action      NATAction    `json:"action"`
	Source      netip.Prefix `json:"source_network,omitzero"`      // zero means any; required by SNAT and NO_SNAT
	Destination netip.Prefix `json:"destination_network,omitzero"` // zero means any; required by DNAT
	Translated  netip.Addr   `json:"translated_network,omitzero"`  // required by SNAT and DNAT
}

// An AttachmentType says what a port is attached to.
type AttachmentType string

// What a port may be attached to.
const (
	AttachmentParent      AttachmentType = "PARENT"      // a vNIC that carries VLANs of child ports
	AttachmentChild       AttachmentType = "CHILD"       // a VLAN behind a parent
	AttachmentIndependent AttachmentType = "INDEPENDENT" // a VIF of its own
)

// An Attachment is the place of a port.
type Attachment struct {
	Type   AttachmentType `json:"type"`
	ID     string         `json:"id,omitempty"`          // iface-id of the VIF, of parent and independent ports
	Parent string         `json:"context_id,omitempty"`  // id of the parent port, of child ports
	VLAN   uint16         `json:"traffic_tag,omitempty"` // 1 to 4094, of child ports
}

// An AddressBinding is an address that a port may use.
type AddressBinding struct {
	IP  netip.Addr `json:"ip_address,omitzero"`
	MAC string     `json:"mac_address,omitempty"`
}

// A Port is a port of a segment, in the API a SegmentPort. A parent port may
// be without a segment: then it has no traffic of its own.
type Port struct {
	ID          string           `json:"id"`
	DisplayName string           `json:"display_name,omitempty"`
	Tags        []Tag            `json:"tags,omitempty"`
	Segment     string           `json:"segment_path,omitempty"` // id
	Attachment  Attachment       `json:"attachment,omitzero"`
	Addresses   []AddressBinding `json:"address_bindings,omitempty"` // all with the same MAC
}

// MAC returns the port's MAC address, empty if it has none.
func (p Port) MAC() string {
	for _, a := range p.Addresses {
		if a.MAC != "" {
			return a.MAC
		}
	}
	return ""
}

// IPs returns the port's addresses in the order of its bindings.
func (p Port) IPs() []netip.Addr {
	var out []netip.Addr
	for _, a := range p.Addresses {
		if a.IP.IsValid() {
			out = append(out, a.IP)
		}
	}
	return out
}

// A Role says what a host does.
type Role string

// Roles of a host.
const (
	RoleHost Role = "host" // holds ports
	RoleEdge Role = "edge" // connects tier-0s to the outside
)

// A Host is a tunnel end point: a hypervisor or an edge.
type Host struct {
	ID          string     `json:"id"`
	DisplayName string     `json:"display_name,omitempty"`
	Tags        []Tag      `json:"tags,omitempty"`
	TEP         netip.Addr `json:"tep"`
	Role        Role       `json:"role"`
}
