package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
)

// pair is an open host and, where it is needed, an open sandbox.
type pair struct {
	host, pod *conn
	hostNS    netns
	podNS     netns
}

// open opens the host's namespace and, if podPath is not empty, the sandbox's.
func (h Host) open(podPath string) (_ *pair, err error) {
	p := &pair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if h.NetNS != "" {
		if p.hostNS, err = openNetNS(h.NetNS); err != nil {
			return nil, fmt.Errorf("host namespace %s cannot be opened: %v", h.NetNS, err)
		}
	}
	if p.host, err = dial(p.hostNS); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if podPath == "" {
		return p, nil
	}
	if p.podNS, err = openNetNS(podPath); err != nil {
		return nil, err
	}
	switch same, err := p.podNS.same(p.hostNS); {
	case err != nil:
		return nil, err
	case same:
		return nil, fmt.Errorf("%w: %s is the host's own namespace", ErrNetNS, podPath)
	}
	if p.pod, err = dial(p.podNS); err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", podPath, err)
	}
	return p, nil
}

func (p *pair) close() {
	for _, c := range []*conn{p.host, p.pod} {
		if c != nil {
			c.close()
		}
	}
	p.hostNS.close()
	p.podNS.close()
}

// joined reports whether the two devices are the ends of one pair.
func (p *pair) joined(host, pod *device) (bool, error) {
	if host == nil || pod == nil || host.kind != "veth" || pod.kind != "veth" {
		return false, nil
	}
	if host.peer != pod.index || pod.peer != host.index || host.peerNS < 0 {
		return false, nil
	}
	// Indices are numbers of a namespace: the pair may still lead elsewhere.
	id, err := p.host.nsID(p.podNS)
	return err == nil && id == host.peerNS, err
}

// ends looks both ends up.
func (p *pair) ends(s Spec) (host, pod *device, err error) {
	if host, err = p.host.device(s.HostIfName); err != nil {
		return nil, nil, fmt.Errorf("host: %w", err)
	}
	if pod, err = p.pod.device(s.IfName); err != nil {
		return nil, nil, fmt.Errorf("sandbox: %w", err)
	}
	return host, pod, nil
}

// Attach is the package's Attach for this host.
func (h Host) Attach(ctx context.Context, s Spec) (Attached, error) {
	a, err := h.attach(ctx, s)
	if err != nil {
		return Attached{}, fmt.Errorf("link: attach %s as %s: %w", s.HostIfName, s.IfName, err)
	}
	return a, nil
}

func (h Host) attach(ctx context.Context, s Spec) (Attached, error) {
	if err := s.Validate(); err != nil {
		return Attached{}, err
	}
	p, err := h.open(s.NetNS)
	if err != nil {
		return Attached{}, err
	}
	defer p.close()
	created, err := p.ensurePair(s)
	if err != nil {
		return Attached{}, err
	}
	changed := created
	for _, step := range []func(Spec) (bool, error){p.ensureHost, p.ensurePod, p.ensureAddresses, p.ensureRoutes} {
		if err := ctx.Err(); err != nil {
			return Attached{}, err
		}
		c, err := step(s)
		if err != nil {
			return Attached{}, err
		}
		changed = changed || c
	}
	host, pod, err := p.ends(s)
	if err != nil {
		return Attached{}, err
	}
	if host == nil || pod == nil {
		return Attached{}, errors.New("the pair was removed meanwhile")
	}
	return Attached{
		MAC: pod.mac, HostMAC: host.mac, HostIndex: int(host.index), MTU: int(pod.mtu), Changed: changed,
	}, nil
}

// ensurePair makes the two ends exist, joined, and nothing else of their names.
func (p *pair) ensurePair(s Spec) (created bool, err error) {
	host, pod, err := p.ends(s)
	if err != nil {
		return false, err
	}
	if host != nil && host.kind != "veth" {
		return false, fmt.Errorf("%w: %s on the host is of kind %q", ErrForeign, s.HostIfName, host.kind)
	}
	if ok, err := p.joined(host, pod); ok || err != nil {
		return false, err
	}
	if pod != nil {
		return false, fmt.Errorf("%w: %s in the sandbox (kind %q) is not the other end of %s", ErrForeign, s.IfName, pod.kind, s.HostIfName)
	}
	if host != nil { // leads to another sandbox, or to another name in this one
		if err := p.host.rt.Link.Delete(host.index); err != nil {
			return false, fmt.Errorf("remove the old %s: %w", s.HostIfName, err)
		}
	}
	peer := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: s.IfName, Address: s.MAC, MTU: uint32(s.mtu()), NetNS: rtnetlink.NetNSForFD(uint32(p.podNS.fd())),
	}}
	// One message makes both ends, the sandbox's at its place: there is no
	// state between in which a half of the pair could be lost.
	err = p.host.rt.Link.New(&rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name: s.HostIfName, MTU: uint32(s.mtu()),
		Info: &rtnetlink.LinkInfo{Kind: "veth", Data: &driver.Veth{PeerInfo: peer}},
	}})
	if err != nil {
		return false, fmt.Errorf("create the veth pair: %w", err)
	}
	return true, nil
}

