package openflow

import (
	"github.com/tierloom/tierloom/ovs"
)

// oxmHeader appends the header of a field (section 7.2.3.2).
func oxmHeader(b []byte, f ovs.Field, hasMask bool) []byte {
	class, num := f.OXM()
	n, m := f.Bytes(), byte(0)
	if hasMask {
		n, m = 2*n, 1
	}
	return append(be.AppendUint16(b, class), num<<1|m, byte(n))
}

// appendOXM appends a field with its value, and its mask unless it is exact.
func appendOXM(b []byte, m *ovs.FieldMatch) []byte {
	exact, n := m.IsExact(), m.Field.Bytes()
	b = oxmHeader(b, m.Field, !exact)
	b = append(b, m.Value[:n]...)
	if !exact {
		b = append(b, m.Mask[:n]...)
	}
	return b
}

// appendMatch appends an OXM match with its padding (section 7.2.3.1).
func appendMatch(b []byte, m ovs.Match) []byte {
	start := len(b)
	b = append(b, 0, 1, 0, 0)
	fields := m.Fields()
	for i := range fields {
		b = appendOXM(b, &fields[i])
	}
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return pad(b, start)
}

// readOXM reads a header and what it announces. known is false for a field
// that package ovs has no name for.
func readOXM(r *reader) (m ovs.FieldMatch, known bool) {
	class, fm, n := r.u16(), r.u8(), int(r.u8())
	body := r.sub(n)
	if r.bad {
		return m, false
	}
	f, ok := ovs.FieldByOXM(class, fm>>1)
	if !ok {
		return m, false
	}
	hasMask, size := fm&1 == 1, f.Bytes()
	want := size
	if hasMask {
		want = 2 * size
	}
	if n != want {
		r.bad = true
		return m, false
	}
	value := body.take(size)
	if !hasMask {
		return ovs.NewFieldMatch(f, value, nil), true
	}
	return ovs.NewFieldMatch(f, value, body.take(size)), true
}

// readMatch reads a match with its padding.
func readMatch(r *reader) (ovs.Match, error) {
	typ, n := r.u16(), int(r.u16())
	if typ != 1 || n < 4 {
		return ovs.Match{}, malformed("match of type %d, length %d", typ, n)
	}
	body := r.sub(n - 4)
	r.skip((8 - n%8) % 8)
	var fields []ovs.FieldMatch
	for len(body.b) > 0 && !body.bad {
		if len(body.b) >= 2 && be.Uint16(body.b) == classPacketRegs {
			fields = readRegisters(&body, fields)
			continue
		}
		at := body
		class, num := at.u16(), at.u8()>>1
		m, known := readOXM(&body)
		if !known && !body.bad {
			return ovs.Match{}, malformed("match of an unknown field (class %#x, number %d)", class, num)
		}
		fields = append(fields, m)
	}
	if body.bad || r.bad {
		return ovs.Match{}, malformed("match is cut short")
	}
	return ovs.NewMatch(fields...), nil
}

// classPacketRegs are 64-bit registers, each two of the 32-bit ones
// (section 7.2.3.7); OVS matches registers as these in OpenFlow 1.5.
const classPacketRegs = 0x8001

// readRegisters reads a 64-bit register: 2n in its high half, 2n+1 in the low.
func readRegisters(r *reader, fields []ovs.FieldMatch) []ovs.FieldMatch {
	r.skip(2)
	fm, n := r.u8(), int(r.u8())
	body := r.sub(n)
	value, mask := body.take(8), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if fm&1 == 1 {
		mask = body.take(8)
	}
	first := ovs.FieldReg0 + ovs.Field(fm>>1)*2
	if body.bad || fm>>1 > 7 {
		r.bad = true
		return fields
	}
	for half := range 2 {
		at := 4 * half
		fields = append(fields, ovs.NewFieldMatch(first+ovs.Field(half), value[at:at+4], mask[at:at+4]))
	}
	return fields
}
