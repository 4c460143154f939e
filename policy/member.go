package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Tag is a label: a scope and a value.
type Tag struct {
	Scope string `json:"scope"`
	Tag   string `json:"tag"`
}

// A Member is a port that rules apply to and groups consist of: of a pod, a
// virtual machine or a bare metal server alike.
type Member struct {
	ID string `json:"id"`
	// Kind is what hangs on the port, such as "Pod" or "VM"; for conditions.
	Kind string `json:"kind,omitempty"`
	Tags []Tag  `json:"tags,omitempty"`
	// Namespace is where the member lives, empty if in none. It must tell
	// clusters apart where several are in one Engine.
	Namespace     string       `json:"namespace,omitempty"`
	NamespaceTags []Tag        `json:"namespace_tags,omitempty"`
	IPs           []netip.Addr `json:"ip_addresses,omitempty"`
	// Ports are the port names of a pod.
	Ports map[string]NamedPort `json:"named_ports,omitempty"`
}

// A NamedPort is what a port name means for each protocol; 0 is nothing.
type NamedPort struct {
	TCP  uint16 `json:"tcp,omitempty"`
	UDP  uint16 `json:"udp,omitempty"`
	SCTP uint16 `json:"sctp,omitempty"`
}

// Number returns the port number for a protocol, 0 if there is none.
func (n NamedPort) Number(p Protocol) uint16 {
	switch p {
	case TCP:
		return n.TCP
	case UDP:
		return n.UDP
	case SCTP:
		return n.SCTP
	}
	return 0
}

// Validate reports all faults of the member.
func (m Member) Validate() error { return m.validate() }

func (m *Member) validate() error {
	f := faults{kind: "member", id: m.ID}
	if m.ID == "" {
		f.add("id", "empty")
	}
	for i, a := range m.IPs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			f.add(fmt.Sprintf("ip_addresses[%d]", i), "%q is not an IPv4 or IPv6 address without zone", a)
		}
	}
	if _, ok := m.Ports[""]; ok {
		f.add("named_ports", "a name is empty")
	}
	return f.err()
}

// A member is a Member in an Engine: an id and addresses with a profile.
type member struct {
	id      string
	ips     []netip.Addr // sorted, distinct
	inline  [2]netip.Addr
	profile *profile
	pos     int32 // in profile.members
}

// address gives the member its addresses.
func (m *member) address(ips []netip.Addr) {
	m.ips = append(m.inline[:0], ips...)
	if len(m.ips) > 1 {
		slices.SortFunc(m.ips, netip.Addr.Compare)
		m.ips = slices.Compact(m.ips)
	}
}

// hasAddresses reports whether ips are those of the member.
func (m *member) hasAddresses(ips []netip.Addr) bool {
	if len(ips) != len(m.ips) {
		return false
	}
	for _, a := range ips {
		if !slices.Contains(m.ips, a) {
			return false
		}
	}
	return true
}

// object is the member as it was given, but for the order of lists.
func (m *member) object() Member {
	o := m.profile.Member
	o.ID, o.IPs = m.id, slices.Clone(m.ips)
	return o
}
