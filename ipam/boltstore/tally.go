package boltstore

import (
	"math/bits"
	"sync/atomic"
)

// A tally counts by hash, in 8 bytes each. It is a hash table whose places have
// all of a hash but its low byte, and in that how often it is there. Hashes that
// differ in the low byte alone are counted together, and one that is there
// mostCounted times stays so.
type tally struct {
	list atomic.Pointer[places]
	used int
}

// places are a power of two of them, or none; 0 is for nothing. They are
// atomic for who reads ahead alone.
type places []atomic.Uint64

const mostCounted = 1<<8 - 1

func (t *tally) places() places {
	if list := t.list.Load(); list != nil {
		return *list
	}
	return nil
}

// home is where a hash belongs, if those between are taken behind that.
func (p places) home(hash uint64) int {
	return int(hash >> (64 - bits.Len(uint(len(p)-1))))
}

func (p places) next(i int) int { return (i + 1) & (len(p) - 1) }

// find returns the place of a hash, or the one where it is to be put.
func (p places) find(hash uint64) int {
	i := p.home(hash)
	for have := p[i].Load(); have != 0 && (have^hash)>>8 != 0; have = p[i].Load() {
		i = p.next(i)
	}
	return i
}

// ahead reads where a hash belongs, so that it need not come from memory when it
// is counted. The caller may be another than who counts.
func (t *tally) ahead(hash uint64) {
	if p := t.places(); len(p) > 0 {
		p[p.home(hash)].Load()
	}
}

// of returns how often a hash is there.
func (t *tally) of(hash uint64) int {
	if t.used == 0 {
		return 0
	}
	p := t.places()
	return int(p[p.find(hash)].Load() & mostCounted)
}

// add counts a hash once more, and returns how often it is there then.
func (t *tally) add(hash uint64) int {
	if 3*t.used >= 2*len(t.places()) {
		t.grow()
	}
	p := t.places()
	i := p.find(hash)
	n := p[i].Load() & mostCounted
	if n == 0 {
		t.used++
	}
	n = min(n+1, mostCounted)
	p[i].Store(hash&^mostCounted | n)
	return int(n)
}

// remove counts a hash that is there once less.
func (t *tally) remove(hash uint64) {
	p := t.places()
	i := p.find(hash)
	switch have := p[i].Load(); have & mostCounted {
	case 1:
		t.empty(i)
	case mostCounted:
	default:
		p[i].Store(have - 1)
	}
}

// empty empties a place, and moves those behind it to where they are found.
func (t *tally) empty(i int) {
	t.used--
	p := t.places()
	for j := p.next(i); p[j].Load() != 0; j = p.next(j) {
		behind := p[j].Load()
		if far := (j - p.home(behind)) & (len(p) - 1); far >= (j-i)&(len(p)-1) {
			p[i].Store(behind)
			i = j
		}
	}
	p[i].Store(0)
}

func (t *tally) grow() {
	old := t.places()
	larger := make(places, max(8, 2*len(old)))
	for i := range old {
		if p := old[i].Load(); p != 0 {
			larger[larger.find(p)].Store(p)
		}
	}
	t.list.Store(&larger)
}
