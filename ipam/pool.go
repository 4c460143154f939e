package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// AddressConfig says which addresses a [Pool] gives. All are of one family.
type AddressConfig struct {
	// Prefixes are given without their network and broadcast addresses
	// (IPv4, shorter than /31), or without the all-zero address (IPv6,
	// shorter than /127, RFC 4291 section 2.6.1).
	Prefixes []netip.Prefix
	// Ranges are given whole.
	Ranges []Range
	// Exclude are never given: gateways and the like. Each lies in one of the
	// prefixes or ranges.
	Exclude []netip.Addr
}

// A Range is all addresses from First to Last, both inclusive.
type Range struct{ First, Last netip.Addr }

// ParseRange reads "10.0.0.5-10.0.0.90", or one address.
func ParseRange(s string) (Range, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return Range{}, fmt.Errorf("ipam: range %q: %w: %w", s, ErrInvalid, err)
	}
	b, err := netip.ParseAddr(strings.TrimSpace(last))
	if err != nil {
		return Range{}, fmt.Errorf("ipam: range %q: %w: %w", s, ErrInvalid, err)
	}
	r := Range{a, b}
	return r, r.validate()
}

// String returns "10.0.0.5-10.0.0.90".
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

func (r Range) validate() error {
	for _, a := range []netip.Addr{r.First, r.Last} {
		if err := plain(a); err != nil {
			return fmt.Errorf("ipam: range %s: %w", r, err)
		}
	}
	if r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) {
		return fmt.Errorf("ipam: range %s: %w: the last address is not behind the first", r, ErrInvalid)
	}
	return nil
}

func (r Range) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

// plain refuses addresses that are not simply IPv4 or IPv6.
func plain(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return fmt.Errorf("%w: no address", ErrInvalid)
	case a.Is4In6():
		return fmt.Errorf("%w: %s is IPv4 in IPv6", ErrInvalid, a)
	case a.Zone() != "":
		return fmt.Errorf("%w: %s has a zone", ErrInvalid, a)
	}
	return nil
}

func plainPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("ipam: prefix %s: %w: not a prefix", p, ErrInvalid)
	}
	if err := plain(p.Addr()); err != nil {
		return fmt.Errorf("ipam: prefix %s: %w", p, err)
	}
	if p != p.Masked() {
		return fmt.Errorf("ipam: prefix %s: %w: host bits are set, want %s", p, ErrInvalid, p.Masked())
	}
	return nil
}

// span is a run of addresses with the number of its first in the pool.
type span struct {
	first netip.Addr
	count uint64
	at    uint64
}

// maxSpan bounds what one prefix or range adds to a pool, so that the
// addresses of all can be numbered: an IPv6 /64 gives its first 2^48.
const (
	maxSpan  = 1 << 48
	maxSpans = 1 << 14
)

// A Pool gives single addresses: the one after the last it gave, so that an
// address rests after release. It costs memory for what is in use. Make one
// with [NewPool]. It is not safe for concurrent use.
type Pool struct {
	spans   []span
	used    *bitset
	exclude map[netip.Addr]bool
	cursor  uint64
}

// NewPool returns a pool with all addresses free, or [ErrInvalid] naming
// every fault: host bits, overlaps, mixed families, what is excluded but not
// part of the pool, nothing left to give.
func NewPool(cfg AddressConfig) (*Pool, error) {
	var errs []error
	var ranges []part
	for _, p := range cfg.Prefixes {
		if err := plainPrefix(p); err != nil {
			errs = append(errs, err)
			continue
		}
		ranges = append(ranges, part{Range{p.Addr(), lastOf(p)}, usable(p)})
	}
	for _, r := range cfg.Ranges {
		if err := r.validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		ranges = append(ranges, part{r, r})
	}
	slices.SortFunc(ranges, func(a, b part) int { return a.whole.First.Compare(b.whole.First) })
	p := &Pool{exclude: map[netip.Addr]bool{}}
	var size uint64
	widest := 0 // of the parts before, the one that reaches farthest
	for i, part := range ranges {
		r := part.usable
		if i > 0 && !ranges[widest].whole.Last.Less(part.whole.First) {
			errs = append(errs, fmt.Errorf("ipam: ranges %s and %s: %w: they overlap", ranges[widest].whole, part.whole, ErrInvalid))
		}
		if ranges[widest].whole.Last.Less(part.whole.Last) {
			widest = i
		}
		if r.First.BitLen() != ranges[0].whole.First.BitLen() {
			errs = append(errs, fmt.Errorf("ipam: ranges %s and %s: %w: IPv4 and IPv6 in one pool", ranges[0].whole, part.whole, ErrInvalid))
		}
		n := distance(r.First, r.Last) + 1
		if n > maxSpan || i >= maxSpans {
			errs = append(errs, fmt.Errorf("ipam: range %s: %w: more than %d ranges of %d addresses", r, ErrInvalid, maxSpans, uint64(maxSpan)))
			continue
		}
		p.spans = append(p.spans, span{r.First, n, size})
		size += n
	}
	for _, a := range cfg.Exclude {
		if err := plain(a); err != nil {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w", err))
		} else if !slices.ContainsFunc(ranges, func(q part) bool { return q.whole.contains(a) }) {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w: %s is in no prefix or range of it", ErrInvalid, a))
		}
	}
	if size == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("ipam: pool: %w: neither prefix nor range", ErrInvalid))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.used = newBitset(size)
	for _, a := range cfg.Exclude {
		if n, ok := p.number(a); ok {
			p.exclude[a] = true
			p.used.add(n)
		}
	}
	if p.used.count == p.used.size {
		return nil, fmt.Errorf("ipam: pool: %w: all %d addresses are excluded", ErrInvalid, size)
	}
	return p, nil
}

