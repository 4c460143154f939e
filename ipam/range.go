package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
)

// A Range is all addresses from First to Last, both inclusive.
type Range struct{ First, Last netip.Addr }

// ParseRange reads "10.0.0.5-10.0.0.90", or one address.
func ParseRange(s string) (Range, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	b, err2 := netip.ParseAddr(strings.TrimSpace(last))
	if !ok {
		err2 = nil
	}
	if err := errors.Join(err, err2); err != nil {
		return Range{}, fmt.Errorf("ipam: range %q: %w: %w", s, ErrInvalid, err)
	}
	r := Range{a, b}
	if err := r.validate(); err != nil {
		return Range{}, err
	}
	return r, nil
}

// String returns "10.0.0.5-10.0.0.90".
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

func (r Range) validate() error {
	var errs []error
	for _, a := range []netip.Addr{r.First, r.Last} {
		if err := plain(a); err != nil {
			errs = append(errs, fmt.Errorf("ipam: range %s: %w", r, err))
		}
	}
	switch {
	case len(errs) > 0:
	case r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First):
		errs = append(errs, fmt.Errorf("ipam: range %s: %w: the last address is not behind the first", r, ErrInvalid))
	case !r.Last.Less(mapped().Addr()) && !lastOf(mapped()).Less(r.First):
		errs = append(errs, fmt.Errorf("ipam: range %s: %w: it has the IPv4 in IPv6 of %s", r, ErrInvalid, mapped()))
	}
	return errors.Join(errs...)
}

// mapped is where IPv4 addresses are in IPv6 (RFC 4291, section 2.5.5.2).
func mapped() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), 96)
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
	if p.Overlaps(mapped()) {
		return fmt.Errorf("ipam: prefix %s: %w: it has the IPv4 in IPv6 of %s", p, ErrInvalid, mapped())
	}
	return nil
}

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

// length returns how many addresses there are, at most [math.MaxUint64].
func (r Range) length() uint64 {
	ah, al := halves(r.First)
	bh, bl := halves(r.Last)
	lo, borrow := bits.Sub64(bl, al, 0)
	if hi, _ := bits.Sub64(bh, ah, borrow); hi != 0 || lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return lo + 1
}

// fromHalves returns the address n behind the one that halves gives.
func fromHalves(hi, lo, n uint64, v4 bool) netip.Addr {
	if v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(lo+n))
		return netip.AddrFrom4(b)
	}
	if lo+n < lo {
		hi++
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo+n)
	return netip.AddrFrom16(b)
}
