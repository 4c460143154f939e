package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// ErrInvalid is wrapped by every fault that validation finds.
var ErrInvalid = errors.New("invalid")

// Protocols a service may use, by IANA protocol number.
const (
	TCP  uint8 = 6
	UDP  uint8 = 17
	SCTP uint8 = 132
)

// ProtocolName returns "tcp", "udp" or "sctp", or the number in decimal.
func ProtocolName(p uint8) string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// Policy says which endpoints may take a service's traffic.
type Policy uint8

const (
	// Cluster spreads traffic over the endpoints of all nodes.
	Cluster Policy = iota
	// Local keeps traffic on the node it is on. Without a local endpoint it
	// is dropped. A Table without a node takes Local for Cluster.
	Local
)

// String returns "Cluster" or "Local".
func (p Policy) String() string {
	if p == Local {
		return "Local"
	}
	return "Cluster"
}

// ServicePort is one port of a service.
type ServicePort struct {
	// Name ties endpoints to the port. It may be empty when it is the only one.
	Name string `json:"name,omitempty"`
	// Protocol is TCP, UDP or SCTP.
	Protocol uint8 `json:"protocol"`
	// Port is the port on the virtual addresses.
	Port uint16 `json:"port"`
	// NodePort is the port on the node's own addresses; 0 is none.
	NodePort uint16 `json:"node_port,omitempty"`
}

// Service is a set of virtual addresses and ports. It is a plain value; its
// slices are copied where it is kept.
type Service struct {
	// ID names the service for good, as "namespace/name".
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// VIPs are the cluster IPs: reachable from pods only.
	VIPs []netip.Addr `json:"vips,omitempty"`
	// External are load-balancer addresses and external IPs.
	External []netip.Addr  `json:"external,omitempty"`
	Ports    []ServicePort `json:"ports,omitempty"`
	// Affinity is how long a client that comes again gets the endpoint it had,
	// counted from its last new connection; 0 is no affinity.
	Affinity time.Duration `json:"affinity,omitempty"`
	// InternalPolicy rules traffic to VIPs, ExternalPolicy traffic from outside
	// of the cluster to External and to node ports.
	InternalPolicy Policy `json:"internal_policy,omitempty"`
	ExternalPolicy Policy `json:"external_policy,omitempty"`
}

// Endpoint is one address and port behind one port of a service.
type Endpoint struct {
	// PortName is the ServicePort.Name that the endpoint serves.
	PortName string     `json:"port_name,omitempty"`
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port"`
	// Node is where the endpoint runs; Local policies compare it.
	Node string `json:"node,omitempty"`
	// Ready endpoints take traffic. Serving ones would, were they not
	// Terminating; they are the fallback when none is ready.
	Ready       bool `json:"ready"`
	Serving     bool `json:"serving"`
	Terminating bool `json:"terminating,omitempty"`
}

// Validate reports all faults of a service, joined; each wraps ErrInvalid.
func (s Service) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("lb: service %q: %s: %w", s.ID, fmt.Sprintf(format, args...), ErrInvalid))
	}
	if s.ID == "" {
		fault("id is empty")
	}
	addrs := map[netip.Addr]string{}
	check := func(field string, list []netip.Addr) {
		for i, a := range list {
			where := fmt.Sprintf("%s[%d]", field, i)
			if f := addrFault(a); f != "" {
				fault("%s: %s", where, f)
			}
			if first, ok := addrs[a]; ok {
				fault("%s: %s is also %s", where, a, first)
			}
			addrs[a] = where
		}
	}
	check("vips", s.VIPs)
	check("external", s.External)

	type protoPort struct {
		proto uint8
		port  uint16
	}
	names, ports, nodePorts := map[string]int{}, map[protoPort]int{}, map[protoPort]int{}
	for i, p := range s.Ports {
		if !slices.Contains([]uint8{TCP, UDP, SCTP}, p.Protocol) {
			fault("ports[%d].protocol: %d is none of tcp, udp, sctp", i, p.Protocol)
		}
		if p.Port == 0 {
			fault("ports[%d].port: 0", i)
		}
		if first, ok := names[p.Name]; ok {
			fault("ports[%d].name: %q is also ports[%d]", i, p.Name, first)
		}
		names[p.Name] = i
		key := protoPort{p.Protocol, p.Port}
		if first, ok := ports[key]; ok {
			fault("ports[%d]: %s port %d is also ports[%d]", i, ProtocolName(p.Protocol), p.Port, first)
		}
		ports[key] = i
		if p.NodePort == 0 {
			continue
		}
		key.port = p.NodePort
		if first, ok := nodePorts[key]; ok {
			fault("ports[%d].node_port: %s port %d is also ports[%d]", i, ProtocolName(p.Protocol), p.NodePort, first)
		}
		nodePorts[key] = i
	}
	if s.Affinity < 0 {
		fault("affinity: %v is negative", s.Affinity)
	}
	return errors.Join(faults...)
}

func (s Service) clone() Service {
	s.VIPs, s.External, s.Ports = slices.Clone(s.VIPs), slices.Clone(s.External), slices.Clone(s.Ports)
	return s
}

// addrFault says why a cannot be the address of a frontend or backend, or "".
func addrFault(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "no address"
	case a.Zone() != "":
		return a.String() + " has a zone"
	case a.Is4In6():
		return a.String() + " is IPv4 mapped into IPv6"
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback():
		return a.String() + " is not a unicast address of the network"
	}
	return ""
}
