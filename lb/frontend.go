package lb

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Key identifies a frontend: what a packet's destination is compared with. It is comparable.
type Key struct {
	Addr  netip.Addr `json:"addr"`
	Proto uint8      `json:"proto"`
	Port  uint16     `json:"port"`
}

// String is "10.96.0.10:80/tcp".
func (k Key) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(k.Addr, k.Port), ProtocolName(k.Proto))
}

// Compare orders keys by address, protocol and port.
func (k Key) Compare(o Key) int {
	return cmp.Or(k.Addr.Compare(o.Addr), cmp.Compare(k.Proto, o.Proto), cmp.Compare(k.Port, o.Port))
}

// Backend is where a frontend's packets go.
type Backend struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
}

// String is "10.4.0.7:8080".
func (b Backend) String() string { return netip.AddrPortFrom(b.Addr, b.Port).String() }

// Compare orders backends by address and port.
func (b Backend) Compare(o Backend) int {
	return cmp.Or(b.Addr.Compare(o.Addr), cmp.Compare(b.Port, o.Port))
}

// Kind says what the address of a frontend is.
type Kind uint8

// The kinds of frontends.
const (
	ClusterIP  Kind = iota // a cluster IP: nothing but the service answers there
	ExternalIP             // a load-balancer address or external IP
	NodePort               // a node's own address
)

// String returns "ClusterIP", "ExternalIP" or "NodePort".
func (k Kind) String() string {
	switch k {
	case ExternalIP:
		return "ExternalIP"
	case NodePort:
		return "NodePort"
	}
	return "ClusterIP"
}

// Frontend is one virtual address, protocol and port and its backends: all a
// dataplane needs to know. Backends are of the address family of the Key,
// sorted, without duplicates, and shared: they must not be written to. A
// frontend without backends refuses its packets.
type Frontend struct {
	Key      Key       `json:"key"`
	Kind     Kind      `json:"kind"`
	Service  string    `json:"service"` // Service.ID
	PortName string    `json:"port_name,omitempty"`
	Backends []Backend `json:"backends,omitempty"`
	// Affinity is how long a client keeps its backend; 0 is no affinity.
	Affinity time.Duration `json:"affinity,omitempty"`
}

// String is "10.96.0.10:80/tcp default/web affinity=3h0m0s -> 10.4.0.7:8080 10.4.0.8:8080".
func (f Frontend) String() string {
	s := f.Key.String() + " " + f.Service
	if f.Affinity > 0 {
		s += " affinity=" + f.Affinity.String()
	}
	s += " ->"
	for _, b := range f.Backends {
		s += " " + b.String()
	}
	if len(f.Backends) == 0 {
		s += " none"
	}
	return s
}

// Equal reports whether two frontends are the same in every field.
func (f Frontend) Equal(o Frontend) bool {
	return f.Key == o.Key && f.Kind == o.Kind && f.Service == o.Service && f.PortName == o.PortName &&
		f.Affinity == o.Affinity && slices.Equal(f.Backends, o.Backends)
}

// selectBackends picks the backends of one port for addresses of one family:
// those ready, or, when there is none, those that serve while terminating.
// node "" takes endpoints of every node.
func selectBackends(endpoints []Endpoint, portName, node string, v4 bool) []Backend {
	var ready, fallback []Backend
	for _, e := range endpoints {
		if e.PortName != portName || e.Addr.Is4() != v4 || node != "" && e.Node != node {
			continue
		}
		b := Backend{Addr: e.Addr, Port: e.Port}
		switch {
		case e.Ready:
			ready = append(ready, b)
		case e.Serving && e.Terminating:
			fallback = append(fallback, b)
		}
	}
	if len(ready) == 0 {
		ready = fallback
	}
	slices.SortFunc(ready, Backend.Compare)
	return slices.Compact(ready)
}

// frontends lists the frontends of one service, in no special order.
func frontends(cfg Config, s Service, endpoints []Endpoint) []Frontend {
	internal, external := "", ""
	if s.InternalPolicy == Local {
		internal = cfg.Node
	}
	if s.ExternalPolicy == Local && cfg.Outside {
		external = cfg.Node
	}
	var out []Frontend
	add := func(kind Kind, addrs []netip.Addr, p ServicePort, port uint16, node string) {
		for _, a := range addrs {
			out = append(out, Frontend{
				Key:  Key{Addr: a, Proto: p.Protocol, Port: port},
				Kind: kind, Service: s.ID, PortName: p.Name, Affinity: s.Affinity,
				Backends: selectBackends(endpoints, p.Name, node, a.Is4()),
			})
		}
	}
	for _, p := range s.Ports {
		if !cfg.Outside {
			add(ClusterIP, s.VIPs, p, p.Port, internal)
		}
		add(ExternalIP, s.External, p, p.Port, external)
		if p.NodePort != 0 {
			add(NodePort, cfg.NodeAddrs, p, p.NodePort, external)
		}
	}
	return out
}
