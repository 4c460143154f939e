package ipam

import "hash/maphash"

// A table finds entries by owner or by value, as K says. It is a hash table
// with linear probing: with a million entries a lookup costs what it reads
// from memory, and here that is one line of tags, most of which stay in the
// processor's cache, and the entry, if there is one. The seed must be set first.
type table[K keyed] struct {
	seed    maphash.Seed
	tags    []uint32 // hashes of the keys, 0 for none; a power of two of them, or none
	entries []*entry // beside the tags
	count   int
}

// keyed says what entries are found by.
type keyed interface{ key(*entry) string }

type byOwner struct{}
type byValue struct{}

func (byOwner) key(e *entry) string { return e.owner }
func (byValue) key(e *entry) string { return e.value }

// tag returns what is kept of a key's hash. The hash's low bits choose the shard.
func (t *table[K]) tag(key string) uint32 { return uint32(maphash.String(t.seed, key)>>32) | 1 }

// home is where a tag belongs.
func (t *table[K]) home(tag uint32) int { return int(tag>>1) & (len(t.tags) - 1) }

// find returns the place of a key, or the empty one where it would be.
func (t *table[K]) find(tag uint32, key string) int {
	var k K
	i := t.home(tag)
	for ; t.tags[i] != 0; i = (i + 1) & (len(t.tags) - 1) {
		if t.tags[i] == tag && k.key(t.entries[i]) == key {
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
	if i := t.find(t.tag(key), key); t.tags[i] != 0 {
		return t.entries[i]
	}
	return nil
}

// set puts an entry in the place of the one with its key, which it returns.
func (t *table[K]) set(e *entry) (old *entry) {
	if 4*t.count >= 3*len(t.tags) {
		t.grow()
	}
	var k K
	tag := t.tag(k.key(e))
	i := t.find(tag, k.key(e))
	if t.tags[i] == 0 {
		t.count++
	} else {
		old = t.entries[i]
	}
	t.tags[i], t.entries[i] = tag, e
	return old
}

func (t *table[K]) grow() {
	tags, entries := t.tags, t.entries
	n := max(8, 2*len(tags))
	t.tags, t.entries = make([]uint32, n), make([]*entry, n)
	for old, tag := range tags {
		if tag == 0 {
			continue
		}
		i := t.home(tag)
		for t.tags[i] != 0 {
			i = (i + 1) & (n - 1)
		}
		t.tags[i], t.entries[i] = tag, entries[old]
	}
}

// remove removes the entry of a key, and returns it.
func (t *table[K]) remove(key string) *entry {
	if t.count == 0 {
		return nil
	}
	i := t.find(t.tag(key), key)
	if t.tags[i] == 0 {
		return nil
	}
	old := t.entries[i]
	t.count--
	// What follows moves up, unless it would be before its home then.
	mask := len(t.tags) - 1
	for j := (i + 1) & mask; t.tags[j] != 0; j = (j + 1) & mask {
		if home := t.home(t.tags[j]); (j-home)&mask >= (j-i)&mask {
			t.tags[i], t.entries[i] = t.tags[j], t.entries[j]
			i = j
		}
	}
	t.tags[i], t.entries[i] = 0, nil
	return old
}

// all calls f with every entry.
func (t *table[K]) all(f func(*entry)) {
	for _, e := range t.entries {
		if e != nil {
			f(e)
		}
	}
}
