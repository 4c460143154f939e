package ipam

import (
	"fmt"
	"strings"
)

// A RefusedError says why an allocator did not give what was asked of it.
type RefusedError struct {
	// Asked is what was asked for: "address", "address 10.0.0.7", "subnet /24", "id 7".
	Asked string
	// Of is what it was asked of: the addresses, subnets or ids that there are.
	Of string
	// By are the names that the caller goes by; none if it was not asked for them.
	By []string
	// Used of Total are in use. Total is 0 for subnets, whose number depends on
	// their lengths.
	Used, Total uint64
	// Err wraps [ErrExhausted], [ErrInUse], [ErrOutOfRange] or [ErrNotOwner].
	Err error
}

// Error tells all of it on one line.
func (e *RefusedError) Error() string {
	by := ""
	if len(e.By) > 0 {
		by = " for " + strings.Join(e.By, ", ")
	}
	full := fmt.Sprintf("%d in use", e.Used)
	if e.Total > 0 {
		full = fmt.Sprintf("%d of %d in use", e.Used, e.Total)
	}
	return fmt.Sprintf("ipam: %s from %s%s: %v (%s)", e.Asked, e.Of, by, e.Err, full)
}

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// maxListed is how many of a list an error names.
const maxListed = 8

// listed returns the first of a list, and how many more there are.
func listed[T fmt.Stringer](list []T) string {
	var s strings.Builder
	for i, v := range list[:min(len(list), maxListed)] {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(v.String())
	}
	if more := len(list) - maxListed; more > 0 {
		fmt.Fprintf(&s, " and %d more", more)
	}
	return s.String()
}
