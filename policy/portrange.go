package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A PortRange is ports From to To, both included. Its text is "80" or "8000-8999".
type PortRange struct{ From, To uint16 }

// Port is the range of one port.
func Port(n uint16) PortRange { return PortRange{n, n} }

// Contains reports whether a port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.From <= port && port <= r.To }

// String returns "80", or "8000-8999".
func (r PortRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(int(r.From))
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// MarshalText implements encoding.TextMarshaler.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what String writes.
func (r *PortRange) UnmarshalText(b []byte) error {
	from, to, ranged := strings.Cut(string(b), "-")
	if !ranged {
		to = from
	}
	x, err1 := strconv.ParseUint(from, 10, 16)
	y, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || x > y {
		return fmt.Errorf("policy: port range %q: %w", b, ErrInvalid)
	}
	*r = PortRange{uint16(x), uint16(y)}
	return nil
}

// MergePorts returns the same ports in the fewest ranges, sorted.
func MergePorts(list []PortRange) []PortRange {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b PortRange) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	var out []PortRange
	for _, r := range sorted {
		if n := len(out); n > 0 && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}
