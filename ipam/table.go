package ipam

import "hash/maphash"

// A table finds entries by owner or by value, as K says. It is a hash table
// with linear probing: with a million entries a lookup costs what it reads
// from memory, and here that is one line of slots and the entry, where a map
// reads several. The seed must be set first.
type table[K keyed] struct {
	seed  maphash.Seed
	slots []slot // a power of two, or none
	count int
}

// keyed says what entries are found by.
type keyed interface{ key(*entry) string }

type byOwner struct{}
type byValue struct{}

func (byOwner) key(e *entry) string { return e.owner }
func (byValue) key(e *entry) string { return e.value }

// A slot has an entry and the hash of its key, or no entry.
type slot struct {
	hash uint64
	e    *entry
}

// home is where a hash belongs. Its low bits choose the shard.
func (t *table[K]) home(hash uint64) int { return int(hash/shardCount) & (len(t.slots) - 1) }

// find returns the place of a key, or the empty one where it would be.
func (t *table[K]) find(hash uint64, key string) int {
	var k K
	i := t.home(hash)
	for ; t.slots[i].e != nil; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].hash == hash && k.key(t.slots[i].e) == key {
			break
		}
	}
	return i
}

// get returns the entry of a key, or nil.
func (t *table[K]) get(key string) *entry {
	if t.count == 0 {
		return nil
	}
	return t.slots[t.find(maphash.String(t.seed, key), key)].e
}

// set puts an entry in the place of the one with its key, which it returns.
func (t *table[K]) set(e *entry) (old *entry) {
	if 4*t.count >= 3*len(t.slots) {
		t.grow()
	}
	var k K
	hash := maphash.String(t.seed, k.key(e))
	i := t.find(hash, k.key(e))
	if old = t.slots[i].e; old == nil {
		t.count++
	}
	t.slots[i] = slot{hash, e}
	return old
}

func (t *table[K]) grow() {
	old := t.slots
	t.slots = make([]slot, max(8, 2*len(old)))
	for _, s := range old {
		if s.e == nil {
			continue
		}
		i := t.home(s.hash)
		for t.slots[i].e != nil {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = s
	}
}

// remove removes the entry of a key, and returns it.
func (t *table[K]) remove(key string) *entry {
	if t.count == 0 {
		return nil
	}
	i := t.find(maphash.String(t.seed, key), key)
	old := t.slots[i].e
	if old == nil {
		return nil
	}
	t.count--
	// What follows moves up, unless it would be before its home then.
	for j := (i + 1) & (len(t.slots) - 1); t.slots[j].e != nil; j = (j + 1) & (len(t.slots) - 1) {
		mask := len(t.slots) - 1
		if home := t.home(t.slots[j].hash); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = slot{}
	return old
}

// all calls f with every entry.
func (t *table[K]) all(f func(*entry)) {
	for _, s := range t.slots {
		if s.e != nil {
			f(s.e)
		}
	}
}
