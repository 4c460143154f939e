package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

func isV6(p netip.Prefix) bool { return p.Addr().Is6() }

// isGone reports whether the kernel says that the object does not exist.
func isGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// sysctl writes a value inside a namespace; a key the kernel does not have
// (IPv6 compiled out) is skipped.
func sysctl(n netns, key, value string) error {
	return n.do(func() error {
		path := "/proc/sys/" + key
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(old)) == value {
			return nil
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s=%s: %w", key, value, err)
		}
		return nil
	})
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addresses returns the interface's addresses of global scope.
func (c *conn) addresses(index uint32) ([]netip.Prefix, error) {
	msgs, err := c.rt.Address.List()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []netip.Prefix
	for _, m := range msgs {
		if m.Index != index || m.Attributes == nil || m.Scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		ip := m.Attributes.Local // absent for IPv6
		if ip == nil {
			ip = m.Attributes.Address
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, netip.PrefixFrom(a.Unmap(), int(m.PrefixLength)))
		}
	}
	return out, nil
}

func addressMessage(index uint32, p netip.Prefix) *rtnetlink.AddressMessage {
	ip := p.Addr().AsSlice()
	m := &rtnetlink.AddressMessage{
		Family: family(p.Addr()), PrefixLength: uint8(p.Bits()), Index: index,
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip},
	}
	if isV6(p) {
		// The address was allotted to this port alone: it is usable at once.
		m.Attributes.Flags = unix.IFA_F_NODAD
	}
	return m
}

// ensureAddresses makes the sandbox end's addresses those of the Spec.
func (p *pair) ensureAddresses(s Spec) (changed bool, err error) {
	d, err := p.pod.device(s.IfName)
	if err != nil {
		return false, fmt.Errorf("sandbox: %w", err)
	}
	if d == nil {
		return false, fmt.Errorf("sandbox: %s was removed meanwhile", s.IfName)
	}
	have, err := p.pod.addresses(d.index)
	if err != nil {
		return false, fmt.Errorf("sandbox: %w", err)
	}
	for _, a := range have {
		if slices.Contains(s.Addresses, a) {
			continue
		}
		if err := p.pod.rt.Address.Delete(addressMessage(d.index, a)); err != nil && !isGone(err) {
			return false, fmt.Errorf("sandbox: remove address %s: %w", a, err)
		}
		changed = true
	}
	// Removing a primary IPv4 address takes its secondaries along.
	if changed {
		if have, err = p.pod.addresses(d.index); err != nil {
			return false, fmt.Errorf("sandbox: %w", err)
		}
	}
	for _, a := range s.Addresses {
		if slices.Contains(have, a) {
			continue
		}
		if err := p.pod.rt.Address.New(addressMessage(d.index, a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return false, fmt.Errorf("sandbox: add address %s: %w", a, err)
		}
		changed = true
	}
	return changed, nil
}

// routes returns the static routes of the main table that leave by the interface.
func (c *conn) routes(index uint32) ([]Route, error) {
	msgs, err := c.rt.Route.List()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Route
	for _, m := range msgs {
		if m.Attributes.OutIface != index || m.Table != unix.RT_TABLE_MAIN || m.Protocol != unix.RTPROT_STATIC {
			continue
		}
		var dst netip.Addr
		switch {
		case m.Attributes.Dst != nil:
			dst, _ = netip.AddrFromSlice(m.Attributes.Dst)
		case m.Family == unix.AF_INET:
			dst = netip.IPv4Unspecified()
		case m.Family == unix.AF_INET6:
			dst = netip.IPv6Unspecified()
		}
		via, _ := netip.AddrFromSlice(m.Attributes.Gateway)
		if dst.IsValid() {
			out = append(out, Route{Dst: netip.PrefixFrom(dst, int(m.DstLength)), Via: via})
		}
	}
	return out, nil
}

func routeMessage(index uint32, r Route) *rtnetlink.RouteMessage {
	m := &rtnetlink.RouteMessage{
		Family: family(r.Dst.Addr()), DstLength: uint8(r.Dst.Bits()),
		Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_UNIVERSE,
		Attributes: rtnetlink.RouteAttributes{OutIface: index},
	}
	if r.Dst.Bits() > 0 {
		m.Attributes.Dst = r.Dst.Addr().AsSlice()
	}
	if r.Via.IsValid() {
		m.Attributes.Gateway = r.Via.AsSlice()
		m.Flags = unix.RTNH_F_ONLINK
	} else if r.Dst.Addr().Is4() {
		m.Scope = unix.RT_SCOPE_LINK
	}
	return m
}

// ensureRoutes makes the static routes over the sandbox end those of the
// Spec. Routes of other origin, the kernel's and chained plugins', stay.
func (p *pair) ensureRoutes(s Spec) (changed bool, err error) {
	d, err := p.pod.device(s.IfName)
	if err != nil {
		return false, fmt.Errorf("sandbox: %w", err)
	}
	if d == nil {
		return false, fmt.Errorf("sandbox: %s was removed meanwhile", s.IfName)
	}
	have, err := p.pod.routes(d.index)
	if err != nil {
		return false, fmt.Errorf("sandbox: %w", err)
	}
	want := s.routes()
	for _, r := range have {
		if slices.Contains(want, r) {
			continue
		}
		if err := p.pod.rt.Route.Delete(routeMessage(d.index, r)); err != nil && !isGone(err) {
			return false, fmt.Errorf("sandbox: remove route to %s via %s: %w", r.Dst, r.Via, err)
		}
		changed = true
	}
	for _, r := range want {
		if slices.Contains(have, r) {
			continue
		}
		if err := p.pod.rt.Route.Add(routeMessage(d.index, r)); err != nil {
			return false, fmt.Errorf("sandbox: add route to %s via %s: %w", r.Dst, r.Via, err)
		}
		changed = true
	}
	return changed, nil
}
