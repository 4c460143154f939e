package ipam

import (
	"maps"
	"math/bits"
	"slices"
)

// pageWords is how many words a page has; 512 bytes are a size that the
// runtime allocates without loss.
const pageWords = 64

// A page is a run of words.
type page [pageWords]uint64

// A level is a run of words of which those that were never written are 0. One
// of few pages has a slot for each; one of very many finds them by a map, and
// gives back those that are 0 again.
type level struct {
	dense  []*page
	sparse map[uint64]*page
	spare  *page // one that was given back, so that a page at the edge costs no allocation
}

// maxDense bounds the slots of a level: 512 KiB for 2^28 numbers, an IPv4 /4.
const maxDense = 1 << 16

func newLevel(words uint64) level {
	pages := (words + pageWords - 1) / pageWords
	if pages <= maxDense {
		return level{dense: make([]*page, pages)}
	}
	return level{sparse: map[uint64]*page{}}
}

func (l *level) page(i uint64) *page {
	if l.dense != nil {
		if i < uint64(len(l.dense)) {
			return l.dense[i]
		}
		return nil
	}
	return l.sparse[i]
}

// word returns the ith word.
func (l *level) word(i uint64) uint64 {
	p := l.page(i / pageWords)
	if p == nil {
		return 0
	}
	return p[i%pageWords]
}

// touch returns the ith word to be written.
func (l *level) touch(i uint64) *uint64 {
	p := l.page(i / pageWords)
	if p == nil {
		p, l.spare = l.spare, nil
		if p == nil {
			p = new(page)
		}
		if l.dense != nil {
			l.dense[i/pageWords] = p
		} else {
			l.sparse[i/pageWords] = p
		}
	}
	return &p[i%pageWords]
}

// shrink gives the page of the ith word back if that saves memory.
func (l *level) shrink(i uint64) {
	if l.dense != nil {
		return
	}
	if p := l.sparse[i/pageWords]; *p == (page{}) {
		delete(l.sparse, i/pageWords)
		l.spare = p
	}
}

// members calls yield with the number of each bit that is set, in order, until
// it returns false.
func (l *level) members(yield func(uint64) bool) bool {
	if l.dense != nil {
		for i, p := range l.dense {
			if p != nil && !p.members(uint64(i), yield) {
				return false
			}
		}
		return true
	}
	for _, i := range slices.Sorted(maps.Keys(l.sparse)) {
		if !l.sparse[i].members(i, yield) {
			return false
		}
	}
	return true
}

func (p *page) members(at uint64, yield func(uint64) bool) bool {
	for i, w := range p {
		for ; w != 0; w &= w - 1 {
			if !yield((at*pageWords+uint64(i))*64 + uint64(bits.TrailingZeros64(w))) {
				return false
			}
		}
	}
	return true
}

func (l *level) clone() level {
	c := level{dense: slices.Clone(l.dense), sparse: maps.Clone(l.sparse)}
	for i, p := range c.dense {
		if p != nil {
			copied := *p
			c.dense[i] = &copied
		}
	}
	for i, p := range c.sparse {
		copied := *p
		c.sparse[i] = &copied
	}
	return c
}
