package boltstore

import (
	"bytes"
	"cmp"
	"slices"
)

// An edit is what was made of one record: its key, and what there is of it now
// as it is encoded, nothing if it was deleted.
type edit struct {
	key, record []byte
	hash        uint64 // of the key
	before      int    // the place of the edit before with this hash, or -1
}

// blockSize is how many edits are kept together: none is copied when there are more.
const blockSize = 512

// edits are what was made of records, in order. Those that are there do not
// change, so that who has some of the first may read them while others are put.
type edits struct {
	blocks []*[blockSize]edit
	count  int
	last   map[uint64]int // the place of the last edit with a hash
}

func newEdits() *edits { return &edits{last: map[uint64]int{}} }

func (e *edits) at(i int) *edit { return &e.blocks[i/blockSize][i%blockSize] }

func (e *edits) put(hash uint64, key, record []byte) {
	before, ok := e.last[hash]
	if !ok {
		before = -1
	}
	e.last[hash] = e.count
	if e.count == len(e.blocks)*blockSize {
		e.blocks = append(e.blocks, new([blockSize]edit))
	}
	*e.at(e.count) = edit{key, record, hash, before}
	e.count++
}

// putAll puts what others has from a place on.
func (e *edits) putAll(others *edits, from int) {
	for i := from; i < others.count; i++ {
		one := others.at(i)
		e.put(one.hash, one.key, one.record)
	}
}

// get returns what the last edit of a key made, if there is one.
func (e *edits) get(hash uint64, key []byte) (record []byte, ok bool) {
	at, ok := e.last[hash]
	for ok && !bytes.Equal(e.at(at).key, key) {
		at = e.at(at).before
		ok = at >= 0
	}
	if !ok {
		return nil, false
	}
	return e.at(at).record, true
}

// first returns the first n, for reading while others are put.
func (e *edits) first(n int) edits { return edits{blocks: e.blocks, count: n} }

// cut takes back all but the first n.
func (e *edits) cut(n int) {
	for e.count > n {
		e.count--
		last := e.at(e.count)
		if last.before >= 0 {
			e.last[last.hash] = last.before
		} else {
			delete(e.last, last.hash)
		}
		*last = edit{}
	}
}

// latest returns the last edit of each key, by key.
func (e *edits) latest() []*edit {
	places := make([]int, e.count)
	for i := range places {
		places[i] = i
	}
	key := func(i int) []byte { return e.at(i).key }
	slices.SortFunc(places, func(a, b int) int { return cmp.Or(bytes.Compare(key(a), key(b)), b-a) })
	places = slices.CompactFunc(places, func(a, b int) bool { return bytes.Equal(key(a), key(b)) })
	list := make([]*edit, len(places))
	for i, at := range places {
		list[i] = e.at(at)
	}
	return list
}
