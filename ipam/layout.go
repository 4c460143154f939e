package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// maxSpan and maxSpans bound the numbers of a pool's addresses. A span may be
// longer; what lies behind the numbers is given only when it is asked for.
const (
	maxSpan  = 1 << 48
	maxSpans = 1 << 14
)

// A span is a run of addresses of which the first have numbers.
type span struct {
	Range
	hi, lo uint64 // the first address
	count  uint64 // of numbers
	at     uint64 // number of the first address
}

// A layout is the addresses of a pool: runs, less single ones. It does not change.
type layout struct {
	v4       bool
	spans    []span // in order
	size     uint64 // numbers
	total    uint64 // addresses that are given, at most math.MaxUint64
	excluded *bitset
	// excludedFar are those without a number.
	excludedFar map[netip.Addr]bool
}

// newLayout returns what a configuration gives, or [ErrInvalid] naming every fault.
func newLayout(cfg AddressConfig) (*layout, error) {
	parts, errs := cfg.parts()
	l := &layout{excludedFar: map[netip.Addr]bool{}}
	if len(parts) > maxSpans {
		errs = append(errs, fmt.Errorf("ipam: pool: %w: %d prefixes and ranges, at most %d", ErrInvalid, len(parts), maxSpans))
	}
	if len(parts) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("ipam: pool: %w: neither prefix nor range", ErrInvalid))
	}
	errs = append(errs, cfg.Watermarks.validate())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, part := range parts {
		l.append(part.usable)
	}
	l.excluded = newBitset(l.size)
	for _, a := range cfg.Exclude {
		l.exclude(a)
	}
	if l.total == 0 {
		return nil, fmt.Errorf("ipam: pool %s: %w: all addresses are excluded", l, ErrInvalid)
	}
	return l, nil
}

func (l *layout) append(r Range) {
	hi, lo := halves(r.First)
	length := r.length()
	s := span{Range: r, hi: hi, lo: lo, count: min(length, maxSpan), at: l.size}
	l.v4 = r.First.Is4()
	l.spans = append(l.spans, s)
	l.size += s.count
	sum, carry := bits.Add64(l.total, length, 0)
	if carry > 0 {
		sum = math.MaxUint64
	}
	l.total = sum
}

// exclude leaves an address out, if it is given.
func (l *layout) exclude(a netip.Addr) {
	n, numbered, given := l.gives(a)
	if !given {
		return
	}
	if numbered {
		l.excluded.add(n)
	} else {
		l.excludedFar[a] = true
	}
	if l.total < math.MaxUint64 {
		l.total--
	}
}

// A part of a pool's configuration: all of it, and what is given.
type part struct{ whole, usable Range }

// parts returns the parts of a configuration in order, and what is wrong with it.
func (cfg AddressConfig) parts() (parts []part, errs []error) {
	for _, p := range cfg.Prefixes {
		if err := plainPrefix(p); err != nil {
			errs = append(errs, err)
			continue
		}
		parts = append(parts, part{Range{p.Addr(), lastOf(p)}, usable(p)})
	}
	for _, r := range cfg.Ranges {
		if err := r.validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		parts = append(parts, part{r, r})
	}
	slices.SortFunc(parts, func(a, b part) int { return a.whole.First.Compare(b.whole.First) })
	widest := 0 // of the parts before, the one that reaches farthest
	for i, part := range parts {
		if i > 0 && !parts[widest].whole.Last.Less(part.whole.First) {
			errs = append(errs, fmt.Errorf("ipam: ranges %s and %s: %w: they overlap", parts[widest].whole, part.whole, ErrInvalid))
		}
		if parts[widest].whole.Last.Less(part.whole.Last) {
			widest = i
		}
		if part.whole.First.BitLen() != parts[0].whole.First.BitLen() {
			errs = append(errs, fmt.Errorf("ipam: ranges %s and %s: %w: IPv4 and IPv6 in one pool", parts[0].whole, part.whole, ErrInvalid))
		}
	}
	return parts, append(errs, cfg.checkExcluded(parts)...)
}

// checkExcluded returns what is wrong with the exclusions from parts that are in order.
func (cfg AddressConfig) checkExcluded(parts []part) (errs []error) {
	for _, a := range cfg.Exclude {
		if err := plain(a); err != nil {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w", err))
			continue
		}
		i, found := slices.BinarySearchFunc(parts, a, func(q part, a netip.Addr) int { return q.whole.First.Compare(a) })
		if !found && (i == 0 || !parts[i-1].whole.contains(a)) {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w: %s is in no prefix or range of it", ErrInvalid, a))
		}
	}
	return errs
}

// find returns the number of an address, whether it has one, and whether it
// is in a span.
func (l *layout) find(a netip.Addr) (n uint64, numbered, given bool) {
	if a.Is4() != l.v4 || !l.v4 && (!a.IsValid() || a.Zone() != "") {
		return 0, false, false
	}
	hi, lo := halves(a)
	i := 0
	if len(l.spans) > 1 {
		at, found := slices.BinarySearchFunc(l.spans, span{hi: hi, lo: lo}, func(s, t span) int {
			return cmp.Or(cmp.Compare(s.hi, t.hi), cmp.Compare(s.lo, t.lo))
		})
		if i = at; !found {
			i--
		}
	}
	if i < 0 {
		return 0, false, false
	}
	s := &l.spans[i]
	d, borrow := bits.Sub64(lo, s.lo, 0)
	high, _ := bits.Sub64(hi, s.hi, borrow)
	if high == 0 && d < s.count {
		return s.at + d, true, true
	}
	return 0, false, s.contains(a)
}

// gives reports whether an address may be given, and its number if it has one.
func (l *layout) gives(a netip.Addr) (n uint64, numbered, given bool) {
	n, numbered, given = l.find(a)
	if numbered {
		return n, true, !l.excluded.has(n)
	}
	return 0, false, given && !l.excludedFar[a]
}

// address returns the address of a number.
func (l *layout) address(n uint64) netip.Addr {
	i := 0
	if len(l.spans) > 1 {
		at, found := slices.BinarySearchFunc(l.spans, n, func(s span, n uint64) int { return cmp.Compare(s.at, n) })
		if i = at; !found {
			i--
		}
	}
	s := &l.spans[i]
	return fromHalves(s.hi, s.lo, n-s.at, l.v4)
}

// String returns the first and last address of each run, of the first few.
func (l *layout) String() string { return listed(l.spans) }
