package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// AddressConfig says which addresses a [Pool] gives. All are of one family.
type AddressConfig struct {
	// Prefixes are given without their network and broadcast addresses
	// (IPv4, shorter than /31), or without the all-zero address (IPv6,
	// shorter than /127, RFC 4291 section 2.6.1). Of an IPv6 prefix the first
	// 2^48 are given.
	Prefixes []netip.Prefix
	// Ranges are given whole.
	Ranges []Range
	// Exclude are never given: gateways and the like. Each lies in one of the
	// prefixes or ranges.
	Exclude []netip.Addr
	// Watermarks say when the pool is nearly full; zero is never.
	Watermarks Watermarks
}

// maxSpan and maxSpans bound the runs of addresses of a pool, so that the
// addresses of all can be numbered.
const (
	maxSpan  = 1 << 48
	maxSpans = 1 << 14
)

// A span is a run of addresses with the number of its first in the pool.
type span struct {
	hi, lo uint64 // the first address
	count  uint64
	at     uint64
}

// A Pool gives single addresses: the one after the last it gave, so that an
// address rests after release. It costs a bit an address where addresses are
// in use. Make one with [NewPool]. It is not safe for concurrent use.
type Pool struct {
	v4       bool
	spans    []span
	used     *bitset // and excluded
	excluded *bitset
	leaving  map[netip.Addr]bool
	cursor   uint64
	gauge    gauge
}

// NewPool returns a pool with all addresses free, or [ErrInvalid] naming
// every fault: host bits, overlaps, mixed families, what is excluded but not
// part of the pool, nothing left to give.
func NewPool(cfg AddressConfig) (*Pool, error) {
	parts, errs := cfg.parts()
	p := &Pool{leaving: map[netip.Addr]bool{}}
	var size uint64
	for i, part := range parts {
		r := part.usable
		n := distance(r.First, r.Last) + 1
		if n > maxSpan || i >= maxSpans {
			errs = append(errs, fmt.Errorf("ipam: range %s: %w: more than %d ranges of %d addresses", r, ErrInvalid, maxSpans, uint64(maxSpan)))
			continue
		}
		hi, lo := halves(r.First)
		p.spans = append(p.spans, span{hi, lo, n, size})
		p.v4 = r.First.Is4()
		size += n
	}
	if size == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("ipam: pool: %w: neither prefix nor range", ErrInvalid))
	}
	errs = append(errs, cfg.Watermarks.validate())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.used, p.excluded = newBitset(size), newBitset(size)
	for _, a := range cfg.Exclude {
		if n, ok := p.number(a); ok {
			p.excluded.add(n)
			p.used.add(n)
		}
	}
	if p.used.count == p.used.size {
		return nil, fmt.Errorf("ipam: pool: %w: all %d addresses are excluded", ErrInvalid, size)
	}
	p.gauge = cfg.Watermarks.gauge(size - p.excluded.count)
	return p, nil
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
	for _, a := range cfg.Exclude {
		if err := plain(a); err != nil {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w", err))
		} else if !slices.ContainsFunc(parts, func(q part) bool { return q.whole.contains(a) }) {
			errs = append(errs, fmt.Errorf("ipam: pool: exclude: %w: %s is in no prefix or range of it", ErrInvalid, a))
		}
	}
	return parts, errs
}

// number returns the place of an address in the pool.
func (p *Pool) number(a netip.Addr) (uint64, bool) {
	if a.Is4() != p.v4 || a.Zone() != "" {
		return 0, false
	}
	hi, lo := halves(a)
	i := 0
	if len(p.spans) > 1 {
		at, found := slices.BinarySearchFunc(p.spans, span{hi: hi, lo: lo}, func(s, t span) int {
			return cmp.Or(cmp.Compare(s.hi, t.hi), cmp.Compare(s.lo, t.lo))
		})
		if i = at; !found {
			i--
		}
	}
	if i < 0 {
		return 0, false
	}
	s := &p.spans[i]
	d, borrow := bits.Sub64(lo, s.lo, 0)
	high, _ := bits.Sub64(hi, s.hi, borrow)
	return s.at + d, high == 0 && d < s.count
}

