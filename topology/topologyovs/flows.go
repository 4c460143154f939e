package topologyovs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/topology"
)

// EtherTypes that flows match.
const (
	ethIPv4 = 0x0800
	ethARP  = 0x0806
	ethIPv6 = 0x86dd
)

// Priorities. Flows of one table that can match the same packet differ.
const (
	prioMiss    = 0
	prioDefault = 50 // default route
	prioOther   = 100
	prioPrefix  = 100 // + length of the prefix, to 228
	prioRemote  = 100
	prioTunnel  = 150 // what came by a tunnel goes no further
	prioLocal   = 200
	prioAnswer  = 200
	prioOwn     = 210 // a port's announcement of its own address
	prioGuard   = 210
	prioScope   = 300 // addresses that are not routed
	prioEcho    = 400
)

// Flows compiles the stages arp, l2, l3 and neighbor, sorted by table,
// priority (highest first) and text. Every flow has the layout's cookie.
func Flows(in Input, l Layout) ([]ovs.Flow, error) {
	if err := errors.Join(l.validate(), in.validate()); err != nil {
		return nil, err
	}
	c := &compiler{l: l, edge: in.Role == topology.RoleEdge, have: map[ovs.Key]bool{}}
	c.places(in)
	c.domains(in)
	for _, table := range []uint8{l.ARP, l.L2, l.L3, l.Neighbor} {
		c.add(table, prioMiss, "", nil)
	}
	c.arp(in)
	c.l2(in)
	c.l3()
	c.neighbors()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return c.sorted(), nil
}

// compiler collects flows. A flow with the key of an earlier one is left out.
type compiler struct {
	l      Layout
	edge   bool
	all    []place
	router map[uint32]domain // by transit VNI
	flows  []ovs.Flow
	have   map[ovs.Key]bool
	errs   []error
}

// place is where a port is: a key here, or a tunnel end point.
type place struct {
	id  string
	vni uint32
	mac ovs.MAC
	ips []netip.Addr
	key uint32
	tep netip.Addr
}

// domain is a routing domain: a tier-0.
type domain struct {
	id       string
	mac      ovs.MAC
	edge     *topology.SpanEdge
	edgeMAC  ovs.MAC
	segments []topology.SpanSegment
}

func (c *compiler) mac(kind, id, s string) ovs.MAC {
	m, err := ovs.ParseMAC(s)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("topologyovs: %s %q: mac address: %w", kind, id, err))
	}
	return m
}

func (c *compiler) places(in Input) {
	for _, p := range in.Ports {
		c.all = append(c.all, place{id: p.ID, vni: p.VNI, mac: p.MAC, ips: p.IPs, key: p.Key})
	}
	for _, n := range in.Neighbors {
		c.all = append(c.all, place{id: n.ID, vni: n.VNI, mac: c.mac("neighbor", n.ID, n.MAC), ips: n.IPs, tep: n.TEP})
	}
	slices.SortStableFunc(c.all, func(a, b place) int {
		return cmp.Or(-compareBool(a.key != 0, b.key != 0), cmp.Compare(a.id, b.id))
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (c *compiler) domains(in Input) {
	c.router = map[uint32]domain{}
	segments := slices.Clone(in.Segments)
	slices.SortStableFunc(segments, func(a, b topology.SpanSegment) int { return cmp.Compare(a.ID, b.ID) })
	for _, s := range segments {
		if s.Router == 0 {
			continue
		}
		d, ok := c.router[s.Router]
		if !ok {
			d = domain{id: s.ID, mac: c.mac("segment", s.ID, cmp.Or(s.RouterMAC, topology.DefaultRouterMAC))}
		}
		d.segments = append(d.segments, s)
		c.router[s.Router] = d
	}
	for _, e := range in.Edges {
		d := c.router[e.TransitVNI]
		d.id, d.edge = e.ID, &e
		d.mac = c.mac("tier-0", e.ID, cmp.Or(e.RouterMAC, topology.DefaultRouterMAC))
		d.edgeMAC = c.mac("tier-0", e.ID, cmp.Or(e.ServiceRouterMAC, topology.DefaultServiceRouterMAC))
		c.router[e.TransitVNI] = d
	}
}

// add appends a flow for an object unless there is one with its key already.
func (c *compiler) add(table uint8, priority uint16, object string, match []ovs.FieldMatch, actions ...ovs.Action) {
	f := ovs.Flow{Table: table, Priority: priority, Match: ovs.NewMatch(match...), Actions: actions,
		Cookie: ovs.MakeCookie(c.l.Owner, c.l.Feature, ovs.ObjectHash(object))}
	if err := f.Validate(); err != nil {
		c.errs = append(c.errs, fmt.Errorf("topologyovs: object %q: %w", object, err))
		return
	}
	key := f.Key()
	if c.have[key] {
		return
	}
	c.have[key] = true
	c.flows = append(c.flows, f)
}

func (c *compiler) sorted() []ovs.Flow {
	slices.SortFunc(c.flows, func(a, b ovs.Flow) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Match.String(), b.Match.String()))
	})
	return c.flows
}

func match(m ...ovs.FieldMatch) []ovs.FieldMatch { return m }

// ipDst matches one destination, or a network of them.
func ipDst(p netip.Prefix) []ovs.FieldMatch {
	if p.Addr().Is4() {
		return match(ovs.EthType(ethIPv4), ovs.IPv4Dst(p))
	}
	return match(ovs.EthType(ethIPv6), ovs.IPv6Dst(p))
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// toPort sends a packet to a local port by way of its ingress rules.
func (c *compiler) toPort(key uint32) []ovs.Action {
	return []ovs.Action{ovs.SetField(ovs.Reg(c.l.Dest, key)), ovs.SetField(ovs.Reg(c.l.Zone, key))}
}

// toTunnel addresses a packet to a tunnel end point.
func (c *compiler) toTunnel(vni uint32, tep netip.Addr) []ovs.Action {
	return []ovs.Action{ovs.SetField(ovs.Reg(c.l.Dest, 0)), ovs.SetField(ovs.TunID(uint64(vni))), ovs.SetField(ovs.TunDst(tep))}
}

// to sends a packet to where a port is.
func (c *compiler) to(p place) []ovs.Action {
	if p.key != 0 {
		return append(c.toPort(p.key), ovs.Goto(c.l.IngressCT))
	}
	return append(c.toTunnel(p.vni, p.tep), ovs.Goto(c.l.Output))
}

// back returns a packet to the port it came from, without ingress rules: it
// is the answer to something that the port was allowed to ask.
func (c *compiler) back() []ovs.Action {
	return []ovs.Action{ovs.Move(ovs.RegField(c.l.Source), ovs.RegField(c.l.Dest)), ovs.Goto(c.l.Output)}
}
