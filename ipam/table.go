package ipam

// A table finds entries by owner or by value, as K says. It is a hash table
// with linear probing. With a million entries a lookup costs what it reads from
// memory: here that is one slot, mostly, and the entry, if there is one.
type table[K keyed] struct {
	slots []slot // a power of two of them, or none
	count int
}

// A slot has an entry and the hash of its key, or nil.
type slot struct {
	hash  uint32
	entry *entry
}

// keyed says what entries are found by.
type keyed interface {
	key(*entry) string
	hash(*entry) uint32
}

type byOwner struct{}
type byValue struct{}

func (byOwner) key(e *entry) string  { return e.owner }
func (byOwner) hash(e *entry) uint32 { return e.ownerHash }
func (byValue) key(e *entry) string  { return e.value }
func (byValue) hash(e *entry) uint32 { return e.valueHash }

// home is where a hash belongs. Its low bits have chosen the shard.
func (t *table[K]) home(hash uint32) int { return int(hash/shardCount) & (len(t.slots) - 1) }

// find returns the place of a key, or the empty one where it would be.
func (t *table[K]) find(hash uint32, key string) int {
	var k K
	i := t.home(hash)
	for s := &t.slots[i]; s.entry != nil; s = &t.slots[i] {
		if s.hash == hash && k.key(s.entry) == key {
			break
		}
		i = (i + 1) & (len(t.slots) - 1)
	}
	return i
}

// get returns the entry of a key, or nil.
func (t *table[K]) get(hash uint32, key string) *entry {
	if t.count == 0 {
		return nil
	}
	return t.slots[t.find(hash, key)].entry
}

// set puts an entry in the place of the one with its key, which it returns.
func (t *table[K]) set(e *entry) (old *entry) {
	if 8*t.count >= 5*len(t.slots) { // values lie in heaps of four, which soon run into each other
		t.grow()
	}
	var k K
	hash := k.hash(e)
	s := &t.slots[t.find(hash, k.key(e))]
	if old = s.entry; old == nil {
		t.count++
	}
	*s = slot{hash, e}
	return old
}

func (t *table[K]) grow() {
	slots := t.slots
	n := max(8, 2*len(slots))
	t.slots = make([]slot, n)
	for _, s := range slots {
		if s.entry == nil {
			continue
		}
		i := t.home(s.hash)
		for t.slots[i].entry != nil {
			i = (i + 1) & (n - 1)
		}
		t.slots[i] = s
	}
}

// remove removes the entry of a key, and returns it.
func (t *table[K]) remove(hash uint32, key string) *entry {
	if t.count == 0 {
		return nil
	}
	i := t.find(hash, key)
	old := t.slots[i].entry
	if old == nil {
		return nil
	}
	t.count--
	// What follows moves up, unless it would be before its home then.
	mask := len(t.slots) - 1
	for j := (i + 1) & mask; t.slots[j].entry != nil; j = (j + 1) & mask {
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
		if s.entry != nil {
			f(s.entry)
		}
	}
}
