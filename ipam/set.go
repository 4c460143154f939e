package ipam

import "math/bits"

// A set is a set of numbers of some bits that finds its lowest member in a few
// steps. Level 0 has a bit for each number; in each level above, a bit says
// that the word below it is not 0.
type set struct {
	count  uint64
	levels []level
}

// newSet returns an empty set of numbers of at most 64 bits.
func newSet(width int) *set {
	s := &set{}
	for {
		width = max(0, width-6)
		s.levels = append(s.levels, newLevel(1<<width))
		if width == 0 {
			return s
		}
	}
}

func (s *set) has(n uint64) bool { return s.levels[0].word(n/64)&(1<<(n%64)) != 0 }

// add puts in a number that is not in it.
func (s *set) add(n uint64) {
	s.count++
	for i := range s.levels {
		w := s.levels[i].touch(n / 64)
		was := *w
		*w |= 1 << (n % 64)
		if was != 0 {
			return
		}
		n /= 64
	}
}

// remove reports whether n was in the set.
func (s *set) remove(n uint64) bool {
	if !s.has(n) {
		return false
	}
	s.count--
	for i := range s.levels {
		w := s.levels[i].touch(n / 64)
		*w &^= 1 << (n % 64)
		if *w != 0 {
			break
		}
		s.levels[i].shrink(n / 64)
		n /= 64
	}
	return true
}

// lowest returns the lowest number of a set that is not empty.
func (s *set) lowest() (n uint64) {
	for i := len(s.levels) - 1; i >= 0; i-- {
		n = n*64 + uint64(bits.TrailingZeros64(s.levels[i].word(n)))
	}
	return n
}

// all calls yield with each number in the set, in order, until it returns false.
func (s *set) all(yield func(uint64) bool) bool { return s.levels[0].members(yield) }
