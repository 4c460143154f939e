package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// SubnetConfig says what a [Block] carves subnets from.
type SubnetConfig struct {
	// Prefixes do not overlap.
	Prefixes []netip.Prefix
	// Exclude are never given, nor is a subnet that overlaps one: what is in
	// use elsewhere. Each lies in one of the prefixes; they do not overlap.
	Exclude []netip.Prefix
}

// A Block carves subnets of mixed sizes out of prefixes. It takes the
// smallest free piece that fits, splits it in halves, and joins halves again
// when both are free (a buddy allocator), so that whatever the order of
// releases, an empty block is whole. Make one with [NewBlock]. It is not safe
// for concurrent use.
type Block struct {
	prefixes []netip.Prefix
	exclude  []netip.Prefix
	free     [129][]netip.Prefix // by length, sorted
	used     map[netip.Prefix]bool
}

// NewBlock returns a block with everything free, or [ErrInvalid] naming every fault.
func NewBlock(cfg SubnetConfig) (*Block, error) {
	b := &Block{used: map[netip.Prefix]bool{}}
	var errs []error
	if len(cfg.Prefixes) == 0 {
		errs = append(errs, fmt.Errorf("ipam: block: %w: no prefix", ErrInvalid))
	}
	for i, p := range cfg.Prefixes {
		if err := plainPrefix(p); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, q := range cfg.Prefixes[:i] {
			if q.IsValid() && p.Overlaps(q) {
				errs = append(errs, fmt.Errorf("ipam: block: prefixes %s and %s: %w: they overlap", q, p, ErrInvalid))
			}
		}
		b.prefixes = append(b.prefixes, p)
		b.put(p)
	}
	errs = append(errs, b.leaveOut(cfg.Exclude)...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(b.free[:], func(list []netip.Prefix) bool { return len(list) > 0 }) {
		return nil, fmt.Errorf("ipam: block %s: %w: all of it is excluded", b, ErrInvalid)
	}
	return b, nil
}

// leaveOut takes the excluded subnets out of a block that nothing has been
// taken from, and returns what is wrong with them.
func (b *Block) leaveOut(exclude []netip.Prefix) (errs []error) {
	for _, p := range exclude {
		if err := plainPrefix(p); err != nil {
			errs = append(errs, fmt.Errorf("%w (exclude)", err))
		} else if i := slices.IndexFunc(b.exclude, p.Overlaps); i >= 0 {
			errs = append(errs, fmt.Errorf("ipam: block: exclude %s and %s: %w: they overlap", b.exclude[i], p, ErrInvalid))
		} else if err := b.Reserve(p); err != nil {
			errs = append(errs, fmt.Errorf("ipam: block: exclude %s: %w: it is in no prefix of %s", p, ErrInvalid, b))
		} else {
			delete(b.used, p)
			b.exclude = append(b.exclude, p)
		}
	}
	return errs
}

func (b *Block) put(p netip.Prefix) {
	list := b.free[p.Bits()]
	i, _ := slices.BinarySearchFunc(list, p, netip.Prefix.Compare)
	b.free[p.Bits()] = slices.Insert(list, i, p)
}

// take removes p from the free pieces, if it is one.
func (b *Block) take(p netip.Prefix) bool {
	list := b.free[p.Bits()]
	i, ok := slices.BinarySearchFunc(list, p, netip.Prefix.Compare)
	if ok {
		b.free[p.Bits()] = slices.Delete(list, i, i+1)
	}
	return ok
}

// buddyOf returns the other half of the piece that p is a half of.
func buddyOf(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	i := p.Bits() - 1
	b[i/8] ^= 0x80 >> (i % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}

// Carve returns a free subnet of the given length.
func (b *Block) Carve(bits int) (netip.Prefix, error) {
	if err := b.checkLength(bits); err != nil {
		return netip.Prefix{}, err
	}
	for n := bits; n >= 0; n-- {
		for _, p := range b.free[n] {
			if bits <= p.Addr().BitLen() {
				return b.split(p, netip.PrefixFrom(p.Addr(), bits)), nil
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("ipam: /%d from %s: %w (%d subnets in use)", bits, b, ErrExhausted, len(b.used))
}

func (b *Block) checkLength(bits int) error {
	shortest, longest := 128, 0
	for _, p := range b.prefixes {
		if bits >= p.Bits() && bits <= p.Addr().BitLen() {
			return nil
		}
		shortest, longest = min(shortest, p.Bits()), max(longest, p.Addr().BitLen())
	}
	return fmt.Errorf("ipam: /%d from %s: %w: want /%d to /%d", bits, b, ErrOutOfRange, shortest, longest)
}

// split takes want out of the free piece p and leaves the rest free.
func (b *Block) split(p, want netip.Prefix) netip.Prefix {
	b.take(p)
	for n := p.Bits() + 1; n <= want.Bits(); n++ {
		half := netip.PrefixFrom(want.Addr(), n).Masked()
		b.put(buddyOf(half))
	}
	b.used[want] = true
	return want
}

// Reserve takes a specific subnet.
func (b *Block) Reserve(p netip.Prefix) error {
	if !b.Contains(p) {
		return fmt.Errorf("ipam: subnet %s from %s: %w", p, b, ErrOutOfRange)
	}
	for n := p.Bits(); n >= 0; n-- {
		piece := netip.PrefixFrom(p.Addr(), n).Masked()
		if _, ok := slices.BinarySearchFunc(b.free[n], piece, netip.Prefix.Compare); ok {
			b.split(piece, p)
			return nil
		}
	}
	return fmt.Errorf("ipam: subnet %s: %w", p, ErrInUse)
}

// Release frees a subnet; one that is not in use is no error.
func (b *Block) Release(p netip.Prefix) {
	if !b.used[p] {
		return
	}
	delete(b.used, p)
	for !slices.Contains(b.prefixes, p) && b.take(buddyOf(p)) {
		p = netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
	}
	b.put(p)
}

// Contains reports whether the block may give the subnet.
func (b *Block) Contains(p netip.Prefix) bool {
	return plainPrefix(p) == nil && !slices.ContainsFunc(b.exclude, p.Overlaps) && slices.ContainsFunc(b.prefixes, func(q netip.Prefix) bool {
		return q.Bits() <= p.Bits() && q.Contains(p.Addr())
	})
}

// Usage returns how many subnets are in use.
func (b *Block) Usage() int { return len(b.used) }

// String returns the prefixes.
func (b *Block) String() string {
	parts := make([]string, len(b.prefixes))
	for i, p := range b.prefixes {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}
