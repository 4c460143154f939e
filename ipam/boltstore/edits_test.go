package boltstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEdits puts and cuts at random, beside a list that is searched from its
// end. Keys share few hashes.
func TestEdits(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		e := &edits{}
		var plain [][2]string
		for step := range 300 {
			if rng.IntN(8) == 0 {
				n := rng.IntN(len(plain) + 1)
				e.cut(n)
				plain = plain[:n]
			}
			for range rng.IntN(20) {
				key, record := fmt.Sprint(rng.IntN(200)), fmt.Sprint(step)
				e.put(uint64(len(key)+int(key[0]%4)), []byte(key), []byte(record))
				plain = append(plain, [2]string{key, record})
			}
			if rng.IntN(3) == 0 {
				continue // and do not look, so that more is put, or cut, before that
			}
			want := map[string]string{}
			for _, p := range plain {
				want[p[0]] = p[1]
			}
			for n := range 200 {
				key := fmt.Sprint(n)
				record, ok := e.get(uint64(len(key)+int(key[0]%4)), []byte(key))
				if w, had := want[key]; ok != had || string(record) != w {
					t.Fatalf("seed %d: %q is %q, %v; want %q, %v", seed, key, record, ok, w, had)
				}
			}
			var keys []string
			for _, l := range e.latest() {
				keys = append(keys, string(l.key))
				if string(l.record) != want[string(l.key)] {
					t.Fatalf("seed %d: %q is %q last, want %q", seed, l.key, l.record, want[string(l.key)])
				}
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), keys); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
		}
	}
}
