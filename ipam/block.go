package ipam

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
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
// is whole. Make one with [NewBlock]. It may be used concurrently. What it
// refuses is a [*RefusedError].
type Block struct {
	mu      sync.Mutex // protects what is in the trees, not their list
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
			errs = append(errs, fmt.Errorf("ipam: block: exclude %s: %w: it is in no prefix of %s, or over %d bits longer", p, ErrInvalid, b, maxDepth))
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

// Carve returns a free subnet of the given length, [ErrExhausted], or
// [ErrOutOfRange] if there are none of that length.
func (b *Block) Carve(bits int) (netip.Prefix, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
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
		return netip.Prefix{}, b.cannotLocked(bits)
	}
	return best.carve(bits - best.root.Bits()), nil
}

// cannotLocked says why a subnet of a length cannot be carved.
func (b *Block) cannotLocked(bits int) error {
	asked := fmt.Sprintf("subnet /%d", bits)
	shortest, longest := 128, 0
	for _, t := range b.trees {
		if t.carves(bits) {
			return b.refuseLocked(asked, ErrExhausted)
		}
		shortest, longest = min(shortest, t.root.Bits()), max(longest, t.longest())
	}
	return b.refuseLocked(asked, fmt.Errorf("%w: want /%d to /%d", ErrOutOfRange, shortest, longest))
}

func (b *Block) refuseLocked(asked string, err error) error {
	return &RefusedError{Asked: asked, Of: b.String(), Used: uint64(b.inUseLocked()), Err: err}
}

// Reserve takes a specific subnet, or returns [ErrOutOfRange] or [ErrInUse].
func (b *Block) Reserve(p netip.Prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.Contains(p) {
		return b.refuseLocked("subnet "+p.String(), ErrOutOfRange)
	}
	if !b.tree(p).reserve(p) {
		return b.refuseLocked("subnet "+p.String(), ErrInUse)
	}
	return nil
}

// Release frees a subnet; one that is not in use is no error.
func (b *Block) Release(p netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tree(p); t != nil && p == p.Masked() {
		t.release(p)
	}
}

// Contains reports whether the block may give the subnet.
func (b *Block) Contains(p netip.Prefix) bool {
	return plainPrefix(p) == nil && b.tree(p) != nil && !slices.ContainsFunc(b.exclude, p.Overlaps)
}

// All calls yield with each subnet that is in use as it is called, prefix by
// prefix, until it returns false. Yield may use the block.
func (b *Block) All(yield func(netip.Prefix) bool) {
	var list []netip.Prefix
	b.mu.Lock()
	for _, t := range b.trees {
		list = append(list, t.all()...)
	}
	b.mu.Unlock()
	for _, p := range list {
		if !yield(p) {
			return
		}
	}
}

// Usage returns how many subnets are in use.
func (b *Block) Usage() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inUseLocked()
}

func (b *Block) inUseLocked() (n int) {
	for _, t := range b.trees {
		n += t.inUse()
	}
	return n
}

// Share returns how much of what the block may give is in use, by addresses,
// from 0 to 1.
func (b *Block) Share() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
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

// String returns the prefixes, the first few.
func (b *Block) String() string {
	roots := make([]netip.Prefix, len(b.trees))
	for i, t := range b.trees {
		roots[i] = t.root
	}
	return listed(roots)
}
