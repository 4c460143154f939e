package boltstore

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzJournal reads what is behind a head, and what is in a batch: what is
// taken is the same when it is written again.
func FuzzJournal(f *testing.F) {
	id := identity{1, 2, 3}
	var raw []byte
	for n := uint64(1); n < 4; n++ {
		b := newBatch(0)
		b.number, b.revision = n, 10*n
		b.put([]byte("k"), []byte("v"))
		b.put([]byte("gone"), nil)
		b.seal(id)
		raw = append(raw, b.raw...)
		f.Add(raw)
		f.Add(b.body())
	}
	f.Add(raw[:len(raw)-1])
	f.Add(raw[1:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		whole := append(id.head(), raw...)
		if list, end, err := parse(slices.Clone(whole), id, 0); err == nil {
			again := id.head()
			for _, b := range list {
				clear(b.raw[:batchHead])
				b.seal(id)
				again = append(again, b.raw...)
			}
			if !bytes.Equal(again, whole[:end]) {
				t.Fatalf("%x, was %x", again, whole[:end])
			}
		}
		b := batch{number: 1, raw: append(make([]byte, batchHead), raw...)}
		again := newBatch(0)
		read := func(b batch) (list [][]byte, err error) {
			err = b.each(func(k, v []byte) { list = append(list, k, v) })
			return list, err
		}
		first, err := read(b)
		if err != nil {
			return
		}
		for i := 0; i < len(first); i += 2 {
			again.put(first[i], first[i+1])
		}
		second, err := read(again)
		if diff := cmp.Diff(first, second); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	})
}
