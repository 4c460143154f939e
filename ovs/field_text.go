package ovs

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// CTStateBits are bits of ct_state (ovs-fields(7)).
type CTStateBits uint32

// States of a tracked packet.
const (
	CTNew CTStateBits = 1 << iota
	CTEst
	CTRel
	CTRpl
	CTInv
	CTTrk
	CTSNAT
	CTDNAT
)

// CTState matches packets whose state has all bits of set and none of clear.
func CTState(set, clear CTStateBits) FieldMatch {
	return masked(FieldCTState, uint64(set), uint64(set|clear))
}

// bitNames are the names of the bits of fields that are written by them, from
// the lowest on.
var bitNames = map[style][]string{
	styleCTState:  {"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"},
	styleTCPFlags: {"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"},
	styleTunFlags: {"oam"},
}

// fragments are the names of the values of ip_frag, with their masks.
var fragments = []struct {
	name        string
	value, mask uint64
}{{"no", 0, 3}, {"yes", 1, 1}, {"first", 1, 3}, {"later", 3, 3}, {"not_later", 0, 2}}

// packetTypeEther is the name space of packet_type whose types are EtherTypes
// (OpenFlow 1.5, section 7.2.3.11).
const packetTypeEther = 1

// named returns the value of a field that is written by names.
func (m FieldMatch) named() (string, bool) {
	s := fields[m.Field].style
	switch s {
	case styleFrag:
		for _, f := range fragments {
			if m.Uint() == f.value && number(m.Mask[:1]) == f.mask {
				return f.name, true
			}
		}
	case styleCTState, styleTCPFlags, styleTunFlags:
		mask := number(m.Mask[:m.Field.Bytes()])
		if m.IsExact() && s != styleTCPFlags || bits.Len64(mask) > len(bitNames[s]) {
			return "", false
		}
		var b strings.Builder
		for i, name := range bitNames[s] {
			switch bit := uint64(1) << i; {
			case m.Uint()&bit != 0:
				b.WriteString("+" + name)
			case mask&bit != 0:
				b.WriteString("-" + name)
			}
		}
		return b.String(), true
	}
	return "", false
}

// parseNamed reads what named writes; ok is false where it is no name.
func parseNamed(f Field, text string) (m FieldMatch, ok bool, err error) {
	switch s := fields[f].style; s {
	case styleFrag:
		for _, x := range fragments {
			if text == x.name {
				return masked(f, x.value, x.mask), true, nil
			}
		}
	case styleCTState, styleTCPFlags, styleTunFlags:
		if strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") {
			m, err := parseBits(f, bitNames[s], text)
			return m, true, err
		}
		if names := strings.Split(text, "|"); slices.Contains(bitNames[s], names[0]) {
			m, err := parseBits(f, bitNames[s], "+"+strings.Join(names, "+"))
			m = masked(f, m.Uint(), 1<<len(bitNames[s])-1)
			return m, true, err
		}
	}
	return m, false, nil
}

// parseBits reads "+trk-new".
func parseBits(f Field, names []string, text string) (FieldMatch, error) {
	var set, mask uint64
	for rest := text; rest != ""; {
		end := strings.IndexAny(rest[1:], "+-") + 1
		if end == 0 {
			end = len(rest)
		}
		i := slices.Index(names, rest[1:end])
		if i < 0 || rest[0] != '+' && rest[0] != '-' || mask>>i&1 != 0 {
			return FieldMatch{}, fmt.Errorf("%s is %s, each once with a + or -; not %q", f, strings.Join(names, ", "), text)
		}
		mask |= 1 << i
		if rest[0] == '+' {
			set |= 1 << i
		}
		rest = rest[end:]
	}
	return masked(f, set, mask), nil
}

// portNames are the reserved ports that have names in text.
var portNames = map[uint32]string{
	PortInPort: "IN_PORT", PortTable: "TABLE", PortNormal: "NORMAL", PortFlood: "FLOOD", PortAll: "ALL",
	PortController: "CONTROLLER", PortLocal: "LOCAL", PortAny: "ANY", portUnset: "UNSET",
}

func portText(port uint32) string {
	if name, ok := portNames[port]; ok {
		return name
	}
	return strconv.FormatUint(uint64(port), 10)
}

// parsePort reads a number or a reserved name; the 16-bit numbers of
// OpenFlow 1.0 stand for the same ports.
func parsePort(s string) (uint32, error) {
	for port, name := range portNames {
		if strings.EqualFold(s, name) {
			return port, nil
		}
	}
	var port uint32
	if err := parseUint(s, &port); err != nil {
		return 0, err
	}
	if port >= 0xfff8 && port <= 0xffff {
		port |= 0xffff0000
	}
	if port >= 0xff00 && port < portUnset && portNames[port] == "" {
		return 0, fmt.Errorf("%d is not a port", port)
	}
	return port, nil
}
