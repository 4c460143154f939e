package ovs

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A FieldMatch is a field with the value it must have in the bits of Mask.
// Value and Mask are in network order in the first Field.Bytes bytes; Value
// has no bit outside Mask. FieldMatches are comparable.
//
// Of a tun_metadata, Value and Mask are the last 16 bytes; what is before
// them is behind [FieldMatch.Bytes].
type FieldMatch struct {
	Field Field
	Value [16]byte
	Mask  [16]byte
	// wide are the bytes before the last 16 of a tun_metadata, of the value and
	// then of the mask; "" when they are all zero.
	wide string
}

// wideLen is how many bytes of a tun_metadata are before the last 16.
const wideLen = maxTunMetadata - 16

// wideExact is wide of a short value that is matched exactly.
var wideExact = strings.Repeat("\x00", wideLen) + strings.Repeat("\xff", wideLen)

// NewFieldMatch returns a match of value under mask, each Field.Bytes long in
// network order; a nil mask is exact. Bits outside the mask or beyond the
// field's width are dropped. Of a tun_metadata the value may be shorter.
func NewFieldMatch(f Field, value, mask []byte) FieldMatch {
	if f.isTunMetadata() {
		return newTunMetadata(f, value, mask)
	}
	m := FieldMatch{Field: f, Mask: fields[f].full}
	for i := range f.Bytes() {
		if mask != nil {
			m.Mask[i] &= mask[i]
		}
		m.Value[i] = value[i] & m.Mask[i]
	}
	return m
}

func newTunMetadata(f Field, value, mask []byte) FieldMatch {
	var v, k [maxTunMetadata]byte
	value = value[max(0, len(value)-maxTunMetadata):]
	copy(v[maxTunMetadata-len(value):], value)
	if mask == nil {
		for i := range k {
			k[i] = 0xff
		}
	} else {
		mask = mask[max(0, len(mask)-maxTunMetadata):]
		copy(k[maxTunMetadata-len(mask):], mask)
	}
	for i := range v {
		v[i] &= k[i]
	}
	m := FieldMatch{Field: f, Value: [16]byte(v[wideLen:]), Mask: [16]byte(k[wideLen:])}
	switch none := [wideLen]byte{}; {
	case [wideLen]byte(k[:wideLen]) == none:
	case mask == nil && [wideLen]byte(v[:wideLen]) == none:
		m.wide = wideExact
	default:
		m.wide = string(slices.Concat(v[:wideLen], k[:wideLen]))
	}
	return m
}

// Bytes returns value and mask in network order, each Field.Bytes long.
func (m FieldMatch) Bytes() (value, mask []byte) {
	if !m.Field.isTunMetadata() {
		n := m.Field.Bytes()
		return m.Value[:n], m.Mask[:n]
	}
	value, mask = make([]byte, maxTunMetadata), make([]byte, maxTunMetadata)
	if m.wide != "" {
		copy(value, m.wide[:wideLen])
		copy(mask, m.wide[wideLen:])
	}
	copy(value[wideLen:], m.Value[:])
	copy(mask[wideLen:], m.Mask[:])
	return value, mask
}

// IsExact reports whether every bit of the field counts.
func (m FieldMatch) IsExact() bool { return m.exact() }

func (m *FieldMatch) exact() bool {
	if m.Mask != fields[m.Field].full {
		return false
	}
	return !m.Field.isTunMetadata() || m.wide == wideExact || m.wide != "" && m.wide[wideLen:] == wideExact[wideLen:]
}

// isAny reports whether no bit counts.
func (m *FieldMatch) isAny() bool { return m.Mask == [16]byte{} && m.wide == "" }

// Uint returns the low 64 bits of the value as a number.
func (m FieldMatch) Uint() uint64 { return number(m.Value[:min(m.Field.Bytes(), 16)]) }

func number(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// String returns "tcp_dst=80", or "ip_dst=10.0.0.0/8".
func (m FieldMatch) String() string {
	if m.Field >= numFields {
		return m.Field.String()
	}
	if s, ok := m.named(); ok {
		return m.Field.String() + "=" + s
	}
	value, mask := m.Bytes()
	s := m.Field.String() + "=" + valueText(m.Field, value)
	if !m.IsExact() {
		s += "/" + maskText(m.Field, mask)
	}
	return s
}

func valueText(f Field, v []byte) string {
	switch fields[f].style {
	case styleMAC:
		return MAC(v).String()
	case styleIPv4:
		return netip.AddrFrom4([4]byte(v)).String()
	case styleIPv6:
		return netip.AddrFrom16([16]byte(v)).String()
	case stylePort:
		return portText(uint32(number(v)))
	case styleDecimal:
		return fmt.Sprint(number(v))
	case stylePacketType:
		return fmt.Sprintf("(%d,%#x)", number(v[:2]), number(v[2:]))
	}
	if v = bytes.TrimLeft(v, "\x00"); len(v) == 0 {
		return "0x0"
	}
	return "0x" + strings.TrimPrefix(fmt.Sprintf("%x", v), "0")
}

func maskText(f Field, mask []byte) string {
	switch fields[f].style {
	case styleIPv4, styleIPv6:
		if bits, ok := prefixLength(mask); ok {
			return fmt.Sprint(bits)
		}
	case styleDecimal:
		return fmt.Sprintf("%#x", number(mask))
	}
	return valueText(f, mask)
}

// prefixLength counts leading ones, if nothing but zeros follows.
func prefixLength(mask []byte) (int, bool) {
	n := 0
	for n < len(mask)*8 && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for i := n; i < len(mask)*8; i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return 0, false
		}
	}
	return n, true
}
