package ipam

import (
	"math/bits"
	"net/netip"
	"slices"
)

// maxDepth is how many bits longer than its prefix a subnet can be.
const maxDepth = 64

// Buddies are the subnets of one prefix: pieces that are halved as often as
// their users need (a buddy system). A piece has a depth, the bits that it is
// longer than the prefix, and a number among those of its depth.
type buddies struct {
	root netip.Prefix
	free [maxDepth + 1]*set // by depth; nil where there never was one
	used [maxDepth + 1]*set
	// depths has the depths below 64 where something is free, deepest those
	// of depth 64.
	depths  uint64
	deepest bool
}

func newBuddies(root netip.Prefix) *buddies {
	t := &buddies{root: root}
	t.put(0, 0)
	return t
}

// has reports whether a piece is in one of the sets.
func has(sets *[maxDepth + 1]*set, depth int, n uint64) bool {
	return sets[depth] != nil && sets[depth].has(n)
}

func add(sets *[maxDepth + 1]*set, depth int, n uint64) {
	if sets[depth] == nil {
		sets[depth] = newSet(depth)
	}
	sets[depth].add(n)
}

// put makes a piece free.
func (t *buddies) put(depth int, n uint64) {
	add(&t.free, depth, n)
	if depth == maxDepth {
		t.deepest = true
	} else {
		t.depths |= 1 << depth
	}
}

// take removes a free piece.
func (t *buddies) take(depth int, n uint64) {
	t.free[depth].remove(n)
	if t.free[depth].count > 0 {
		return
	}
	if depth == maxDepth {
		t.deepest = false
	} else {
		t.depths &^= 1 << depth
	}
}

// smallest returns the depth of the smallest free pieces that hold one of a
// depth, or -1 if there is none.
func (t *buddies) smallest(depth int) int {
	if depth == maxDepth {
		if t.deepest {
			return depth
		}
		depth--
	}
	return bits.Len64(t.depths&(2<<depth-1)) - 1
}

// carve returns a subnet from the lowest of the smallest free pieces that hold
// one of the depth. There is one.
func (t *buddies) carve(depth int) netip.Prefix {
	from := t.smallest(depth)
	n := t.free[from].lowest()
	t.split(from, n, depth, n<<(depth-from))
	add(&t.used, depth, n<<(depth-from))
	return t.prefix(depth, n<<(depth-from))
}

// split takes a piece out of the free one that holds it, and leaves the rest free.
func (t *buddies) split(from int, whole uint64, depth int, n uint64) {
	t.take(from, whole)
	for d := depth; d > from; d-- {
		t.put(d, n>>(depth-d)^1)
	}
}

// cut takes a specific piece, and reports whether it was free.
func (t *buddies) cut(depth int, n uint64) bool {
	for d := depth; d >= 0; d-- {
		if has(&t.free, d, n>>(depth-d)) {
			t.split(d, n>>(depth-d), depth, n)
			return true
		}
	}
	return false
}

// reserve takes a specific subnet, and reports whether it was free.
func (t *buddies) reserve(p netip.Prefix) bool {
	depth, n := t.piece(p)
	if !t.cut(depth, n) {
		return false
	}
	add(&t.used, depth, n)
	return true
}

// exclude takes a specific subnet for good, and reports whether it was free.
func (t *buddies) exclude(p netip.Prefix) bool { return t.cut(t.piece(p)) }

// release frees a subnet if it is in use, and joins it with its other half as
// often as that is free.
func (t *buddies) release(p netip.Prefix) {
	depth, n := t.piece(p)
	if t.used[depth] == nil || !t.used[depth].remove(n) {
		return
	}
	for ; depth > 0 && has(&t.free, depth, n^1); depth-- {
		t.take(depth, n^1)
		n /= 2
	}
	t.put(depth, n)
}

// longest returns the greatest length of a subnet.
func (t *buddies) longest() int { return min(t.root.Bits()+maxDepth, t.root.Addr().BitLen()) }

// carves reports whether there are subnets of a length.
func (t *buddies) carves(bits int) bool { return t.root.Bits() <= bits && bits <= t.longest() }

// holds reports whether p is a subnet of the prefix, and not too long.
func (t *buddies) holds(p netip.Prefix) bool {
	return t.carves(p.Bits()) && t.root.Contains(p.Addr())
}

// piece returns the depth and number of a subnet of the prefix.
func (t *buddies) piece(p netip.Prefix) (int, uint64) {
	hi, lo := halves(p.Addr())
	depth, rest := p.Bits()-t.root.Bits(), p.Addr().BitLen()-p.Bits() // the number ends rest bits from the end
	n := lo >> rest
	if rest < 64 {
		n |= hi << (64 - rest)
	} else {
		n = hi >> (rest - 64)
	}
	if depth < 64 {
		n &= 1<<depth - 1
	}
	return depth, n
}

// prefix is the inverse of piece.
func (t *buddies) prefix(depth int, n uint64) netip.Prefix {
	root := t.root.Addr()
	hi, lo := halves(root)
	length := t.root.Bits() + depth
	rest := root.BitLen() - length
	lo |= n << rest
	if rest < 64 {
		hi |= n >> (64 - rest)
	} else {
		hi |= n << (rest - 64)
	}
	return netip.PrefixFrom(fromHalves(hi, lo, 0, root.Is4()), length)
}

// inUse returns how many subnets are in use.
func (t *buddies) inUse() (n int) {
	for _, s := range t.used {
		if s != nil {
			n += int(s.count)
		}
	}
	return n
}

// all returns the subnets in use, in order.
func (t *buddies) all() (list []netip.Prefix) {
	for depth, s := range t.used {
		if s != nil {
			s.all(func(n uint64) bool {
				list = append(list, t.prefix(depth, n))
				return true
			})
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}
