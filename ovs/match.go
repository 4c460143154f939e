package ovs

import (
	"slices"
	"strings"
)

// A Match is what a packet must look like: one constraint for each field. The
// zero value matches everything. Matches are comparable; two that are the
// same are equal.
type Match struct {
	oxm string // fields in ascending order as AppendOXM lays them out, each once
}

// NewMatch returns the match of all constraints. A later constraint on a field
// replaces an earlier one; one that has no bits is dropped. What a field
// requires is added where there is only one possibility: icmpv6_type adds
// nw_proto=58 and eth_type=0x86dd; but of tcp_dst, which adds nw_proto=6, it is
// for the caller to say with [EthType] or an address if IPv4 or IPv6. Fields
// that are others together, such as xreg0, become these. Of some fields of
// ERSPAN and GTP-U, Open vSwitch matches only the bits that are one, and so
// does the match.
func NewMatch(constraints ...FieldMatch) Match {
	list := make([]FieldMatch, 0, len(constraints)+4)
	for i := range constraints {
		c := constraints[i]
		list = putParts(list, &c)
	}
	list = addNeeds(list)
	var b [256]byte
	oxm := b[:0]
	for i := range list {
		// A field that does not exist has no bits either; it stays for Validate to refuse.
		if !list[i].isAny() || list[i].Field >= numFields {
			oxm = list[i].AppendOXM(oxm)
		}
	}
	return Match{string(oxm)}
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

// putParts puts a constraint as what a switch reports it as.
func putParts(list []FieldMatch, c *FieldMatch) []FieldMatch {
	f := c.Field
	switch {
	case f >= FieldXReg0 && f <= fieldXRegLast:
		return putRegisters(list, c, FieldReg0+2*(f-FieldXReg0), 2)
	case f >= FieldXXReg0 && f <= fieldXXRegLast:
		return putRegisters(list, c, FieldReg0+4*(f-FieldXXReg0), 4)
	case f == FieldPacketType && c.exact() && c.Uint() == 0:
		return list // Ethernet is meant without
	case f.onesOnly():
		c.Mask = c.Value
		return put(list, *c, true)
	case f == FieldIPTOS:
		return put(list, masked(FieldIPDSCP, c.Uint()>>2, number(c.Mask[:1])>>2), true)
	case f == FieldVLANTCI:
		v, mask := c.Uint(), number(c.Mask[:2])
		if pcp := masked(FieldVLANPCP, v>>13, mask>>13); !pcp.isAny() && (v&vlanPresent != 0 || v>>13 != 0) {
			list = put(list, pcp, true)
		}
		return put(list, masked(FieldVLANVID, v, mask), true)
	}
	return put(list, *c, true)
}

// putRegisters splits a constraint into n registers from first on.
func putRegisters(list []FieldMatch, c *FieldMatch, first Field, n int) []FieldMatch {
	for i := range n {
		m := NewFieldMatch(first+Field(i), c.Value[4*i:4*i+4], c.Mask[4*i:4*i+4])
		if !m.isAny() {
			list = put(list, m, true)
		}
	}
	return list
}

// Fields returns the constraints in the order of their fields.
func (m Match) Fields() []FieldMatch {
	var list []FieldMatch
	for rest := m.oxm; rest != ""; {
		var c FieldMatch
		c, rest = cutOXM(rest)
		list = append(list, c)
	}
	return list
}

// Field returns the constraint on a field.
func (m Match) Field(f Field) (FieldMatch, bool) {
	for rest := m.oxm; rest != ""; {
		h, ok := readHeader(rest)
		if !ok {
			break
		}
		if h.field == f {
			c, _ := cutOXM(rest)
			return c, true
		}
		rest = rest[h.size():]
	}
	return FieldMatch{}, false
}

// OXM returns the match's fields on the wire (OpenFlow 1.5, section 7.2.3.2),
// without the match's header and padding.
func (m Match) OXM() string { return m.oxm }

// With returns the match with more constraints.
func (m Match) With(more ...FieldMatch) Match { return NewMatch(append(m.Fields(), more...)...) }

// Equal reports whether two matches are the same.
func (m Match) Equal(o Match) bool { return m == o }

// Validate returns [ErrInvalid] naming the first field whose prerequisite is
// missing, or that cannot be matched so.
func (m Match) Validate() error {
	var s setting
	known := false
	for rest := m.oxm; rest != ""; {
		h, ok := readHeader(rest)
		if !ok {
			return refuse("no field by such a number")
		}
		info := &fields[h.field]
		if h.masked && info.does&maskable == 0 {
			return refuse("%s cannot be matched in part", h.field)
		}
		if info.needs != needsNone {
			if !known {
				s, known = settingOf(m), true
			}
			if what := s.unmet(info.needs); what != "" {
				return refuse("%s needs %s", h.field, what)
			}
		}
		switch h.field {
		case FieldDPHash, FieldRecircID:
			return refuse("%s is the switch's own", h.field)
		case FieldNXMInPort:
			return refuse("in_port is matched in its 32 bits")
		case FieldTunFlags, FieldARPOp, FieldNSHTTL, FieldNSHMDType, FieldCTState:
			c, _ := cutOXM(rest)
			if err := checkValue(c); err != nil {
				return err
			}
		}
		rest = rest[h.size():]
	}
	return nil
}

// Meets returns [ErrInvalid] with what a packet of this match may lack so that
// an action can read or write field f: what a switch asks of a flow's actions.
func (m Match) Meets(f Field) error {
	if f >= numFields {
		return refuse("no field %d", f)
	}
	if what := settingOf(m).unmet(fields[f].needs); what != "" {
		return refuse("%s needs %s", f, what)
	}
	return nil
}

// checkValue refuses values that the switch does not take.
func checkValue(c FieldMatch) error {
	limit := uint64(0)
	switch c.Field {
	case FieldTunFlags:
		limit = 1
	case FieldARPOp:
		limit = 0xff
	case FieldNSHTTL:
		limit = 63
	case FieldNSHMDType:
		if limit = 2; c.Uint() == 0 {
			return refuse("%s: want 1 or 2", c)
		}
	case FieldCTState:
		limit = 0xff
	default:
		return nil
	}
	if mask := number(c.Mask[:c.Field.Bytes()]); c.Uint() > limit || mask > limit && !c.IsExact() && c.Field != FieldARPOp {
		return refuse("%s: more than %d", c, limit)
	}
	return nil
}

// String returns the match as ovs-ofctl(8) takes it; the empty match is "".
func (m Match) String() string {
	var b strings.Builder
	for i, c := range m.Fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.String())
	}
	return b.String()
}
