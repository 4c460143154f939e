package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An Order says which of several blocks is carved first.
type Order int

// Orders.
const (
	// InOrder fills one block before the next is touched.
	InOrder Order = iota
	// LeastUsed takes the block of which the smallest share is in use.
	LeastUsed
)

// A SetBlock is a block of a [BlockSet].
type SetBlock struct {
	Name  string
	Block *Block
	// Owners may carve from it, such as "ns:<uid>" or "cluster:<name>"; none
	// is everybody.
	Owners []string
}

func (b SetBlock) allows(as []string) bool {
	return len(b.Owners) == 0 || slices.ContainsFunc(b.Owners, func(o string) bool { return slices.Contains(as, o) })
}

// A BlockSet carves from several blocks, each for its owners. Make one with
// [NewBlockSet]. It is not safe for concurrent use.
type BlockSet struct {
	order  Order
	blocks []SetBlock
}

// NewBlockSet returns the set of blocks, or [ErrInvalid] naming every fault: a
// name given twice or not at all, subnets of two blocks that overlap.
func NewBlockSet(order Order, blocks ...SetBlock) (*BlockSet, error) {
	var errs []error
	if order != InOrder && order != LeastUsed {
		errs = append(errs, fmt.Errorf("ipam: blocks: order %d: %w", order, ErrInvalid))
	}
	for i, b := range blocks {
		if b.Name == "" || b.Block == nil || slices.Contains(b.Owners, "") {
			errs = append(errs, fmt.Errorf("ipam: blocks[%d] %q: %w: it lacks a name, a block, or an owner's name", i, b.Name, ErrInvalid))
			continue
		}
		for _, c := range blocks[:i] {
			if b.Name == c.Name {
				errs = append(errs, fmt.Errorf("ipam: blocks: %w: %q is given twice", ErrInvalid, b.Name))
			}
			if c.Block != nil && b.Block.overlaps(c.Block) {
				errs = append(errs, fmt.Errorf("ipam: blocks %q (%s) and %q (%s): %w: they overlap", c.Name, c.Block, b.Name, b.Block, ErrInvalid))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &BlockSet{order, slices.Clone(blocks)}, nil
}

func (b *Block) overlaps(c *Block) bool {
	return slices.ContainsFunc(b.trees, func(t *buddies) bool {
		return slices.ContainsFunc(c.trees, func(u *buddies) bool { return t.root.Overlaps(u.root) })
	})
}

// Carve returns a free subnet of the given length and the name of its block.
// as are the names that the caller goes by. A block that it owns comes before
// one that is everybody's. [ErrNotOwner] says that there are blocks, and none
// is for the caller.
func (s *BlockSet) Carve(bits int, as ...string) (string, netip.Prefix, error) {
	var mine []SetBlock
	for _, b := range s.blocks {
		if b.allows(as) {
			mine = append(mine, b)
		}
	}
	if len(mine) == 0 && len(s.blocks) > 0 {
		return "", netip.Prefix{}, fmt.Errorf("ipam: /%d for %s: %w of any of %d blocks", bits, strings.Join(as, ", "), ErrNotOwner, len(s.blocks))
	}
	slices.SortStableFunc(mine, func(a, b SetBlock) int {
		if c := cmp.Compare(min(len(b.Owners), 1), min(len(a.Owners), 1)); c != 0 || s.order == InOrder {
			return c
		}
		return cmp.Compare(a.Block.Share(), b.Block.Share())
	})
	var errs []error
	for _, b := range mine {
		p, err := b.Block.Carve(bits)
		if err == nil {
			return b.Name, p, nil
		}
		errs = append(errs, fmt.Errorf("block %q: %w", b.Name, err))
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("ipam: blocks: %w: there are none", ErrExhausted))
	}
	return "", netip.Prefix{}, errors.Join(errs...)
}

// Reserve takes a specific subnet and returns the name of its block.
func (s *BlockSet) Reserve(p netip.Prefix, as ...string) (string, error) {
	for _, b := range s.blocks {
		if !b.Block.Contains(p) {
			continue
		}
		if !b.allows(as) {
			return "", fmt.Errorf("ipam: subnet %s of block %q for %s: %w: it is for %s", p, b.Name, strings.Join(as, ", "), ErrNotOwner, strings.Join(b.Owners, ", "))
		}
		if err := b.Block.Reserve(p); err != nil {
			return "", fmt.Errorf("ipam: block %q: %w", b.Name, err)
		}
		return b.Name, nil
	}
	return "", fmt.Errorf("ipam: subnet %s: %w: it is in none of %d blocks", p, ErrOutOfRange, len(s.blocks))
}

// Release frees a subnet; one that is not in use is no error.
func (s *BlockSet) Release(p netip.Prefix) {
	for _, b := range s.blocks {
		b.Block.Release(p)
	}
}
