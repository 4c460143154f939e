package ovs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseValue reads a field's value in its own notation; the value comes first
// in the array, Field.Bytes long.
func parseValue(f Field, s string) (v [16]byte, err error) {
	switch fields[f].style {
	case styleMAC:
		m, err := ParseMAC(s)
		copy(v[:], m[:])
		return v, err
	case styleIPv4, styleIPv6:
		a, err := netip.ParseAddr(s)
		if err != nil {
			return v, err
		}
		if a.Is4() != (f.Bytes() == 4) || a.Zone() != "" {
			return v, fmt.Errorf("%q is not an address of %d bits", s, f.Bits())
		}
		copy(v[:], a.AsSlice())
		return v, nil
	}
	return parseNumber(s, f.Bits())
}

// parseNumber reads a number of so many bits; it is in network order at the
// start of the array, as long as the bits need.
func parseNumber(s string, bits int) (v [16]byte, err error) {
	size := (bits + 7) / 8
	digits, isHex := strings.CutPrefix(s, "0x")
	var b []byte
	if isHex && digits != "" {
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		if b, err = hex.DecodeString(digits); err != nil {
			return v, fmt.Errorf("%q is not a number", s)
		}
	} else {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return v, fmt.Errorf("%q is not a number", s)
		}
		b = []byte{byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > size || len(b) == size && bits%8 != 0 && b[0]>>(bits%8) != 0 {
		return v, fmt.Errorf("%s does not fit %d bits", s, bits)
	}
	copy(v[size-len(b):], b)
	return v, nil
}

// parseCTState reads "+trk-new".
func parseCTState(s string) (FieldMatch, error) {
	var set, clear CTStateBits
next:
	for s != "" {
		sign := s[0]
		if sign != '+' && sign != '-' {
			break
		}
		for i, name := range ctStateNames {
			if strings.HasPrefix(s[1:], name) {
				if s = s[1+len(name):]; sign == '+' {
					set |= 1 << i
				} else {
					clear |= 1 << i
				}
				continue next
			}
		}
		break
	}
	if s != "" || set&clear != 0 {
		return FieldMatch{}, fmt.Errorf("ct_state is %s with a + or - each, from %q on", strings.Join(ctStateNames, ", "), s)
	}
	return CTState(set, clear), nil
}

// parseSubfield reads "NXM_NX_REG5[0..15]", "reg5[]" and "reg5[3]".
func parseSubfield(s string) (Subfield, error) {
	name, span, ok := strings.Cut(s, "[")
	span, closed := strings.CutSuffix(span, "]")
	if !ok || !closed {
		return Subfield{}, fmt.Errorf("%q is not of the form field[first..last]", s)
	}
	f, ok := FieldByName(name)
	for n := Field(0); !ok && n < numFields; n++ {
		if fields[n].nxm != "" && fields[n].nxm == name {
			f, ok = n, true
		}
	}
	if !ok {
		return Subfield{}, fmt.Errorf("no field %q", name)
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
