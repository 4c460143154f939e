package ipam

import (
	"math"
	"math/bits"
)

// A bitset is a set of numbers below size that finds the next number not in
// it in a few steps, however full or large it is. Level 0 has a bit for each
// number; in each level above, a bit says that the word below it is full.
// Words lie in pages that are made when they are first written to, so that a
// number costs at most a bit, and numbers that are far apart a page each.
//
// One word of level 0 is kept here while numbers are taken from it one after
// another: processors that share the set have one line of memory less to share.
type bitset struct {
	count  uint64
	near   uint64 // the word that is kept here
	nearAt uint64 // which it is, or noWord
	size   uint64
	levels []level
}

const noWord = math.MaxUint64

func newBitset(size uint64) *bitset {
	b := &bitset{size: size, nearAt: noWord}
	for n := size; ; n = (n + 63) / 64 {
		b.levels = append(b.levels, newLevel((n+63)/64))
		if n <= 64 {
			return b
		}
	}
}

// word returns the ith word of a level, and touch where it is to be written.
func (b *bitset) word(level int, i uint64) uint64 {
	if level == 0 && i == b.nearAt {
		return b.near
	}
	return b.levels[level].word(i)
}

func (b *bitset) touch(level int, i uint64) *uint64 {
	if level == 0 && i == b.nearAt {
		return &b.near
	}
	return b.levels[level].touch(i)
}

// approach keeps the word of a number here, unless it is mostly taken already,
// and puts back the one before.
func (b *bitset) approach(n uint64) {
	at := n / 64
	if at == b.nearAt {
		return
	}
	if w := b.levels[0].word(at); bits.OnesCount64(w) <= 32 {
		b.leave()
		b.near, b.nearAt = w, at
	}
}

func (b *bitset) leave() {
	if b.nearAt != noWord && b.near != b.levels[0].word(b.nearAt) {
		*b.levels[0].touch(b.nearAt) = b.near
		if b.near == 0 {
			b.levels[0].shrink(b.nearAt)
		}
	}
	b.nearAt = noWord
}

func (b *bitset) has(n uint64) bool { return b.word(0, n/64)&(1<<(n%64)) != 0 }

// add reports whether n was not yet in the set.
func (b *bitset) add(n uint64) bool {
	w := b.touch(0, n/64)
	if *w&(1<<(n%64)) != 0 {
		return false
	}
	b.count++
	for i := 1; ; i++ {
		*w |= 1 << (n % 64)
		if *w != ^uint64(0) || i == len(b.levels) {
			return true
		}
		n /= 64
		w = b.touch(i, n/64)
	}
}

// remove reports whether n was in the set.
func (b *bitset) remove(n uint64) bool {
	if !b.has(n) {
		return false
	}
	b.count--
	for i := range b.levels {
		w := b.touch(i, n/64)
		full := *w == ^uint64(0)
		*w &^= 1 << (n % 64)
		if *w == 0 && w != &b.near {
			b.levels[i].shrink(n / 64)
		}
		if !full {
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
	at := from
	for i := range b.levels { // up to where a bit says that there is room behind
		if free := ^b.word(i, at/64) >> (at % 64); free != 0 {
			n := b.down(i, at+uint64(bits.TrailingZeros64(free)))
			return n, n < b.size
		}
		at = at/64 + 1
	}
	return 0, false
}

// down returns the lowest number below a bit of a level, which is clear.
func (b *bitset) down(i int, at uint64) uint64 {
	for i--; i >= 0; i-- {
		at = at*64 + uint64(bits.TrailingZeros64(^b.word(i, at)))
	}
	return at
}

// all calls yield with each number in the set, in order, until it returns false.
func (b *bitset) all(yield func(uint64) bool) bool {
	b.leave()
	return b.levels[0].members(yield)
}

// clone returns a set of the same numbers.
func (b *bitset) clone() *bitset {
	c := &bitset{size: b.size, count: b.count, levels: make([]level, len(b.levels)), near: b.near, nearAt: b.nearAt}
	for i := range b.levels {
		c.levels[i] = b.levels[i].clone()
	}
	return c
}
