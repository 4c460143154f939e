package boltstore

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// An edit is what was made of one record: its key, and what there is of it now
// as it is encoded, nothing if it was deleted.
type edit struct {
	key, record []byte
	hash        uint64 // of the key
	before      int32  // the place of the edit before in the chain, or -1
}

// blockSize is how many edits are kept together: none is copied when there are more.
const blockSize = 512

// edits are what was made of records, in order. Those that are there do not
// change, so that who has some of the first may read them while others are put.
type edits struct {
	blocks []*[blockSize]edit
	count  int
	// chains is a hash table of the first edits, and of all once get is called: the
	// place of the last edit of each chain, or -1.
	chains  []int32 // a power of two of them, or none
	chained int
}

func (e *edits) at(i int) *edit { return &e.blocks[i/blockSize][i%blockSize] }

func (e *edits) chain(hash uint64) *int32 { return &e.chains[hash&uint64(len(e.chains)-1)] }

func (e *edits) put(hash uint64, key, record []byte) {
	if e.count == len(e.blocks)*blockSize {
		e.blocks = append(e.blocks, new([blockSize]edit))
	}
	*e.at(e.count) = edit{key: key, record: record, hash: hash}
	e.count++
}

// chainAll has each edit in its chain.
func (e *edits) chainAll() {
	if e.count > len(e.chains) {
		e.chains = make([]int32, max(blockSize, 1<<bits.Len(uint(e.count))))
		for i := range e.chains {
			e.chains[i] = -1
		}
		e.chained = 0
	}
	for ; e.chained < e.count; e.chained++ {
		one := e.at(e.chained)
		last := e.chain(one.hash)
		one.before, *last = *last, int32(e.chained)
	}
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
	if e.count == 0 {
		return nil, false
	}
	e.chainAll()
	for i := *e.chain(hash); i >= 0; i = e.at(int(i)).before {
		if one := e.at(int(i)); one.hash == hash && bytes.Equal(one.key, key) {
			return one.record, true
		}
	}
	return nil, false
}

// first returns the first n, for reading while others are put.
func (e *edits) first(n int) edits { return edits{blocks: e.blocks, count: n} }

// cut takes back all but the first n.
func (e *edits) cut(n int) {
	for e.count > n {
		e.count--
		last := e.at(e.count)
		if e.chained > e.count {
			e.chained--
			*e.chain(last.hash) = last.before
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
