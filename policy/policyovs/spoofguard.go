package policyovs

import (
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// ICMPv6 types of neighbour discovery (RFC 4861, section 4).
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	redirect              = 137

	// neighborDiscovery is how many types from routerSolicitation on are not
	// subject to rules, like ARP.
	neighborDiscovery = 4
)

// Priorities of the spoofguard stage.
const (
	prioOwnND   uint16 = 220
	prioOtherND uint16 = 210
	prioOwnIP   uint16 = 200
)

// spoofguard lets a port send with its own addresses only; all else is dropped
// by a flow of the port. A port without IPv6 address sends no IPv6.
func (c *compiler) spoofguard(p Port) {
	l := c.l
	add := func(prio uint16, m []ovs.FieldMatch, actions ...ovs.Action) {
		c.add(l.Spoofguard, prio, FeatureSpoofguard, p.ID, append(m, ovs.Reg(l.Source, p.Key)), actions...)
	}
	own, next := ovs.EthSrc(p.MAC), ovs.Goto(l.ARP)
	v6 := false
	for _, a := range p.IPs {
		add(prioOwnIP, match(own, ovs.IPSrc(host(a)), ovs.EthType(etherType(a))), next)
		if a.Is4() {
			add(prioOwnIP, match(own, ovs.EthType(ethARP), ovs.ARPSha(p.MAC), ovs.ARPSpa(host(a))), next)
		} else {
			v6 = true
		}
	}
	if v6 {
		addrs := []netip.Addr{linkLocal(p.MAC)}
		for _, a := range p.IPs {
			if a.Is6() && a != addrs[0] {
				addrs = append(addrs, a)
			}
		}
		c.discovery(p, addrs, func(prio uint16, m ...ovs.FieldMatch) { add(prio, append(m, own), next) })
		for _, t := range []uint8{routerAdvertisement, neighborSolicitation, neighborAdvertisement, redirect} {
			add(prioOtherND, match(ovs.EthType(ethIPv6), ovs.ICMPv6Type(t)))
		}
	}
	add(prioPort, nil)
}

// discovery lets a port ask for neighbours and answer for itself: no option
// may name another MAC, and no target another's address.
func (c *compiler) discovery(p Port, addrs []netip.Addr, allow func(uint16, ...ovs.FieldMatch)) {
	nd := func(t uint8, more ...ovs.FieldMatch) {
		allow(prioOwnND, append(more, ovs.EthType(ethIPv6), ovs.ICMPv6Type(t), ovs.ICMPv6Code(0))...)
	}
	unspecified := ovs.IPv6Src(host(netip.IPv6Unspecified()))
	for _, a := range addrs {
		src := ovs.IPv6Src(host(a))
		for _, mac := range []ovs.MAC{p.MAC, {}} { // zero: without the option
			nd(neighborSolicitation, src, ovs.NDSLL(mac))
			for _, target := range addrs {
				nd(neighborAdvertisement, src, ovs.NDTarget(target), ovs.NDTLL(mac))
			}
		}
		// Is the address free (RFC 4862, section 5.4.2)?
		nd(neighborSolicitation, unspecified, ovs.NDTarget(a), ovs.NDSLL(ovs.MAC{}))
	}
	for _, src := range []ovs.FieldMatch{ovs.IPv6Src(host(addrs[0])), unspecified} {
		nd(routerSolicitation, src)
		for _, t := range []uint8{131, 132, 143} { // multicast listener (RFC 2710, RFC 3810)
			nd(t, src)
		}
	}
}

func etherType(a netip.Addr) uint16 {
	if a.Is4() {
		return ethIPv4
	}
	return ethIPv6
}

// linkLocal is the address that a port gives itself (RFC 4291, appendix A).
func linkLocal(m ovs.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
