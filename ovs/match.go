package ovs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A FieldMatch is a field with the value it must have in the bits of Mask.
// Value and Mask are in network order in the first Field.Bytes bytes; Value
// has no bit outside Mask. FieldMatches are comparable.
type FieldMatch struct {
	Field Field
	Value [16]byte
	Mask  [16]byte
}

// NewFieldMatch returns a match of value under mask, each Field.Bytes long in
// network order; a nil mask is exact. Bits outside the mask or beyond the
// field's width are dropped.
func NewFieldMatch(f Field, value, mask []byte) FieldMatch {
	m := FieldMatch{Field: f, Mask: fullMask(f)}
	for i := range f.Bytes() {
		if mask != nil {
			m.Mask[i] &= mask[i]
		}
		m.Value[i] = value[i] & m.Mask[i]
	}
	return m
}

// IsExact reports whether every bit of the field counts.
func (m FieldMatch) IsExact() bool { return m.Mask == fullMask(m.Field) }

func fullMask(f Field) [16]byte {
	var mask [16]byte
	for i := range f.Bytes() {
		mask[i] = 0xff
	}
	if r := f.Bits() % 8; r != 0 { // the first byte is not full
		mask[0] = 1<<r - 1
	}
	return mask
}

// Uint returns the low 64 bits of the value as a number.
func (m FieldMatch) Uint() uint64 { return number(m.Value[:m.Field.Bytes()]) }

func number(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// A Match is what a packet must look like: one constraint for each field. The
// zero value matches everything. It must not be changed once made.
type Match struct {
	fields []FieldMatch // by Field, one each
}

// NewMatch returns the match of all constraints. A later constraint on a field
// replaces an earlier one; one that has no bits is dropped. What a field
// requires is added where there is only one possibility: nd_target adds
// nw_proto=58 and eth_type=0x86dd; but of tcp_dst, which adds nw_proto=6, it is
// for the caller to say with [EthType] or an address if IPv4 or IPv6.
func NewMatch(constraints ...FieldMatch) Match {
	list := make([]FieldMatch, 0, len(constraints)+2)
	for _, c := range constraints {
		list = put(list, c, true)
	}
	for i := 0; i < len(list); i++ {
		info, n := &fields[list[i].Field], len(list)
		if len(info.needs) == 1 {
			list = put(list, exact(info.needs[0].field, uint64(info.needs[0].value)), false)
		}
		if info.ether != 0 {
			list = put(list, EthType(info.ether), false)
		}
		if len(list) > n {
			i = -1 // a new constraint may have needs of its own
		}
	}
	// A field that does not exist has no bits either; it stays for Validate to refuse.
	return Match{slices.DeleteFunc(list, func(m FieldMatch) bool { return m.Mask == [16]byte{} && m.Field < numFields })}
}

// put inserts c in order; it replaces a constraint on the same field if told to.
func put(list []FieldMatch, c FieldMatch, replace bool) []FieldMatch {
	i, found := slices.BinarySearchFunc(list, c.Field, func(m FieldMatch, f Field) int { return int(m.Field) - int(f) })
	if !found {
		return slices.Insert(list, i, c)
	}
	if replace {
		list[i] = c
	}
	return list
}

// Fields returns the constraints in the order of their fields. The slice must
// not be changed.
func (m Match) Fields() []FieldMatch { return m.fields }

// Field returns the constraint on a field.
func (m Match) Field(f Field) (FieldMatch, bool) {
	for _, c := range m.fields {
		if c.Field == f {
			return c, true
		}
	}
	return FieldMatch{}, false
}

// With returns the match with more constraints.
func (m Match) With(more ...FieldMatch) Match {
	return NewMatch(append(slices.Clone(m.fields), more...)...)
}

// Equal reports whether two matches are the same.
func (m Match) Equal(o Match) bool { return slices.Equal(m.fields, o.fields) }

// Validate returns [ErrInvalid] naming the first field whose prerequisite is missing.
func (m Match) Validate() error {
	for _, c := range m.fields {
		if c.Field >= numFields {
			return fmt.Errorf("%w: no field %d", ErrInvalid, c.Field)
		}
		needs := fields[c.Field].needs
		met := len(needs) == 0
		var names []string
		for _, n := range needs {
			got, ok := m.Field(n.field)
			met = met || ok && got.IsExact() && got.Uint() == uint64(n.value)
			names = append(names, fmt.Sprintf("%s=%#x", n.field, n.value))
		}
		if ether := fields[c.Field].ether; met && ether != 0 {
			got, ok := m.Field(FieldEthType)
			met = ok && got.IsExact() && got.Uint() == uint64(ether)
			names = []string{fmt.Sprintf("%s=%#x", FieldEthType, ether)}
		}
		if c.Field == FieldVLANPCP {
			got, _ := m.Field(FieldVLANVID)
			met = got.Uint()&vlanPresent != 0
			names = []string{"vlan_vid with a tag"}
		}
		if !met {
			return fmt.Errorf("%w: %s needs %s", ErrInvalid, c.Field, strings.Join(names, " or "))
		}
	}
	return nil
}

// String returns the match as ovs-ofctl(8) takes it; the empty match is "".
func (m Match) String() string {
	var b strings.Builder
	for i, c := range m.fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.String())
	}
	return b.String()
}

// String returns "tcp_dst=80", or "ip_dst=10.0.0.0/8".
func (m FieldMatch) String() string {
	if fields[m.Field].style == styleCTState {
		return m.Field.String() + "=" + ctStateText(m)
	}
	if m.Field == FieldVLANVID && m.IsExact() {
		return fmt.Sprintf("vlan_vid=%#x", m.Uint())
	}
	s := m.Field.String() + "=" + m.valueText()
	if !m.IsExact() {
		s += "/" + m.maskText()
	}
	return s
}

// valueText returns the value as its field is written.
func (m FieldMatch) valueText() string { return valueText(m.Field, m.Value) }

func valueText(f Field, v [16]byte) string {
	switch fields[f].style {
	case styleMAC:
		return MAC(v[:6]).String()
	case styleIPv4:
		return netip.AddrFrom4([4]byte(v[:4])).String()
	case styleIPv6:
		return netip.AddrFrom16(v).String()
	case styleDecimal:
		return fmt.Sprint(number(v[:f.Bytes()]))
	}
	if f.Bytes() > 8 {
		return fmt.Sprintf("0x%x%016x", number(v[:8]), number(v[8:]))
	}
	return fmt.Sprintf("%#x", number(v[:f.Bytes()]))
}

func (m FieldMatch) maskText() string {
	switch fields[m.Field].style {
	case styleIPv4, styleIPv6:
		if bits, ok := prefixLength(m.Mask[:m.Field.Bytes()]); ok {
			return fmt.Sprint(bits)
		}
	case styleDecimal:
		return fmt.Sprintf("%#x", number(m.Mask[:m.Field.Bytes()]))
	}
	return valueText(m.Field, m.Mask)
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
