package ipam

import (
	"math"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// A table finds entries by owner, or by value if byValue. It is a hash table of
// buckets, each a line of memory: with a million entries a lookup costs what
// it reads from memory, and that is one bucket, mostly, and the entry, if there
// is one.
type table struct {
	byValue bool
	count   int
	// list has the buckets. Who has not the table's lock may look where one is.
	list atomic.Pointer[[]bucket]
}

// buckets returns a power of two of them, or none.
func (t *table) buckets() []bucket {
	if list := t.list.Load(); list != nil {
		return *list
	}
	return nil
}

// ahead has the bucket of a hash read ahead. The caller need not have the lock.
func (t *table) ahead(hash uint32) {
	if list := t.buckets(); len(list) > 0 {
		prefetch(unsafe.Pointer(bucketOf(list, hash, 0)))
	}
}

// bucketSize is how many entries a bucket has room for.
const bucketSize = 7

// A bucket has entries that belong in it, or in one before it that was full.
type bucket struct {
	// tags is a byte for each entry, some of its hash, 0 for no entry, and in
	// the highest byte how many entries are behind the bucket because it was full.
	tags    uint64
	entries [bucketSize]*entry
}

const (
	everyTag  = 0x0001_0101_0101_0101
	highBits  = everyTag << 7
	onePassed = 1 << 56
	maxPassed = math.MaxUint8
)

// places returns the bits of the places whose tag may be the given one: the
// lowest is, and of those above it mostly only what is, too.
func (b *bucket) places(tag uint8) uint64 {
	x := b.tags ^ everyTag*uint64(tag)
	return (x - everyTag) &^ x & highBits
}

// place returns the lowest place of places.
func place(places uint64) int { return bits.TrailingZeros64(places) / 8 }

func (b *bucket) passed() uint64 { return b.tags >> 56 }

// put puts an entry, or none, in a place.
func (b *bucket) put(i int, tag uint8, e *entry) {
	b.tags = b.tags&^(0xff<<(8*i)) | uint64(tag)<<(8*i)
	b.entries[i] = e
}

func (t *table) key(e *entry) string {
	if t.byValue {
		return e.value
	}
	return e.owner
}

func (t *table) hash(e *entry) uint32 {
	if t.byValue {
		return e.valueHash
	}
	return e.ownerHash
}

// bucketOf returns the bucket where a hash belongs, or the one some behind it.
// The low bits of the hash have chosen the shard.
func bucketOf(list []bucket, hash uint32, behind int) *bucket {
	return &list[(int(hash/shardCount)+behind)&(len(list)-1)]
}

// tag returns what a bucket has of a hash: the high bits.
func tag(hash uint32) uint8 { return max(1, uint8(hash>>24)) }

// find returns the bucket that has a key, nil if none has, its place there, and
// how far the bucket is behind the one where the key belongs.
func (t *table) find(hash uint32, key string) (b *bucket, i, behind int) {
	tag, list := tag(hash), t.buckets()
	for behind := range list {
		b := bucketOf(list, hash, behind)
		for places := b.places(tag); places != 0; places &= places - 1 {
			if i := place(places); b.entries[i] != nil && t.key(b.entries[i]) == key {
				return b, i, behind
			}
		}
		if b.passed() == 0 {
			break
		}
	}
	return nil, 0, 0
}

// get returns the entry of a key, or nil.
func (t *table) get(hash uint32, key string) *entry {
	if b, i, _ := t.find(hash, key); b != nil {
		return b.entries[i]
	}
	return nil
}

// set puts an entry in the place of the one with its key, which it returns.
func (t *table) set(e *entry) (old *entry) {
	if b, i, _ := t.find(t.hash(e), t.key(e)); b != nil {
		old, b.entries[i] = b.entries[i], e
		return old
	}
	t.add(e)
	return nil
}

// add puts in an entry whose key there is not.
func (t *table) add(e *entry) {
	if t.count >= len(t.buckets())*(bucketSize-2) {
		t.grow()
	}
	for !t.insert(t.hash(e), e) {
		t.grow()
	}
}

// insert is add for a table that is large enough; it reports whether it was.
func (t *table) insert(hash uint32, e *entry) bool {
	list := t.buckets()
	for behind := 0; ; behind++ {
		b := bucketOf(list, hash, behind)
		if free := b.places(0); free != 0 {
			b.put(place(free), tag(hash), e)
			t.count++
			return true
		}
		if b.passed() == maxPassed {
			return false
		}
		b.tags += onePassed
	}
}

func (t *table) grow() {
	for n := max(1, 2*len(t.buckets())); ; n *= 2 {
		list, ok := make([]bucket, n), true
		larger := table{byValue: t.byValue}
		larger.list.Store(&list)
		for i := range t.buckets() {
			ok = ok && larger.insertAll(&t.buckets()[i])
		}
		if ok {
			t.list.Store(&list)
			return
		}
	}
}

// insertAll inserts what a bucket has, and reports whether it could. All hashes
// are read first, as each may have to come from memory.
func (t *table) insertAll(b *bucket) bool {
	var hashes [bucketSize]uint32
	for i, e := range b.entries {
		if e != nil {
			hashes[i] = t.hash(e)
		}
	}
	for i, e := range b.entries {
		if e != nil && !t.insert(hashes[i], e) {
			return false
		}
	}
	return true
}

// remove removes the entry of a key, and returns it.
func (t *table) remove(hash uint32, key string) *entry {
	b, i, behind := t.find(hash, key)
	if b == nil {
		return nil
	}
	old := b.entries[i]
	t.clear(b, i, behind, hash)
	return old
}

// drop removes an entry, if it is there still.
func (t *table) drop(e *entry) {
	hash := t.hash(e)
	if b, i, behind := t.find(hash, t.key(e)); b != nil && b.entries[i] == e {
		t.clear(b, i, behind, hash)
	}
}

// clear empties a place that find has found.
func (t *table) clear(b *bucket, i, behind int, hash uint32) {
	list := t.buckets()
	for passed := range behind {
		bucketOf(list, hash, passed).tags -= onePassed
	}
	b.put(i, 0, nil)
	t.count--
}

// all calls f with every entry.
func (t *table) all(f func(*entry)) {
	for _, b := range t.buckets() {
		for _, e := range b.entries {
			if e != nil {
				f(e)
			}
		}
	}
}
