// Package ipamtest says what a store of leases must do, as a test.
package ipamtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// TestStore runs the contract of [ipam.Store] on stores that open returns.
// Open is called with a name; the same name again must open the same store,
// after close was called.
func TestStore(t *testing.T, open func(t *testing.T, name string) (store ipam.Store, close func())) {
	put := func(owner, value string, expect uint64) ipam.Change {
		return ipam.Change{Record: ipam.Record{Space: "s", Owner: owner, Value: value, Revision: expect + 1}, Expect: expect}
	}
	load := func(t *testing.T, s ipam.Store) map[string]ipam.Record {
		t.Helper()
		list, err := s.Load(t.Context())
		require.NoError(t, err)
		m := map[string]ipam.Record{}
		for _, r := range list {
			m[r.Space+"|"+r.Owner] = r
		}
		require.Len(t, m, len(list), "no record twice")
		return m
	}
	t.Run("records last", func(t *testing.T) {
		s, done := open(t, "last")
		until := time.Unix(1_700_000_000, 0).UTC()
		c := put("a", "1", 0)
		c.Record.Until = until
		require.NoError(t, s.Commit(t.Context(), []ipam.Change{c, put("b", "2", 0)}))
		require.NoError(t, s.Commit(t.Context(), []ipam.Change{put("b", "3", 1)}))
		want := load(t, s)
		done()
		s, done = open(t, "last")
		defer done()
		require.Equal(t, want, load(t, s))
		require.Equal(t, "3", want["s|b"].Value)
		require.True(t, until.Equal(want["s|a"].Until))
	})
	t.Run("all or nothing", func(t *testing.T) {
		s, done := open(t, "atomic")
		defer done()
		require.NoError(t, s.Commit(t.Context(), []ipam.Change{put("a", "1", 0)}))
		err := s.Commit(t.Context(), []ipam.Change{put("b", "2", 0), put("a", "9", 0)})
		require.ErrorIs(t, err, ipam.ErrConflict)
		require.Equal(t, "1", load(t, s)["s|a"].Value)
		require.Len(t, load(t, s), 1)
		require.NoError(t, s.Commit(t.Context(), []ipam.Change{{Record: ipam.Record{Space: "s", Owner: "a"}, Delete: true, Expect: 1}}))
		require.Empty(t, load(t, s))
		err = s.Commit(t.Context(), []ipam.Change{{Record: ipam.Record{Space: "s", Owner: "a"}, Delete: true, Expect: 1}})
		require.ErrorIs(t, err, ipam.ErrConflict)
	})
	t.Run("space and owner are one key each", func(t *testing.T) {
		s, done := open(t, "keys")
		defer done()
		for _, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"1:a", "b"}, {"", "1:ab"}} {
			require.NoError(t, s.Commit(t.Context(), []ipam.Change{{Record: ipam.Record{Space: k[0], Owner: k[1], Value: "v", Revision: 1}}}))
		}
		require.Len(t, load(t, s), 4)
	})
	t.Run("one of many writers wins", func(t *testing.T) {
		s, done := open(t, "race")
		defer done()
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := map[string]int{}
		for w := range 16 {
			wg.Go(func() {
				for i := range 8 {
					owner := fmt.Sprint("o", i)
					if s.Commit(context.Background(), []ipam.Change{put(owner, fmt.Sprint(w), 0)}) == nil {
						mu.Lock()
						won[owner]++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for i := range 8 {
			require.Equal(t, 1, won[fmt.Sprint("o", i)])
		}
	})
	t.Run("an ended context", func(t *testing.T) {
		s, done := open(t, "context")
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s.Commit(ctx, []ipam.Change{put("a", "1", 0)}) != nil {
			require.Empty(t, load(t, s))
		}
	})
}