// ensureHost sets MTU, offload and state of the host end.
func (p *pair) ensureHost(s Spec) (changed bool, err error) {
	// The host end is a port of a bridge: the node itself must not speak on it.
	if err := sysctl(p.hostNS, "net/ipv6/conf/"+s.HostIfName+"/disable_ipv6", "1"); err != nil {
		return false, fmt.Errorf("host: %w", err)
	}
	return p.host.ensureUp(s.HostIfName, s.mtu(), nil)
}

// ensurePod sets MAC, MTU, offload and state of the sandbox end and of its
// loopback interface.
func (p *pair) ensurePod(s Spec) (changed bool, err error) {
	if slices.ContainsFunc(s.Addresses, isV6) {
		// Runtimes turn IPv6 off in new sandboxes.
		if err := sysctl(p.podNS, "net/ipv6/conf/"+s.IfName+"/disable_ipv6", "0"); err != nil {
			return false, fmt.Errorf("sandbox: %w", err)
		}
	}
	changed, err = p.pod.ensureUp(s.IfName, s.mtu(), s.MAC)
	if err != nil {
		return false, fmt.Errorf("sandbox: %w", err)
	}
	lo, err := p.pod.device("lo")
	if err != nil || lo == nil || lo.up() {
		return changed, err
	}
	if err := p.pod.set(lo.index, nil, true); err != nil {
		return false, fmt.Errorf("sandbox: set lo up: %w", err)
	}
	return true, nil
}

// ensureUp sets one end's MAC (if not nil) and MTU, transmit checksum offload
// off, and the interface up.
func (c *conn) ensureUp(name string, mtu int, mac []byte) (changed bool, err error) {
	d, err := c.device(name)
	if err != nil {
		return false, err
	}
	if d == nil {
		return false, fmt.Errorf("%s was removed meanwhile", name)
	}
	attrs := &rtnetlink.LinkAttributes{}
	if mac != nil && !bytes.Equal(mac, d.mac) {
		attrs.Address, changed = mac, true
	}
	if d.mtu != uint32(mtu) {
		attrs.MTU, changed = uint32(mtu), true
	}
	if on, err := txChecksum(c.ns, name); err != nil {
		return false, err
	} else if on {
		if err := txChecksumOff(c.ns, name); err != nil {
			return false, err
		}
		changed = true
	}
	if !changed && d.up() {
		return false, nil
	}
	if err := c.set(d.index, attrs, true); err != nil {
		return false, fmt.Errorf("set %s up: %w", name, err)
	}
	return true, nil
}

// Detach is the package's Detach for this host.
func (h Host) Detach(ctx context.Context, hostIfName string) error {
	err := func() error {
		if !validName(hostIfName) {
			return fmt.Errorf("%w: not an interface name", ErrInvalid)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := h.open("")
		if err != nil {
			return err
		}
		defer p.close()
		d, err := p.host.device(hostIfName)
		if err != nil || d == nil {
			return err
		}
		if d.kind != "veth" {
			return fmt.Errorf("%w: it is of kind %q", ErrForeign, d.kind)
		}
		err = p.host.rt.Link.Delete(d.index)
		if isGone(err) {
			return nil
		}
		return err
	}()
	if err != nil {
		return fmt.Errorf("link: detach %q: %w", hostIfName, err)
	}
	return nil
}

// List is the package's List for this host.
func (h Host) List(ctx context.Context, prefix string) ([]Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := h.open("")
	if err != nil {
		return nil, fmt.Errorf("link: list %s*: %w", prefix, err)
	}
	defer p.close()
	devs, err := p.host.devices()
	if err != nil {
		return nil, fmt.Errorf("link: list %s*: %w", prefix, err)
	}
	var out []Link
	for _, d := range devs {
		if d.kind == "veth" && strings.HasPrefix(d.name, prefix) {
			out = append(out, Link{Name: d.name, Index: int(d.index), Up: d.up(), MAC: d.mac, MTU: int(d.mtu)})
		}
	}
	slices.SortFunc(out, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
