package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Check is the package's Check for this host.
func (h Host) Check(ctx context.Context, s Spec) error {
	if err := h.check(ctx, s); err != nil {
		return fmt.Errorf("link: check %s as %s: %w", s.HostIfName, s.IfName, err)
	}
	return nil
}

func (h Host) check(ctx context.Context, s Spec) error {
	if err := errors.Join(ctx.Err(), s.Validate()); err != nil {
		return err
	}
	p, err := h.open(s.NetNS)
	if err != nil {
		return err
	}
	defer p.close()
	host, pod, err := p.ends(s)
	if err != nil {
		return err
	}
	var diffs []error
	diff := func(format string, args ...any) {
		diffs = append(diffs, fmt.Errorf("%w: "+format, append([]any{ErrMismatch}, args...)...))
	}
	if host == nil {
		diff("%s on the host is missing", s.HostIfName)
	}
	if pod == nil {
		diff("%s in the sandbox is missing", s.IfName)
	}
	if len(diffs) > 0 {
		return errors.Join(diffs...)
	}
	switch ok, err := p.joined(host, pod); {
	case err != nil:
		return err
	case !ok:
		diff("%s on the host and %s in the sandbox are not one veth pair", s.HostIfName, s.IfName)
	}
	for _, end := range []struct {
		where string
		c     *conn
		d     *device
	}{{"host", p.host, host}, {"sandbox", p.pod, pod}} {
		if !end.d.up() {
			diff("%s on the %s is down", end.d.name, end.where)
		}
		if end.d.mtu != uint32(s.mtu()) {
			diff("%s on the %s has MTU %d, not %d", end.d.name, end.where, end.d.mtu, s.mtu())
		}
		switch on, err := txChecksum(end.c.ns, end.d.name); {
		case err != nil:
			return err
		case on:
			diff("%s on the %s offloads transmit checksums", end.d.name, end.where)
		}
	}
	if s.MAC != nil && !bytes.Equal(s.MAC, pod.mac) {
		diff("%s has MAC address %s, not %s", s.IfName, pod.mac, s.MAC)
	}
	addrs, err := p.pod.addresses(pod.index)
	if err != nil {
		return err
	}
	for _, a := range s.Addresses {
		if !slices.Contains(addrs, a) {
			diff("%s lacks address %s", s.IfName, a)
		}
	}
	for _, a := range addrs {
		if !slices.Contains(s.Addresses, a) {
			diff("%s has the unexpected address %s", s.IfName, a)
		}
	}
	routes, err := p.pod.routes(pod.index)
	if err != nil {
		return err
	}
	for _, r := range s.routes() { // a chained plugin may have added others
		if !slices.Contains(routes, r) {
			diff("%s lacks the route to %s via %s", s.IfName, r.Dst, r.Via)
		}
	}
	switch lo, err := p.pod.device("lo"); {
	case err != nil:
		return err
	case lo == nil || !lo.up():
		diff("lo in the sandbox is down")
	}
	return errors.Join(diffs...)
}