// A part of a pool's configuration: all of it, and what is given.
type part struct{ whole, usable Range }

// usable returns what of a prefix is given to hosts.
func usable(p netip.Prefix) Range {
	first, last := p.Addr(), lastOf(p)
	host := p.Addr().BitLen() - p.Bits()
	if host >= 2 {
		first = first.Next()
		if first.Is4() {
			last = last.Prev()
		}
	}
	if distance(first, last) >= maxSpan {
		last = plus(first, maxSpan-1)
	}
	return Range{first, last}
}

// lastOf returns the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As16()
	skip := 128 - p.Addr().BitLen()
	for i := skip + p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

// halves returns an address as two numbers.
func halves(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// distance returns b minus a, at most 2^63.
func distance(a, b netip.Addr) uint64 {
	ah, al := halves(a)
	bh, bl := halves(b)
	hi, lo := bh-ah, bl-al
	if bl < al {
		hi--
	}
	if hi != 0 {
		return 1 << 63
	}
	return min(lo, 1<<63)
}

func plus(a netip.Addr, n uint64) netip.Addr {
	hi, lo := halves(a)
	if lo+n < lo {
		hi++
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo+n)
	out := netip.AddrFrom16(b)
	if a.Is4() {
		return out.Unmap()
	}
	return out
}

// number returns the place of an address in the pool.
func (p *Pool) number(a netip.Addr) (uint64, bool) {
	i, found := slices.BinarySearchFunc(p.spans, a, func(s span, a netip.Addr) int { return s.first.Compare(a) })
	if !found {
		i--
	}
	if i < 0 || a.BitLen() != p.spans[i].first.BitLen() || a.Zone() != "" {
		return 0, false
	}
	d := distance(p.spans[i].first, a)
	return p.spans[i].at + d, d < p.spans[i].count
}

func (p *Pool) address(n uint64) netip.Addr {
	i, found := slices.BinarySearchFunc(p.spans, n, func(s span, n uint64) int {
		switch {
		case s.at > n:
			return 1
		case s.at < n:
			return -1
		}
		return 0
	})
	if !found {
		i--
	}
	return plus(p.spans[i].first, n-p.spans[i].at)
}

// Allocate returns a free address.
func (p *Pool) Allocate() (netip.Addr, error) {
	n, ok := p.used.next(p.cursor)
	if !ok {
		n, ok = p.used.next(0)
	}
	if !ok {
		used, total := p.Usage()
		return netip.Addr{}, fmt.Errorf("ipam: address from %s: %w (%d of %d in use)", p, ErrExhausted, used, total)
	}
	p.used.add(n)
	p.cursor = n + 1
	return p.address(n), nil
}

// Reserve takes a specific address.
func (p *Pool) Reserve(a netip.Addr) error {
	n, ok := p.number(a)
	if !ok || p.exclude[a] {
		return fmt.Errorf("ipam: address %s from %s: %w", a, p, ErrOutOfRange)
	}
	if !p.used.add(n) {
		return fmt.Errorf("ipam: address %s: %w", a, ErrInUse)
	}
	return nil
}

// Release frees an address; one that is free or not of the pool is no error.
func (p *Pool) Release(a netip.Addr) {
	if n, ok := p.number(a); ok && !p.exclude[a] {
		p.used.remove(n)
	}
}

// Contains reports whether the pool may give the address.
func (p *Pool) Contains(a netip.Addr) bool {
	_, ok := p.number(a)
	return ok && !p.exclude[a]
}

// Usage returns how many addresses are in use and how many there are.
func (p *Pool) Usage() (used, total uint64) {
	n := uint64(len(p.exclude))
	return p.used.count - n, p.used.size - n
}

// String returns the first and last address of each run.
func (p *Pool) String() string {
	parts := make([]string, len(p.spans))
	for i, s := range p.spans {
		parts[i] = Range{s.first, plus(s.first, s.count-1)}.String()
	}
	return strings.Join(parts, ",")
}
