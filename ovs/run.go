package ovs

import "fmt"

// Run returns the bits that count as a [Subfield]; false if they are not one
// run, or the field does not exist.
func (m FieldMatch) Run() (Subfield, bool) {
	s := Subfield{Field: m.Field}
	if m.Field >= numFields {
		return s, false
	}
	n, ended := m.Field.Bytes(), false
	for i := range m.Field.Bits() {
		switch on := m.Mask[n-1-i/8]>>(i%8)&1 == 1; {
		case on && s.Size == 0:
			s.Offset, s.Size = i, 1
		case on && ended:
			return s, false
		case on:
			s.Size++
		case s.Size > 0:
			ended = true
		}
	}
	return s, s.Size > 0
}

// runText returns the value of a run as a hexadecimal number.
func (m FieldMatch) runText(s Subfield) string {
	if s.Size > 64 {
		n := m.Field.Bytes()
		return fmt.Sprintf("0x%x", m.Value[:n])
	}
	return fmt.Sprintf("%#x", m.RunValue(s))
}

// RunValue returns the value of up to 64 bits of the field as a number.
func (m FieldMatch) RunValue(s Subfield) uint64 {
	var v uint64
	n := m.Field.Bytes()
	for i := range min(s.Size, 64) {
		at := s.Offset + i
		if at/8 < n {
			v |= uint64(m.Value[n-1-at/8]>>(at%8)&1) << i
		}
	}
	return v
}
