package ipam

import "math/bits"

// A bitset is a set of numbers below size that finds the next number not in
// it in a few steps, however full or large it is. It costs memory only where
// numbers are: words of 64 bits, and above them a tree of words in which a bit
// says that the word below is full.
type bitset struct {
	size   uint64
	count  uint64
	levels []map[uint64]uint64
}

func newBitset(size uint64) *bitset {
	b := &bitset{size: size}
	for n := size; ; n = (n + 63) / 64 {
		b.levels = append(b.levels, map[uint64]uint64{})
		if n <= 64 {
			return b
		}
	}
}

func (b *bitset) has(n uint64) bool { return b.levels[0][n/64]&(1<<(n%64)) != 0 }

// add reports whether n was not yet in the set.
func (b *bitset) add(n uint64) bool {
	if b.has(n) {
		return false
	}
	b.count++
	for _, level := range b.levels {
		w := level[n/64] | 1<<(n%64)
		level[n/64] = w
		if w != ^uint64(0) {
			break
		}
		n /= 64
	}
	return true
}

// remove reports whether n was in the set.
func (b *bitset) remove(n uint64) bool {
	if !b.has(n) {
		return false
	}
	b.count--
	for _, level := range b.levels {
		w := level[n/64]
		if after := w &^ (1 << (n % 64)); after == 0 {
			delete(level, n/64)
		} else {
			level[n/64] = after
		}
		if w != ^uint64(0) {
			break
		}
		n /= 64
	}
	return true
}

// next returns the lowest number from on that is not in the set.
func (b *bitset) next(from uint64) (uint64, bool) {
	if from >= b.size {
		return 0, false
	}
	n, ok := b.find(0, from)
	return n, ok && n < b.size
}

// find returns the lowest position from on whose bit is clear at a level.
func (b *bitset) find(level int, from uint64) (uint64, bool) {
	w := from / 64
	if free := ^b.levels[level][w] >> (from % 64); free != 0 {
		return from + uint64(bits.TrailingZeros64(free)), true
	}
	if level+1 == len(b.levels) {
		return 0, false
	}
	w, ok := b.find(level+1, w+1)
	if !ok {
		return 0, false
	}
	free := ^b.levels[level][w]
	if free == 0 {
		return 0, false
	}
	return w*64 + uint64(bits.TrailingZeros64(free)), true
}