// address is the inverse of number.
func (p *Pool) address(n uint64) netip.Addr {
	i := 0
	if len(p.spans) > 1 {
		at, found := slices.BinarySearchFunc(p.spans, n, func(s span, n uint64) int { return cmp.Compare(s.at, n) })
		if i = at; !found {
			i--
		}
	}
	s := &p.spans[i]
	return fromHalves(s.hi, s.lo, n-s.at, p.v4)
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
	p.gauge.set(p.inUse())
	return p.address(n), nil
}

// AllocatePair returns an address of each of two pools, or of neither: what a
// dual-stack interface needs.
func AllocatePair(a, b *Pool) (netip.Addr, netip.Addr, error) {
	first, err := a.Allocate()
	if err != nil {
		return netip.Addr{}, netip.Addr{}, err
	}
	second, err := b.Allocate()
	if err != nil {
		a.Release(first)
		return netip.Addr{}, netip.Addr{}, err
	}
	return first, second, nil
}

// Reserve takes a specific address.
func (p *Pool) Reserve(a netip.Addr) error {
	if p.leaving[a] {
		return fmt.Errorf("ipam: address %s: %w", a, ErrInUse)
	}
	n, ok := p.number(a)
	if !ok || p.excluded.has(n) {
		return fmt.Errorf("ipam: address %s from %s: %w", a, p, ErrOutOfRange)
	}
	if !p.used.add(n) {
		return fmt.Errorf("ipam: address %s: %w", a, ErrInUse)
	}
	p.gauge.set(p.inUse())
	return nil
}

// Release frees an address; one that is free or not of the pool is no error.
func (p *Pool) Release(a netip.Addr) {
	if n, ok := p.number(a); ok && !p.excluded.has(n) {
		if p.used.remove(n) {
			p.gauge.set(p.inUse())
		}
		return
	}
	delete(p.leaving, a)
}

// Contains reports whether the pool may give the address.
func (p *Pool) Contains(a netip.Addr) bool {
	n, ok := p.number(a)
	return ok && !p.excluded.has(n)
}

// Reconfigure makes the pool give other addresses. It keeps what is in use:
// what the new configuration has not stays in use until it is released, and is
// not given again; [Pool.Leaving] lists it. After an error nothing has changed.
func (p *Pool) Reconfigure(cfg AddressConfig) error {
	q, err := NewPool(cfg)
	if err != nil {
		return err
	}
	for a := range p.All {
		if n, ok := q.number(a); ok && !q.excluded.has(n) {
			q.used.add(n)
		} else {
			q.leaving[a] = true
		}
	}
	if p.cursor > 0 {
		if n, ok := q.number(p.address(p.cursor - 1)); ok {
			q.cursor = n + 1
		}
	}
	q.gauge.set(q.inUse())
	*p = *q
	return nil
}

// All calls yield with each address in use, those that are leaving last, until
// it returns false.
func (p *Pool) All(yield func(netip.Addr) bool) {
	more := true
	p.used.all(func(n uint64) bool {
		more = p.excluded.has(n) || yield(p.address(n))
		return more
	})
	for _, a := range p.Leaving() {
		if !more {
			return
		}
		more = yield(a)
	}
}

// Leaving returns, sorted, what is in use but no longer of the pool.
func (p *Pool) Leaving() []netip.Addr {
	return slices.SortedFunc(maps.Keys(p.leaving), netip.Addr.Compare)
}

func (p *Pool) inUse() uint64 { return p.used.count - p.excluded.count }

// Usage returns how many addresses are in use and how many there are. What is
// leaving is in neither.
func (p *Pool) Usage() (used, total uint64) {
	return p.inUse(), p.used.size - p.excluded.count
}

// NearlyFull reports whether use has reached the high watermark and not yet
// fallen to the low one since.
func (p *Pool) NearlyFull() bool { return p.gauge.high }

// String returns the first and last address of each run.
func (p *Pool) String() string {
	parts := make([]string, len(p.spans))
	for i, s := range p.spans {
		parts[i] = Range{fromHalves(s.hi, s.lo, 0, p.v4), fromHalves(s.hi, s.lo, s.count-1, p.v4)}.String()
	}
	return strings.Join(parts, ",")
}
