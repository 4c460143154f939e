package ovstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/ovs"
)

// A Packet is what a flow can match of a packet: the value of each field, zero
// where nothing was said. Its zero value is a packet of no kind. Make one with
// [NewPacket]; it is never changed.
type Packet struct {
	fields map[ovs.Field][16]byte
	// under are the tags below the outermost, which is in fields.
	under [][2][16]byte
}

// NewPacket returns a packet with these fields, and what they require: a TCP
// port makes it TCP. Where IPv4 or IPv6 is meant, say so by an address or
// [ovs.EthType].
func NewPacket(fields ...ovs.FieldMatch) Packet {
	p := Packet{fields: map[ovs.Field][16]byte{}}
	for _, m := range ovs.NewMatch(fields...).Fields() {
		p = p.write(m)
	}
	return p
}

// stored returns the field that a field is kept as: ports of all protocols are
// kept as one.
func stored(f ovs.Field) ovs.Field {
	switch f {
	case ovs.FieldUDPSrc, ovs.FieldSCTPSrc:
		return ovs.FieldTCPSrc
	case ovs.FieldUDPDst, ovs.FieldSCTPDst:
		return ovs.FieldTCPDst
	case ovs.FieldNXMInPort:
		return ovs.FieldInPort
	}
	return f
}

// get returns all bits of a field, in network order in the first Field.Bytes.
func (p Packet) get(f ovs.Field) [16]byte {
	switch {
	case f >= ovs.FieldXReg0 && f < ovs.FieldXReg0+8:
		return p.join(ovs.FieldReg0+2*(f-ovs.FieldXReg0), 2)
	case f >= ovs.FieldXXReg0 && f < ovs.FieldXXReg0+4:
		return p.join(ovs.FieldReg0+4*(f-ovs.FieldXXReg0), 4)
	case f == ovs.FieldIPTOS:
		v := p.fields[ovs.FieldIPDSCP]
		v[0] <<= 2
		return v
	case f == ovs.FieldNXMInPort:
		v := p.fields[ovs.FieldInPort]
		return [16]byte{v[2], v[3]}
	}
	return p.fields[stored(f)]
}

func (p Packet) join(first ovs.Field, n int) (v [16]byte) {
	for i := range n {
		part := p.fields[first+ovs.Field(i)]
		copy(v[4*i:], part[:4])
	}
	return v
}

// Uint returns the low 64 bits of a field.
func (p Packet) Uint(f ovs.Field) uint64 {
	v := p.get(f)
	return ovs.NewFieldMatch(f, v[:f.Bytes()], nil).Uint()
}

// write returns the packet with the bits of a field under the mask replaced.
func (p Packet) write(m ovs.FieldMatch) Packet {
	switch f := m.Field; {
	case f >= ovs.FieldXReg0 && f < ovs.FieldXReg0+8:
		return p.part(m, ovs.FieldReg0+2*(f-ovs.FieldXReg0), 2)
	case f >= ovs.FieldXXReg0 && f < ovs.FieldXXReg0+4:
		return p.part(m, ovs.FieldReg0+4*(f-ovs.FieldXXReg0), 4)
	case f == ovs.FieldIPTOS:
		m = ovs.NewFieldMatch(ovs.FieldIPDSCP, []byte{m.Value[0] >> 2}, []byte{m.Mask[0] >> 2})
	case f == ovs.FieldNXMInPort:
		m = ovs.NewFieldMatch(ovs.FieldInPort, []byte{0, 0, m.Value[0], m.Value[1]}, nil)
	}
	f := stored(m.Field)
	v := p.fields[f]
	for i := range v {
		v[i] = v[i]&^m.Mask[i] | m.Value[i]
	}
	return p.with(f, v)
}

func (p Packet) part(m ovs.FieldMatch, first ovs.Field, n int) Packet {
	for i := range n {
		p = p.write(ovs.NewFieldMatch(first+ovs.Field(i), m.Value[4*i:4*i+4], m.Mask[4*i:4*i+4]))
	}
	return p
}

func (p Packet) with(f ovs.Field, v [16]byte) Packet {
	fields := maps.Clone(p.fields)
	if fields == nil {
		fields = map[ovs.Field][16]byte{}
	}
	if fields[f] = v; v == ([16]byte{}) {
		delete(fields, f)
	}
	return Packet{fields, p.under}
}

// bits returns a run of bits of a field, lowest last.
func (p Packet) bits(s ovs.Subfield) []byte {
	v := p.get(s.Field)
	n := s.Field.Bytes()
	out := make([]byte, s.Size)
	for i := range s.Size {
		at := s.Offset + i
		out[s.Size-1-i] = v[n-1-at/8] >> (at % 8) & 1
	}
	return out
}

// setBits returns the packet with a run of bits replaced.
func (p Packet) setBits(s ovs.Subfield, bits []byte) Packet {
	n := s.Field.Bytes()
	value, mask := make([]byte, n), make([]byte, n)
	for i := range s.Size {
		at := s.Offset + i
		mask[n-1-at/8] |= 1 << (at % 8)
		value[n-1-at/8] |= bits[s.Size-1-i] << (at % 8)
	}
	return p.write(ovs.NewFieldMatch(s.Field, value, mask))
}

// matches reports whether the packet is one of a match.
func (p Packet) matches(m ovs.Match) bool {
	for _, c := range m.Fields() {
		v := p.get(c.Field)
		for i := range v {
			if v[i]&c.Mask[i] != c.Value[i] {
				return false
			}
		}
	}
	return true
}

// push returns the packet with a tag of id 0 in front. Like Open vSwitch, it
// keeps two.
func (p Packet) push() Packet {
	under := p.under
	if p.tagged() {
		under = [][2][16]byte{{p.fields[ovs.FieldVLANVID], p.fields[ovs.FieldVLANPCP]}}
	}
	p = p.with(ovs.FieldVLANVID, [16]byte{0x10}).with(ovs.FieldVLANPCP, [16]byte{})
	p.under = under
	return p
}

// pop returns the packet without its outermost tag.
func (p Packet) pop() Packet {
	var next [2][16]byte
	under := p.under
	if len(under) > 0 {
		next, under = under[0], under[1:]
	}
	p = p.with(ovs.FieldVLANVID, next[0]).with(ovs.FieldVLANPCP, next[1])
	p.under = under
	return p
}

func (p Packet) tagged() bool { return p.fields[ovs.FieldVLANVID][0]&0x10 != 0 }

// named is the inverse of stored.
func (p Packet) named(f ovs.Field) ovs.Field {
	names := map[uint64][2]ovs.Field{17: {ovs.FieldUDPSrc, ovs.FieldUDPDst}, 132: {ovs.FieldSCTPSrc, ovs.FieldSCTPDst}}
	if ports, ok := names[p.Uint(ovs.FieldIPProto)]; ok {
		switch f {
		case ovs.FieldTCPSrc:
			return ports[0]
		case ovs.FieldTCPDst:
			return ports[1]
		}
	}
	return f
}

// String returns the fields that are not zero, as a flow would match them.
func (p Packet) String() string {
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(p.fields)) {
		v := p.fields[f]
		f = p.named(f)
		parts = append(parts, fmt.Sprint(ovs.NewFieldMatch(f, v[:f.Bytes()], nil)))
	}
	for _, tag := range p.under {
		parts = append(parts, fmt.Sprintf("under_vlan=%#x", uint16(tag[0][0])<<8|uint16(tag[0][1])))
	}
	return strings.Join(parts, ",")
}
