package openflow

import (
	"github.com/tierloom/tierloom/ovs"
)

// appendMatch appends an OXM match with its padding (section 7.2.3.1).
func appendMatch(b []byte, m ovs.Match) []byte {
	oxm := m.OXM()
	n := len(oxm) + 4
	b = append(b, 0, 1, byte(n>>8), byte(n))
	b = append(b, oxm...)
	return append(b, nothing[:-n&7]...)
}

// readOXM reads a field with its value and mask. known is false for a field
// that package ovs has no name for.
func readOXM(r *reader) (m ovs.FieldMatch, known bool) {
	if r.bad {
		return m, false
	}
	m, n, err := ovs.ReadFieldMatch(r.b)
	if err != nil {
		return m, false
	}
	r.skip(n)
	return m, true
}

// readMatch reads a match with its padding.
func readMatch(r *reader) (ovs.Match, error) {
	typ, n := r.u16(), int(r.u16())
	if typ != 1 || n < 4 {
		return ovs.Match{}, malformed("match of type %d, length %d", typ, n)
	}
	body := r.sub(n - 4)
	r.skip(-n & 7)
	if r.bad {
		return ovs.Match{}, malformed("match is cut short")
	}
	m, err := ovs.ReadMatch(body.b)
	if err != nil {
		return m, malformed("match: %v", err)
	}
	return m, nil
}
