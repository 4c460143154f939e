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
// [NewBlockSet]. It may be used concurrently, as may its blocks. What it refuses
// is a [*RefusedError] that names the caller.
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
	blocks = slices.Clone(blocks)
	for i := range blocks {
		blocks[i].Owners = slices.Clone(blocks[i].Owners)
	}
	return &BlockSet{order, blocks}, nil
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
	asked := fmt.Sprintf("subnet /%d", bits)
	mine := s.of(as)
	if len(mine) == 0 && len(s.blocks) > 0 {
		return "", netip.Prefix{}, refuse(asked, s.blocks, as, fmt.Errorf("%w of any", ErrNotOwner))
	}
	condition := ErrOutOfRange // unless a block has subnets of this length
	for _, b := range mine {
		p, err := b.Block.Carve(bits)
		if err == nil {
			return b.Name, p, nil
		}
		if !errors.Is(err, ErrOutOfRange) {
			condition = ErrExhausted
		}
	}
	if len(mine) == 0 {
		condition = ErrExhausted
	}
	return "", netip.Prefix{}, refuse(asked, mine, as, condition)
}

// of returns the blocks from which one of these names may carve, in the order
// in which they are tried.
func (s *BlockSet) of(as []string) (mine []SetBlock) {
	share := map[string]float64{}
	for _, b := range s.blocks {
		if b.allows(as) {
			mine = append(mine, b)
			if s.order == LeastUsed {
				share[b.Name] = b.Block.Share()
			}
		}
	}
	slices.SortStableFunc(mine, func(a, b SetBlock) int {
		owned := cmp.Compare(min(len(b.Owners), 1), min(len(a.Owners), 1))
		return cmp.Or(owned, cmp.Compare(share[a.Name], share[b.Name]))
	})
	return mine
}

// refuse says why blocks did not give what was asked of them.
func refuse(asked string, blocks []SetBlock, as []string, err error) error {
	e := &RefusedError{Asked: asked, Of: listed(blocks), By: slices.Clone(as), Err: err}
	if len(blocks) == 0 {
		e.Of = "no block"
	}
	for _, b := range blocks {
		e.Used += uint64(b.Block.Usage())
	}
	return e
}

// String returns the name and the prefixes.
func (b SetBlock) String() string { return fmt.Sprintf("%q (%s)", b.Name, b.Block) }

// Reserve takes a specific subnet and returns the name of its block.
func (s *BlockSet) Reserve(p netip.Prefix, as ...string) (string, error) {
	asked := "subnet " + p.String()
	i := slices.IndexFunc(s.blocks, func(b SetBlock) bool { return b.Block.Contains(p) })
	if i < 0 {
		return "", refuse(asked, s.blocks, as, ErrOutOfRange)
	}
	b := s.blocks[i]
	if !b.allows(as) {
		return "", refuse(asked, []SetBlock{b}, as, fmt.Errorf("%w, which is %s", ErrNotOwner, strings.Join(b.Owners, " or ")))
	}
	if b.Block.Reserve(p) != nil { // it has the subnet, so that it is in use
		return "", refuse(asked, []SetBlock{b}, as, ErrInUse)
	}
	return b.Name, nil
}

// Release frees a subnet; one that is not in use is no error.
func (s *BlockSet) Release(p netip.Prefix) {
	for _, b := range s.blocks {
		b.Block.Release(p)
	}
}
