package ovs

import (
	"fmt"
	"strings"
)

// An oxmHeader is what stands before a value on the wire.
type oxmHeader struct {
	field   Field
	masked  bool
	length  int // of the header
	payload int // of value and mask
}

func (h oxmHeader) size() int { return h.length + h.payload }

// bytes is the length of the value.
func (h oxmHeader) bytes() int {
	if h.masked {
		return h.payload / 2
	}
	return h.payload
}

// readHeader reads a header and checks that what it announces is there and
// has the field's length; field is numFields where package ovs has none.
func readHeader[B string | []byte](b B) (h oxmHeader, ok bool) {
	h, ok = readBareHeader(b)
	if !ok || h.size() > len(b) || h.masked && h.payload%2 != 0 {
		return h, false
	}
	if h.field == numFields {
		return h, true
	}
	n := h.bytes()
	return h, n == int(fields[h.field].bytes) || h.field.isTunMetadata() && n <= maxTunMetadata
}

// readBareHeader reads a header without what it announces.
func readBareHeader[B string | []byte](b B) (h oxmHeader, ok bool) {
	if len(b) < 4 {
		return h, false
	}
	h = oxmHeader{field: numFields, masked: b[2]&1 != 0, length: 4, payload: int(b[3])}
	var class fieldClass
	switch uint16(b[0])<<8 | uint16(b[1]) {
	case classOpenFlow:
		class = of
	case classNXM0:
		class = nxm0
	case classNXM1:
		class = nxm1
	case classPacketRegs:
		class = pktReg
	case classERIC:
		class = eric
	case classExperimenter:
		if h.length, h.payload = 8, h.payload-4; len(b) < 8 || h.payload < 0 {
			return h, false
		}
		switch uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7]) {
		case experimenterNicira:
			class = nx
		case experimenterNSH:
			class = nsh
		case experimenterONF:
			class = onf
		default:
			return h, true
		}
	default:
		return h, true
	}
	h.field = byNumber[class][b[2]>>1]
	return h, true
}

// AppendHeader appends the field's header as actions name fields, which is that of
// an exact value (OpenFlow 1.5, section 7.2.3.2).
func (f Field) AppendHeader(b []byte) []byte {
	i := &fields[f]
	return append(b, i.header[:i.headLen]...)
}

// ReadField reads a header that AppendHeader may have written, and its length.
// Fields that have several numbers are found under each; ok is false where
// there is no such field.
func ReadField(oxm []byte) (f Field, n int, ok bool) {
	h, ok := readBareHeader(oxm)
	return h.field, h.length, ok && h.field < numFields
}

// AppendOXM appends the field with its value, and its mask unless it is exact
// (OpenFlow 1.5, section 7.2.3.2).
func (m *FieldMatch) AppendOXM(b []byte) []byte {
	i := &fields[m.Field]
	if m.Field.isTunMetadata() || m.Field >= numFields {
		return m.appendWide(b)
	}
	start := len(b)
	b = append(b, i.header[:i.headLen]...)
	b = append(b, m.Value[:i.bytes]...)
	if m.Mask != i.full {
		b = append(b, m.Mask[:i.bytes]...)
		b[start+2] |= 1
		b[start+3] += i.bytes
	}
	return b
}

// appendWide appends a tun_metadata, without the zeros that it begins with.
// A field that does not exist is a header that readHeader refuses.
func (m *FieldMatch) appendWide(b []byte) []byte {
	if m.Field >= numFields {
		return append(b, 0xff, 0xff, 0, 0)
	}
	start, exact := len(b), m.exact()
	value, mask := m.Bytes()
	b = append(b, fields[m.Field].header[:4]...)
	lead := value
	if !exact {
		lead = mask
	}
	n := len(strings.TrimLeft(string(lead), "\x00"))
	b = append(b, value[maxTunMetadata-n:]...)
	b[start+3] = byte(n)
	if !exact {
		b = append(b, mask[maxTunMetadata-n:]...)
		b[start+2] |= 1
		b[start+3] = byte(2 * n)
	}
	return b
}

// cutOXM takes the first field off what NewMatch made.
func cutOXM(oxm string) (FieldMatch, string) {
	h, ok := readHeader(oxm)
	if !ok || h.field >= numFields {
		return FieldMatch{Field: numFields}, ""
	}
	var b [256]byte
	n := copy(b[:], oxm[h.length:h.size()])
	return h.match(b[:n]), oxm[h.size():]
}

func (h oxmHeader) match(payload []byte) FieldMatch {
	if !h.masked {
		return NewFieldMatch(h.field, payload, nil)
	}
	n := len(payload) / 2
	return NewFieldMatch(h.field, payload[:n], payload[n:])
}

// ReadFieldMatch reads a field with its value and mask, and says how long it
// was. A length that the field cannot have, a value beyond the field's bits or
// its mask, and a field that package ovs has no name for are [ErrInvalid].
func ReadFieldMatch(oxm []byte) (m FieldMatch, n int, err error) {
	h, ok := readHeader(oxm)
	if !ok {
		return m, 0, refuse("a field of %d bytes is cut short or has another length", len(oxm))
	}
	if h.field == numFields {
		return m, 0, refuse("an unknown field (%#x)", oxm[:h.length])
	}
	payload := oxm[h.length:h.size()]
	if !h.inRange(payload) {
		return m, 0, refuse("%s has bits beyond its mask or its %d bits", h.field, h.field.Bits())
	}
	return h.match(payload), h.size(), nil
}

// inRange reports whether the value has no bits outside the mask and the field.
func (h oxmHeader) inRange(payload []byte) bool {
	n := h.bytes()
	if h.masked {
		for i := range n {
			if payload[i]&^payload[n+i] != 0 {
				return false
			}
		}
	}
	if info := &fields[h.field]; info.partial {
		for i, x := range payload[:n] {
			if x&^info.full[i] != 0 {
				return false
			}
		}
	}
	return true
}

// errField says that a field's name is not one.
func errField(name string) error { return fmt.Errorf("no field %q", name) }
