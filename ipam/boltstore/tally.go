package boltstore

import "math/bits"

// A tally counts by hash, in 8 bytes each. It is a hash table whose places have
// all of a hash but its low byte, and in that how often it is there. Hashes that
// differ in the low byte alone are counted together, and one that is there
// mostCounted times stays so.
type tally struct {
	places []uint64 // a power of two of them, or none; 0 for nothing
	used   int
}

const mostCounted = 1<<8 - 1

// home is where a hash belongs, if those between are taken behind that.
func (t *tally) home(hash uint64) int {
	return int(hash >> (64 - bits.Len(uint(len(t.places)-1))))
}

func (t *tally) next(i int) int { return (i + 1) & (len(t.places) - 1) }

// find returns the place of a hash, or the one where it is to be put.
func (t *tally) find(hash uint64) int {
	i := t.home(hash)
	for t.places[i] != 0 && (t.places[i]^hash)>>8 != 0 {
		i = t.next(i)
	}
	return i
}

// of returns how often a hash is there.
func (t *tally) of(hash uint64) int {
	if len(t.places) == 0 {
		return 0
	}
	return int(t.places[t.find(hash)] & mostCounted)
}

// add counts a hash once more, and returns how often it is there then.
func (t *tally) add(hash uint64) int {
	if 3*t.used >= 2*len(t.places) {
		t.grow()
	}
	i := t.find(hash)
	n := t.places[i] & mostCounted
	if n == 0 {
		t.used++
	}
	n = min(n+1, mostCounted)
	t.places[i] = hash&^mostCounted | n
	return int(n)
}

// remove counts a hash that is there once less.
func (t *tally) remove(hash uint64) {
	i := t.find(hash)
	switch t.places[i] & mostCounted {
	case 1:
		t.empty(i)
	case mostCounted:
	default:
		t.places[i]--
	}
}

// empty empties a place, and moves those behind it to where they are found.
func (t *tally) empty(i int) {
	t.used--
	for j := t.next(i); t.places[j] != 0; j = t.next(j) {
		mask := len(t.places) - 1
		if far := (j - t.home(t.places[j])) & mask; far >= (j-i)&mask {
			t.places[i] = t.places[j]
			i = j
		}
	}
	t.places[i] = 0
}

func (t *tally) grow() {
	old := t.places
	t.places = make([]uint64, max(8, 2*len(old)))
	for _, p := range old {
		if p != 0 {
			t.places[t.find(p)] = p
		}
	}
}
