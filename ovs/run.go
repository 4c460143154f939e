package ovs

import "fmt"

// Run returns the bits that count as a [Subfield]; false if they are not one
// run, or the field does not exist.
func (m FieldMatch) Run() (Subfield, bool) {
	s := Subfield{Field: m.Field}
	if m.Field >= numFields {
		return s, false
	}
	_, mask := m.Bytes()
	n, ended := len(mask), false
	for i := range m.Field.Bits() {
		switch on := mask[n-1-i/8]>>(i%8)&1 == 1; {
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

// RunBytes returns the value of bits of the field as a number in network
// order, in as few bytes as so many bits need.
func (m FieldMatch) RunBytes(s Subfield) []byte {
	value, _ := m.Bytes()
	n, size := len(value), (s.Size+7)/8
	v := make([]byte, size)
	for i := range s.Size {
		at := s.Offset + i
		v[size-1-i/8] |= value[n-1-at/8] >> (at % 8) & 1 << (i % 8)
	}
	return v
}

// RunValue returns the value of up to 64 bits of the field as a number.
func (m FieldMatch) RunValue(s Subfield) uint64 {
	s.Size = min(s.Size, 64)
	return number(m.RunBytes(s))
}

// runText returns the value of a run as a hexadecimal number.
func (m FieldMatch) runText(s Subfield) string {
	if s.Size > 64 {
		return fmt.Sprintf("0x%x", m.RunBytes(s))
	}
	return fmt.Sprintf("%#x", m.RunValue(s))
}

// MatchBits returns the constraint that bits of a field have a value, given as a
// number in network order, of which the low bits count. Bits that do not exist
// make a constraint that no switch takes.
func MatchBits(s Subfield, v []byte) FieldMatch {
	if !s.valid() {
		return FieldMatch{Field: numFields}
	}
	return runMatch(v, s)
}

// runMatch is MatchBits of bits that exist.
func runMatch(v []byte, s Subfield) FieldMatch {
	n := s.Field.Bytes()
	if s == s.Field.Whole() {
		return NewFieldMatch(s.Field, pad(v, n), nil)
	}
	value, mask := make([]byte, n), make([]byte, n)
	for i := range s.Size {
		at := s.Offset + i
		mask[n-1-at/8] |= 1 << (at % 8)
		if i/8 < len(v) {
			value[n-1-at/8] |= v[len(v)-1-i/8] >> (i % 8) & 1 << (at % 8)
		}
	}
	return NewFieldMatch(s.Field, value, mask)
}

// pad returns the last n bytes of v, with zeros before where there are fewer.
func pad(v []byte, n int) []byte {
	b := make([]byte, n)
	v = v[max(0, len(v)-n):]
	copy(b[n-len(v):], v)
	return b
}
