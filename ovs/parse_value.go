package ovs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseConstraint reads "value", "value/mask", or the names of a field's bits.
func parseConstraint(f Field, text string) (FieldMatch, error) {
	if m, ok, err := parseNamed(f, text); ok {
		return m, err
	}
	value, mask, hasMask := strings.Cut(text, "/")
	v, err := parseValue(f, value)
	if err != nil {
		return FieldMatch{}, err
	}
	if !hasMask {
		return NewFieldMatch(f, v, nil), nil
	}
	var m []byte
	if bits, err := strconv.Atoi(mask); err == nil && (fields[f].style == styleIPv4 || fields[f].style == styleIPv6) {
		if bits < 0 || bits > f.Bits() {
			return FieldMatch{}, fmt.Errorf("/%d of a field of %d bits", bits, f.Bits())
		}
		m = make([]byte, f.Bytes())
		for i := range bits {
			m[i/8] |= 0x80 >> (i % 8)
		}
	} else if m, err = parseValue(f, mask); err != nil {
		return FieldMatch{}, err
	}
	return NewFieldMatch(f, v, m), nil
}

// parseValue reads a field's value in its own notation; it is Field.Bytes long.
func parseValue(f Field, s string) ([]byte, error) {
	switch fields[f].style {
	case styleMAC:
		m, err := ParseMAC(s)
		return m[:], err
	case styleIPv4, styleIPv6:
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		if a.Is4() != (f.Bytes() == 4) || a.Zone() != "" {
			return nil, fmt.Errorf("%q is not an address of %d bits", s, f.Bits())
		}
		return a.AsSlice(), nil
	case stylePort:
		if port, err := parsePort(s); err == nil {
			v := exact(FieldInPort, uint64(port)).Value
			return v[4-f.Bytes() : 4], nil
		}
	case stylePacketType:
		return parsePacketType(s)
	}
	v, err := parseNumber(s, int(fields[f].bits))
	return pad(v, f.Bytes()), err
}

// parsePacketType reads "(1,0x800)", a name space and a type in it.
func parsePacketType(s string) ([]byte, error) {
	var ns, typ uint16
	inside, ok := strings.CutPrefix(s, "(")
	inside, closed := strings.CutSuffix(inside, ")")
	a, b, both := strings.Cut(inside, ",")
	if !ok || !closed || !both || parseUint(a, &ns) != nil || parseUint(b, &typ) != nil {
		return nil, fmt.Errorf("%q is not of the form (namespace,type)", s)
	}
	return []byte{byte(ns >> 8), byte(ns), byte(typ >> 8), byte(typ)}, nil
}

// parseNumber reads a number of so many bits; it is in network order, as many
// bytes as the bits need.
func parseNumber(s string, bits int) ([]byte, error) {
	size := (bits + 7) / 8
	digits, isHex := strings.CutPrefix(s, "0x")
	var b []byte
	var err error
	if isHex && digits != "" {
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		if b, err = hex.DecodeString(digits); err != nil {
			return nil, fmt.Errorf("%q is not a number", s)
		}
	} else {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", s)
		}
		b = []byte{byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > size || len(b) == size && bits%8 != 0 && b[0]>>(bits%8) != 0 {
		return nil, fmt.Errorf("%s does not fit %d bits", s, bits)
	}
	v := make([]byte, size)
	copy(v[size-len(b):], b)
	return v, nil
}

// parseSubfield reads "NXM_NX_REG5[0..15]", "reg5[]", "reg5[3]" and "reg5".
func parseSubfield(s string) (Subfield, error) {
	name, span, ok := strings.Cut(s, "[")
	span, closed := strings.CutSuffix(span, "]")
	if ok != closed {
		return Subfield{}, fmt.Errorf("%q is not of the form field[first..last]", s)
	}
	f, ok := byName[name]
	if !ok {
		if f, ok = byNXMName[name]; !ok {
			f, ok = byNXMName[nxmAliases[name]]
		}
	}
	if !ok {
		return Subfield{}, errField(name)
	}
	if span == "" {
		return f.Whole(), nil
	}
	first, last, ranged := strings.Cut(span, "..")
	a, err := strconv.Atoi(first)
	b := a
	if err == nil && ranged {
		b, err = strconv.Atoi(last)
	}
	sub := Subfield{f, a, b - a + 1}
	if err != nil || !sub.valid() {
		return Subfield{}, fmt.Errorf("%q: not bits of a field of %d bits", s, f.Bits())
	}
	return sub, nil
}

// nxmAliases are the names that a field's other numbers have.
var nxmAliases = func() map[string]string {
	m := map[string]string{
		"OXM_OF_TUNNEL_ID": "NXM_NX_TUN_ID", "OXM_OF_IPV4_SRC": "NXM_OF_IP_SRC", "OXM_OF_IPV4_DST": "NXM_OF_IP_DST",
		"OXM_OF_IPV6_FLABEL": "NXM_NX_IPV6_LABEL", "OXM_OF_IP_ECN": "NXM_NX_IP_ECN", "NXOXM_ET_DP_HASH": "NXM_NX_DP_HASH",
		"OXM_OF_ICMPV4_TYPE": "NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_CODE": "NXM_OF_ICMP_CODE",
		"OXM_OF_IPV6_ND_TARGET": "NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_SLL": "NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_TLL": "NXM_NX_ND_TLL",
		"OXM_OF_TCP_FLAGS": "NXM_NX_TCP_FLAGS", "ONFOXM_ET_TCP_FLAGS": "NXM_NX_TCP_FLAGS", "OXM_OF_ACTSET_OUTPUT": "ONFOXM_ET_ACTSET_OUTPUT",
	}
	for _, name := range []string{"ETH_SRC", "ETH_DST", "ETH_TYPE", "IP_PROTO", "TCP_SRC", "TCP_DST", "UDP_SRC", "UDP_DST", "ARP_OP", "ARP_SPA", "ARP_TPA"} {
		m["OXM_OF_"+name] = "NXM_OF_" + name
	}
	for _, name := range []string{"IPV6_SRC", "IPV6_DST", "ICMPV6_TYPE", "ICMPV6_CODE", "ARP_SHA", "ARP_THA"} {
		m["OXM_OF_"+name] = "NXM_NX_" + name
	}
	return m
}()
