package topologyovs

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// arpReply turns a request into the reply that says mac.
func arpReply(mac ovs.MAC) []ovs.Action {
	return []ovs.Action{
		ovs.Move(ovs.EthSrcField, ovs.EthDstField), ovs.SetField(ovs.EthSrc(mac)), ovs.SetField(ovs.ARPOp(2)),
		ovs.Move(ovs.ARPShaField, ovs.ARPThaField), ovs.SetField(ovs.ARPSha(mac)),
	}
}

// arpAnswer answers a request for one address.
func arpAnswer(mac ovs.MAC, ip netip.Addr) []ovs.Action {
	return append(arpReply(mac), ovs.Move(ovs.ARPSpaField, ovs.ARPTpaField), ovs.SetField(ovs.ARPSpa(host(ip))))
}

// echo matches a ping of ip; echoReply turns it into its answer.
func echo(ip netip.Addr) []ovs.FieldMatch {
	return match(ovs.EthType(ethIPv4), ovs.IPProto(1), ovs.ICMPType(8), ovs.ICMPCode(0), ovs.IPv4Dst(host(ip)))
}

func echoReply(mac ovs.MAC, ip netip.Addr) []ovs.Action {
	return []ovs.Action{
		ovs.Move(ovs.EthSrcField, ovs.EthDstField), ovs.SetField(ovs.EthSrc(mac)),
		ovs.Move(ovs.IPv4SrcField, ovs.IPv4DstField), ovs.SetField(ovs.IPv4Src(host(ip))),
		ovs.SetField(ovs.ICMPType(0)), ovs.SetField(ovs.IPTTL(64)),
	}
}

func (c *compiler) arp(in Input) {
	if c.edge {
		return // the downlink's packets enter at l2
	}
	t := c.l.ARP
	c.add(t, prioOther, "", match(ovs.EthType(ethARP)), ovs.Goto(c.l.L2))
	c.add(t, prioOther, "", match(ovs.EthType(ethIPv4)), ovs.Goto(c.l.EgressCT))
	c.add(t, prioOther, "", match(ovs.EthType(ethIPv6)), ovs.Goto(c.l.EgressCT))
	request := func(vni uint32, ip netip.Addr) []ovs.FieldMatch {
		return match(ovs.Metadata(uint64(vni)), ovs.EthType(ethARP), ovs.ARPOp(1), ovs.ARPTpa(host(ip)))
	}
	local := localVNIs(in)
	for _, s := range in.Segments {
		if s.Router == 0 || !local[s.VNI] {
			continue
		}
		mac := c.router[s.Router].mac
		for _, g := range s.Gateways {
			if !g.Addr().Is4() {
				continue
			}
			c.add(t, prioAnswer, s.ID, request(s.VNI, g.Addr()), append(arpAnswer(mac, g.Addr()), c.back()...)...)
			c.add(t, prioAnswer, s.ID, append(echo(g.Addr()), ovs.Metadata(uint64(s.VNI))), append(echoReply(mac, g.Addr()), c.back()...)...)
		}
	}
	for _, p := range c.all {
		for _, ip := range p.ips {
			if !ip.Is4() || !local[p.vni] {
				continue
			}
			c.add(t, prioAnswer, p.id, request(p.vni, ip), append(arpAnswer(p.mac, ip), c.back()...)...)
			if p.key != 0 { // asking for its own address, a port announces it
				c.add(t, prioOwn, p.id, append(request(p.vni, ip), ovs.Reg(c.l.Source, p.key)), ovs.Goto(c.l.L2))
			}
		}
	}
}

func localVNIs(in Input) map[uint32]bool {
	local := map[uint32]bool{}
	for _, p := range in.Ports {
		local[p.VNI] = true
	}
	return local
}

func (c *compiler) l2(in Input) {
	t := c.l.L2
	if c.edge {
		for _, vni := range slices.Sorted(maps.Keys(c.router)) {
			d := c.router[vni]
			if d.edge == nil {
				continue
			}
			c.add(t, prioLocal, d.id, match(ovs.Metadata(uint64(vni)), ovs.EthDst(d.mac)), ovs.Goto(c.l.L3))
			// Whatever the edge looks for on the transit network is behind the router.
			c.add(t, prioAnswer, d.id, match(ovs.Metadata(uint64(vni)), ovs.EthType(ethARP), ovs.ARPOp(1), ovs.EthDst(broadcast)),
				append(c.proxyReply(d.mac), ovs.OutputInPort())...)
		}
		return
	}
	c.add(t, prioTunnel, "", match(ovs.Reg(c.l.Source, 0)))
	local := localVNIs(in)
	for _, s := range in.Segments {
		if s.Router == 0 || !local[s.VNI] {
			continue
		}
		mac := c.router[s.Router].mac
		c.add(t, prioGuard, "", match(ovs.Reg(c.l.Source, 0), ovs.EthDst(mac)))
		c.add(t, prioLocal, s.ID, match(ovs.Metadata(uint64(s.VNI)), ovs.EthDst(mac)),
			ovs.SetField(ovs.Metadata(uint64(s.Router))), ovs.Goto(c.l.L3))
	}
	for _, p := range c.all {
		if !local[p.vni] {
			continue
		}
		prio := uint16(prioRemote)
		if p.key != 0 {
			prio = prioLocal
		}
		c.add(t, prio, p.id, match(ovs.Metadata(uint64(p.vni)), ovs.EthDst(p.mac)), c.to(p)...)
	}
	c.floods(in)
}

