package ovs

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseFlow reads a flow as [Flow.String] writes it, and as ovs-ofctl(8) takes
// and dumps it as far as this package has the fields and actions: with
// shorthands such as tcp and nw_dst, and with counters, which it passes over.
// A flow without a priority has 32768, without a table 0. Errors are
// [ErrInvalid] and name what is wrong.
func ParseFlow(text string) (Flow, error) {
	f, err := parseFlow(text)
	if err == nil {
		err = f.Validate()
	}
	if err != nil {
		return Flow{}, fmt.Errorf("ovs: parse flow %q: %w", text, err)
	}
	return f, nil
}

func parseFlow(text string) (Flow, error) {
	f := Flow{Priority: 32768}
	head, actions, ok := strings.Cut(text, "actions=")
	if !ok {
		return f, refuse("no actions=")
	}
	tokens, err := splitTop(strings.Join(strings.Fields(head), ","))
	if err != nil {
		return f, err
	}
	var c constraints
	seen := map[string]bool{"": true}
	for _, token := range tokens {
		if token == "" {
			continue
		}
		name, value, hasValue := strings.Cut(token, "=")
		if seen[name] {
			return f, refuse("%s given twice", name)
		}
		seen[name] = true
		switch name {
		case "cookie":
			f.Cookie, err = strconv.ParseUint(value, 0, 64)
		case "table":
			err = parseUint(value, &f.Table)
		case "priority":
			err = parseUint(value, &f.Priority)
		case "idle_timeout":
			err = parseUint(value, &f.IdleTimeout)
		case "hard_timeout":
			err = parseUint(value, &f.HardTimeout)
		case "importance":
			err = parseUint(value, &f.Importance)
		case "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts":
			f.Flags |= flagByName(name)
		case "duration", "n_packets", "n_bytes", "idle_age", "hard_age":
		default:
			err = c.add(name, value, hasValue)
		}
		if err != nil {
			return f, refuse("%s: %v", token, err)
		}
	}
	match, err := c.match()
	if err != nil {
		return f, err
	}
	f.Match = match
	if f.Actions, err = parseActions(strings.TrimSpace(actions)); err != nil {
		return f, err
	}
	f.Actions, err = matched(match).expand(f.Actions)
	return f, err
}

// parseUint reads a number in Go's syntax that fits T.
func parseUint[T uint8 | uint16 | uint32 | uint64](s string, to *T) error {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil || uint64(T(v)) != v {
		return fmt.Errorf("%q is not a number up to %d", s, ^T(0))
	}
	*to = T(v)
	return nil
}

// constraints gathers the fields of a match; what depends on other fields waits.
type constraints struct {
	list    []FieldMatch
	waiting [][2]string
}

// protocols are the shorthands for an EtherType and, not zero, a protocol.
var protocols = map[string][2]uint16{
	"ip": {etherIPv4, 0}, "ipv6": {etherIPv6, 0}, "arp": {etherARP, 0},
	"icmp": {etherIPv4, protoICMP}, "icmp6": {etherIPv6, protoICMPv6},
	"tcp": {etherIPv4, protoTCP}, "tcp6": {etherIPv6, protoTCP},
	"udp": {etherIPv4, protoUDP}, "udp6": {etherIPv6, protoUDP},
	"sctp": {etherIPv4, protoSCTP}, "sctp6": {etherIPv6, protoSCTP},
	"rarp": {etherRARP, 0}, "mpls": {etherMPLS, 0}, "mplsm": {etherMPLSM, 0},
}

func (c *constraints) add(name, value string, hasValue bool) error {
	if p, ok := protocols[name]; ok && !hasValue {
		if err := c.put(EthType(p[0])); err != nil || p[1] == 0 {
			return err
		}
		return c.put(IPProto(uint8(p[1])))
	}
	switch name {
	case "nw_src", "nw_dst", "tp_src", "tp_dst", "icmp_type", "icmp_code":
		c.waiting = append(c.waiting, [2]string{name, value})
		return nil
	case "dl_vlan":
		var id uint16
		if err := parseUint(value, &id); err != nil {
			return err
		}
		if id == 0xffff {
			return c.put(NoVLAN())
		}
		if id > 0xfff {
			return fmt.Errorf("%d is not a VLAN id", id)
		}
		return c.put(VLANVID(id))
	}
	f, ok := FieldByName(name)
	if !ok {
		return fmt.Errorf("no field %q", name)
	}
	m, err := parseConstraint(f, value)
	if err != nil {
		return err
	}
	return c.put(m)
}

func (c *constraints) put(m FieldMatch) error {
	for _, o := range c.list {
		if o.Field == m.Field {
			return fmt.Errorf("%s given twice", m.Field)
		}
	}
	c.list = append(c.list, m)
	return nil
}

// value returns the number that a field must have.
func (c *constraints) value(f Field) uint64 {
	for _, m := range c.list {
		if m.Field == f {
			return m.Uint()
		}
	}
	return 0
}

// match settles what depends on EtherType and protocol.
func (c *constraints) match() (Match, error) {
	for _, w := range c.waiting {
		name := c.meant(w[0])
		f, ok := FieldByName(name)
		if !ok {
			return Match{}, refuse("%s without a protocol that says which field it is", w[0])
		}
		m, err := parseConstraint(f, w[1])
		if err == nil {
			err = c.put(m)
		}
		if err != nil {
			return Match{}, refuse("%s: %v", w[0], err)
		}
	}
	return NewMatch(c.list...), nil
}

// meant returns the field that a name stands for under the EtherType and
// protocol of the match, "" if none.
func (c *constraints) meant(name string) string {
	ether := c.value(FieldEthType)
	if t := c.value(FieldPacketType); t>>16 == packetTypeEther {
		ether = t & 0xffff
	}
	kind, dir, _ := strings.Cut(name, "_")
	switch {
	case kind == "icmp" && c.value(FieldIPProto) == protoICMPv6:
		return "icmpv6_" + dir
	case kind == "icmp":
		return name
	case kind == "tp":
		return map[uint64]string{protoTCP: "tcp_", protoUDP: "udp_", protoSCTP: "sctp_"}[c.value(FieldIPProto)] + dir
	case ether == etherIPv4:
		return "ip_" + dir
	case ether == etherARP || ether == etherRARP:
		return map[string]string{"src": "arp_spa", "dst": "arp_tpa"}[dir]
	}
	return ""
}
