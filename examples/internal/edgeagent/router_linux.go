package edgeagent

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our routes among those of the namespace (rtnetlink(7),
// rtm_protocol; the number is not one that iproute2 names).
const protocol = 84

// A router keeps the routes by one interface.
type router struct {
	dev   string
	index uint32
	rt    *rtnetlink.Conn
}

func newRouter(dev string) (*router, error) {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", dev, err)
	}
	rt, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return &router{dev: dev, index: uint32(ifi.Index), rt: rt}, nil
}

// up gives the interface its MAC, sets it up, and makes next, behind
// nextMAC, reachable by it.
func (r *router) up(mac net.HardwareAddr, next netip.Addr, nextMAC net.HardwareAddr) error {
	ifi, err := net.InterfaceByName(r.dev)
	if err != nil {
		return fmt.Errorf("interface %s: %w", r.dev, err)
	}
	r.index = uint32(ifi.Index)
	if !bytes.Equal(ifi.HardwareAddr, mac) || ifi.Flags&net.FlagUp == 0 {
		err := r.rt.Link.Set(&rtnetlink.LinkMessage{
			Index: r.index, Flags: unix.IFF_UP, Change: unix.IFF_UP, Attributes: &rtnetlink.LinkAttributes{Address: mac},
		})
		if err != nil {
			return fmt.Errorf("interface %s: set up with address %s: %w", r.dev, mac, err)
		}
	}
	if err := r.rt.Route.Replace(r.message(netip.PrefixFrom(next, 32), netip.Addr{})); err != nil {
		return fmt.Errorf("route to %s by %s: %w", next, r.dev, err)
	}
	req := unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_REPLACE | unix.NLM_F_ACK
	_, err = r.rt.Execute(&rtnetlink.NeighMessage{
		Family: unix.AF_INET, Index: r.index, State: unix.NUD_PERMANENT,
		Attributes: &rtnetlink.NeighAttributes{Address: net.IP(next.AsSlice()), LLAddress: nextMAC},
	}, unix.RTM_NEWNEIGH, netlink.HeaderFlags(req))
	if err != nil {
		return fmt.Errorf("neighbour %s on %s: %w", next, r.dev, err)
	}
	return nil
}

// message describes a route by the interface; without a next hop it is on the link.
func (r *router) message(dst netip.Prefix, via netip.Addr) *rtnetlink.RouteMessage {
	m := &rtnetlink.RouteMessage{
		Family: unix.AF_INET, DstLength: uint8(dst.Bits()), Table: unix.RT_TABLE_MAIN, Protocol: protocol,
		Scope: unix.RT_SCOPE_LINK, Type: unix.RTN_UNICAST,
		Attributes: rtnetlink.RouteAttributes{Dst: net.IP(dst.Addr().AsSlice()), OutIface: r.index, Table: unix.RT_TABLE_MAIN},
	}
	if via.IsValid() {
		m.Scope = unix.RT_SCOPE_UNIVERSE
		m.Attributes.Gateway = net.IP(via.AsSlice())
	}
	return m
}

// sync makes our routes by the interface exactly those to the subnets.
func (r *router) sync(subnets []netip.Prefix, next netip.Addr) (added, removed int, err error) {
	have, err := r.rt.Route.List()
	if err != nil {
		return 0, 0, fmt.Errorf("list routes: %w", err)
	}
	ours := map[netip.Prefix]rtnetlink.RouteMessage{}
	for _, m := range have {
		dst, ok := netip.AddrFromSlice(m.Attributes.Dst.To4())
		if ok && m.Family == unix.AF_INET && m.Protocol == protocol && m.Attributes.OutIface == r.index && m.Attributes.Gateway != nil {
			ours[netip.PrefixFrom(dst, int(m.DstLength))] = m
		}
	}
	for _, p := range subnets {
		if !p.Addr().Is4() {
			continue
		}
		if _, ok := ours[p]; ok {
			delete(ours, p)
			continue
		}
		if err := r.rt.Route.Replace(r.message(p, next)); err != nil {
			return added, removed, fmt.Errorf("route to %s: %w", p, err)
		}
		added++
	}
	for p := range ours {
		if err := r.rt.Route.Delete(r.message(p, next)); err != nil {
			return added, removed, fmt.Errorf("remove route to %s: %w", p, err)
		}
		removed++
	}
	return added, removed, nil
}
