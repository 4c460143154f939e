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
func (m Member) Validate() error {
	f := faults{object: fmt.Sprintf("member %q", m.ID)}
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

func (m Member) clone() Member {
	m.Tags, m.NamespaceTags, m.IPs = slices.Clone(m.Tags), slices.Clone(m.NamespaceTags), slices.Clone(m.IPs)
	slices.SortFunc(m.IPs, netip.Addr.Compare)
	m.IPs = slices.Compact(m.IPs)
	ports := make(map[string]NamedPort, len(m.Ports))
	for name, p := range m.Ports {
		ports[name] = p
	}
	m.Ports = ports
	return m
}
