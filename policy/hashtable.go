package policy

import "iter"

// A hashtable holds values by hashes. Several values may have one hash: whoever
// looks for one says which it is. It does not change under a loop over it. The
// zero value is empty.
//
// The values are in a list, where those that came together are together in
// memory; the table is of places in that list, and small.
type hashtable[T any] struct {
	// slots are a power of two, some of them free, which is 0. In the low bits, as
	// many as it takes to number the slots, is a place in the list, plus one; in
	// the others are those of the upper half of the value's hash. A value has the
	// first slot that was free from where the lower half says, round the end.
	slots []uint32
	cells []*[chunkSize]cell[T]
	n     int
}

type cell[T any] struct {
	hash  uint64
	value *T
}

const (
	minSlots  = 16
	chunkSize = 128
)

func (t *hashtable[T]) cell(place uint32) *cell[T] {
	return &t.cells[place/chunkSize][place%chunkSize]
}

// find returns the slot of a value with a hash that is the one, and its cell,
// nil if there is none.
func (t *hashtable[T]) find(hash uint64, is func(*T) bool) (slot uint32, c *cell[T]) {
	if t.n == 0 {
		return 0, nil
	}
	mask := uint32(len(t.slots) - 1)
	for i := uint32(hash) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if s := t.slots[i]; (s^uint32(hash>>32))&^mask == 0 {
			if c := t.cell(s&mask - 1); c.hash == hash && is(c.value) {
				return i, c
			}
		}
	}
	return 0, nil
}

// ahead reads where a hash belongs, before it is looked up: what does not depend
// on each other comes from memory at once.
func (t *hashtable[T]) ahead(hash uint64) (slot uint32) {
	if len(t.slots) > 0 {
		slot = t.slots[uint32(hash)&uint32(len(t.slots)-1)]
	}
	return slot
}

// get returns the value with a hash that is the one, nil if none is.
func (t *hashtable[T]) get(hash uint64, is func(*T) bool) *T {
	if _, c := t.find(hash, is); c != nil {
		return c.value
	}
	return nil
}

// add adds a value that is not there.
func (t *hashtable[T]) add(hash uint64, v *T) {
	if t.n == len(t.cells)*chunkSize {
		t.cells = append(t.cells, new([chunkSize]cell[T]))
	}
	*t.cell(uint32(t.n)) = cell[T]{hash, v}
	t.n++
	if 8*t.n <= 7*len(t.slots) {
		t.put(uint32(t.n - 1))
		return
	}
	t.slots = make([]uint32, max(2*len(t.slots), minSlots))
	for place := range t.n {
		t.put(uint32(place))
	}
}

// put gives a slot to what is at a place.
func (t *hashtable[T]) put(place uint32) {
	mask, hash := uint32(len(t.slots)-1), t.cell(place).hash
	i := uint32(hash) & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = uint32(hash>>32)&^mask | (place + 1)
}

// remove removes a value; it need not be there. The last takes its place in the list.
func (t *hashtable[T]) remove(hash uint64, v *T) {
	slot, c := t.find(hash, func(w *T) bool { return w == v })
	if c == nil {
		return
	}
	last := t.cell(uint32(t.n - 1))
	if c != last {
		i, _ := t.find(last.hash, func(w *T) bool { return w == last.value })
		mask := uint32(len(t.slots) - 1)
		t.slots[i] = t.slots[i]&^mask | t.slots[slot]&mask
		*c = *last
	}
	*last = cell[T]{}
	t.n--
	t.free(slot)
	if spare := len(t.cells) - 2; t.n <= spare*chunkSize {
		t.cells[spare+1] = nil
		t.cells = t.cells[:spare+1]
	}
}

// free empties a slot. What follows without a gap comes nearer to where it wants to be.
func (t *hashtable[T]) free(i uint32) {
	mask := uint32(len(t.slots) - 1)
	for j := (i + 1) & mask; t.slots[j] != 0; j = (j + 1) & mask {
		if wants := uint32(t.cell(t.slots[j]&mask-1).hash) & mask; (j-wants)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
}

// all are the values in no order.
func (t *hashtable[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for place := range t.n {
			if !yield(t.cell(uint32(place)).value) {
				return
			}
		}
	}
}
