package boltstore

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tierloom/tierloom/ipam"
)

func FuzzDecode(f *testing.F) {
	at := time.Unix(1_700_000_000, 7).UTC()
	f.Add(key("pods", "10.0.0.1"), encode(nil, &ipam.Record{Owner: "a/b", Since: at, Revision: 300, Generation: 9}))
	f.Add(key("", ""), encode(nil, &ipam.Record{
		Owner: "a", Released: at, Until: at, Contested: []string{"b", ""}, Unacknowledged: true, Pinned: true, Suspect: true,
	}))
	f.Add([]byte{1}, []byte{version, flagUntil})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		rec, err := decode(k, v)
		if err != nil {
			return
		}
		again, err := decode(key(rec.Space, rec.Value), encode(nil, &rec))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rec, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
