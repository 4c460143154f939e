package ipam

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// SubnetConfig says what a [Block] carves subnets from.
type SubnetConfig struct {
	// Prefixes do not overlap. Their subnets are at most 64 bits longer.
	Prefixes []netip.Prefix
	// Exclude are never given, nor is a subnet that overlaps one: what is in
	// use elsewhere. Each lies in one of the prefixes; they do not overlap.
	Exclude []netip.Prefix
}

// A Block carves subnets of mixed sizes out of prefixes. It takes the
// smallest free piece that fits, splits it in halves, and joins halves again
// when both are free, so that whatever the order of releases, an empty block
// is whole. Make one with [NewBlock]. It is not safe for concurrent use.
type Block struct {
	trees   []*buddies // in the order of the configuration
	exclude []netip.Prefix
}

// NewBlock returns a block with everything free, or [ErrInvalid] naming every fault.
func NewBlock(cfg SubnetConfig) (*Block, error) {
	b := &Block{}
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
		b.trees = append(b.trees, newBuddies(p))
	}
	errs = append(errs, b.leaveOut(cfg.Exclude)...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(b.trees, func(t *buddies) bool { return t.depths != 0 || t.deepest }) {
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
		} else if t := b.tree(p); t == nil {
			errs = append(errs, fmt.Errorf("ipam: block: exclude %s: %w: it is in no prefix of %s", p, ErrInvalid, b))
		} else if !t.exclude(p) {
			i := slices.IndexFunc(b.exclude, p.Overlaps)
			errs = append(errs, fmt.Errorf("ipam: block: exclude %s and %s: %w: they overlap", b.exclude[i], p, ErrInvalid))
		} else {
			b.exclude = append(b.exclude, p)
		}
	}
	return errs
}

// tree returns the prefix that a subnet is of, or nil.
func (b *Block) tree(p netip.Prefix) *buddies {
	for _, t := range b.trees {
		if t.holds(p) {
			return t
		}
	}
	return nil
}

// Carve returns a free subnet of the given length.
func (b *Block) Carve(bits int) (netip.Prefix, error) {
	var best *buddies
	longest := -1
	for _, t := range b.trees {
		if !t.carves(bits) {
			continue
		}
		if n := t.smallest(bits - t.root.Bits()); n >= 0 && n+t.root.Bits() > longest {
			best, longest = t, n+t.root.Bits()
		}
	}
	if best == nil {
		return netip.Prefix{}, b.cannot(bits)
	}
	return best.carve(bits - best.root.Bits()), nil
}

// cannot says why a subnet of a length cannot be carved.
func (b *Block) cannot(bits int) error {
	shortest, longest := 128, 0
	for _, t := range b.trees {
		if t.carves(bits) {
			return fmt.Errorf("ipam: /%d from %s: %w (%d subnets in use)", bits, b, ErrExhausted, b.Usage())
		}
		shortest, longest = min(shortest, t.root.Bits()), max(longest, t.longest())
	}
	return fmt.Errorf("ipam: /%d from %s: %w: want /%d to /%d", bits, b, ErrOutOfRange, shortest, longest)
}

// Reserve takes a specific subnet.
func (b *Block) Reserve(p netip.Prefix) error {
	if !b.Contains(p) {
		return fmt.Errorf("ipam: subnet %s from %s: %w", p, b, ErrOutOfRange)
	}
	if !b.tree(p).reserve(p) {
		return fmt.Errorf("ipam: subnet %s: %w", p, ErrInUse)
	}
	return nil
}

// Release frees a subnet; one that is not in use is no error.
func (b *Block) Release(p netip.Prefix) {
	if t := b.tree(p); t != nil && p == p.Masked() {
		t.release(p)
	}
}

// Contains reports whether the block may give the subnet.
func (b *Block) Contains(p netip.Prefix) bool {
	return plainPrefix(p) == nil && b.tree(p) != nil && !slices.ContainsFunc(b.exclude, p.Overlaps)
}

// All calls yield with each subnet in use, prefix by prefix, until it returns false.
func (b *Block) All(yield func(netip.Prefix) bool) {
	for _, t := range b.trees {
		for _, p := range t.all() {
			if !yield(p) {
				return
			}
		}
	}
}

// Usage returns how many subnets are in use.
func (b *Block) Usage() (n int) {
	for _, t := range b.trees {
		n += t.inUse()
	}
	return n
}

// Share returns how much of what the block may give is in use, by addresses,
// from 0 to 1.
func (b *Block) Share() float64 {
	var used, total float64
	for _, t := range b.trees {
		total += addresses(t.root)
		for depth, s := range t.used {
			if s != nil {
				used += math.Ldexp(addresses(t.root)*float64(s.count), -depth)
			}
		}
	}
	for _, p := range b.exclude {
		total -= addresses(p)
	}
	return used / total
}

// addresses returns how many addresses a prefix has.
func addresses(p netip.Prefix) float64 { return math.Ldexp(1, p.Addr().BitLen()-p.Bits()) }

// String returns the prefixes.
func (b *Block) String() string {
	parts := make([]string, len(b.trees))
	for i, t := range b.trees {
		parts[i] = t.root.String()
	}
	return strings.Join(parts, ",")
}
