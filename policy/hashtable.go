package policy

import "iter"

// A hashtable holds values by hashes. Several values may have one hash: whoever
// looks for one says which it is. It does not change under a loop over it. The
// zero value is empty.
type hashtable[T any] struct {
	cells []cell[T] // a power of two, with a free one
	n     int
}

// A cell is free if it has no value. A value is in the first cell from where its
// hash says, round the end, that was free.
type cell[T any] struct {
	hash  uint64
	value *T
}

const minCells = 16

// get returns the value with a hash that is the one, nil if none is.
func (t *hashtable[T]) get(hash uint64, is func(*T) bool) *T {
	if t.n == 0 {
		return nil
	}
	mask := uint64(len(t.cells) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		c := &t.cells[i]
		if c.value == nil || c.hash == hash && is(c.value) {
			return c.value
		}
	}
}

// add adds a value that is not there.
func (t *hashtable[T]) add(hash uint64, v *T) {
	if 4*t.n >= 3*len(t.cells) {
		old := t.cells
		t.cells = make([]cell[T], max(2*len(old), minCells))
		for _, c := range old {
			if c.value != nil {
				t.put(c)
			}
		}
	}
	t.put(cell[T]{hash, v})
	t.n++
}

func (t *hashtable[T]) put(c cell[T]) {
	mask := uint64(len(t.cells) - 1)
	i := c.hash & mask
	for t.cells[i].value != nil {
		i = (i + 1) & mask
	}
	t.cells[i] = c
}

// remove removes a value; it need not be there.
func (t *hashtable[T]) remove(hash uint64, v *T) {
	if t.n == 0 {
		return
	}
	mask := uint64(len(t.cells) - 1)
	i := hash & mask
	for ; t.cells[i].value != v; i = (i + 1) & mask {
		if t.cells[i].value == nil {
			return
		}
	}
	// What follows without a gap comes nearer to where it wants to be.
	for j := (i + 1) & mask; t.cells[j].value != nil; j = (j + 1) & mask {
		if wants := t.cells[j].hash & mask; (j-wants)&mask >= (j-i)&mask {
			t.cells[i] = t.cells[j]
			i = j
		}
	}
	t.cells[i] = cell[T]{}
	t.n--
}

// all are the values in no order.
func (t *hashtable[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range t.cells {
			if v := t.cells[i].value; v != nil && !yield(v) {
				return
			}
		}
	}
}