var broadcast = ovs.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// proxyReply answers any request with mac: the addresses change places.
func (c *compiler) proxyReply(mac ovs.MAC) []ovs.Action {
	scratch := ovs.RegField(c.l.Dest)
	return append(arpReply(mac), ovs.Move(ovs.ARPTpaField, scratch), ovs.Move(ovs.ARPSpaField, ovs.ARPTpaField), ovs.Move(scratch, ovs.ARPSpaField))
}

// floods copies group addressed packets: from a port to the other end points
// of the segment's tunnel, then to every other local port; from a tunnel to
// every local port.
func (c *compiler) floods(in Input) {
	ports := map[uint32][]Port{}
	for _, p := range in.Ports {
		ports[p.VNI] = append(ports[p.VNI], p)
	}
	teps := map[uint32][]netip.Addr{}
	for _, f := range in.Floods {
		teps[f.VNI] = append(teps[f.VNI], f.TEPs...)
	}
	for _, vni := range slices.Sorted(maps.Keys(ports)) {
		list := ports[vni]
		slices.SortFunc(list, func(a, b Port) int { return cmp.Compare(a.Key, b.Key) })
		to := slices.Clone(teps[vni])
		slices.SortFunc(to, netip.Addr.Compare)
		to = slices.Compact(to)
		group := func(key uint32) []ovs.FieldMatch {
			return match(ovs.Reg(c.l.Source, key), ovs.Metadata(uint64(vni)), ovs.Multicast())
		}
		c.add(c.l.L2, prioLocal, "", group(0), c.copies(list, 0)...)
		for _, p := range list {
			var out []ovs.Action
			for _, tep := range to {
				out = append(append(out, c.toTunnel(vni, tep)...), ovs.Resubmit(c.l.Output))
			}
			c.add(c.l.L2, prioLocal, p.ID, group(p.Key), append(out, c.copies(list, p.Key)...)...)
		}
	}
}

// copies sends a copy to every port but the one with key except.
func (c *compiler) copies(ports []Port, except uint32) []ovs.Action {
	var out []ovs.Action
	for _, p := range ports {
		if p.Key != except {
			out = append(append(out, c.toPort(p.Key)...), ovs.Resubmit(c.l.IngressCT))
		}
	}
	return out
}

// unrouted are destinations that a router does not forward (RFC 1112, 3927, 4291).
var unrouted = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("fe80::/10"),
}

func (c *compiler) l3() {
	t := c.l.L3
	for _, p := range unrouted {
		c.add(t, prioScope, "", ipDst(p))
	}
	for _, vni := range slices.Sorted(maps.Keys(c.router)) {
		d := c.router[vni]
		in := ovs.Metadata(uint64(vni))
		for _, s := range d.segments {
			for _, g := range s.Gateways {
				if g.Addr().Is4() && !c.edge {
					c.add(t, prioEcho, s.ID, append(echo(g.Addr()), in), append(echoReply(d.mac, g.Addr()), c.back()...)...)
				}
				c.add(t, prioPrefix+uint16(g.Bits()), s.ID, append(ipDst(g.Masked()), in),
					ovs.SetField(ovs.EthSrc(d.mac)), ovs.DecTTL(), ovs.SetField(ovs.Metadata(uint64(s.VNI))), ovs.Goto(c.l.Neighbor))
			}
		}
		if d.edge == nil || c.edge {
			continue
		}
		for _, family := range []uint16{ethIPv4, ethIPv6} {
			out := []ovs.Action{ovs.SetField(ovs.EthSrc(d.mac)), ovs.SetField(ovs.EthDst(d.edgeMAC)), ovs.DecTTL()}
			out = append(out, c.toTunnel(vni, d.edge.TEP)...)
			c.add(t, prioDefault, d.id, match(in, ovs.EthType(family)), append(out, ovs.Goto(c.l.Output))...)
		}
	}
}

// neighbors resolves the addresses of routed segments.
func (c *compiler) neighbors() {
	routed := map[uint32]bool{}
	for _, d := range c.router {
		for _, s := range d.segments {
			routed[s.VNI] = true
		}
	}
	for _, p := range c.all {
		for _, ip := range p.ips {
			if !routed[p.vni] || !ip.IsValid() {
				continue
			}
			c.add(c.l.Neighbor, prioOther, p.id, append(ipDst(host(ip)), ovs.Metadata(uint64(p.vni))),
				append([]ovs.Action{ovs.SetField(ovs.EthDst(p.mac))}, c.to(p)...)...)
		}
	}
}
