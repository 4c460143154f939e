package boltstore

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// TestFailedRound has a round that fails while others are staged on top of it:
// all of them fail, and it is as if nobody had called.
func TestFailedRound(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "leases.db"))
	require.NoError(t, err)
	defer s.Close()
	commit := func(c ipam.Change) (ipam.Record, error) {
		err := s.Commit(t.Context(), []ipam.Change{c})
		return c.After, err
	}
	_, err = commit(ipam.Change{After: ipam.Record{Space: "s", Value: "1", Owner: "a"}})
	require.NoError(t, err)
	found, err := s.Find(t.Context(), "s", "a")
	require.NoError(t, err)
	counts, recent := s.counts.used, s.recent.count

	s.writing.Lock() // nobody gathers
	failed := make(chan error, 3)
	begin := func(c ipam.Change, calls int) {
		go func() { failed <- s.Commit(t.Context(), []ipam.Change{c}) }()
		for {
			s.turn.Lock()
			there := s.next != nil && s.next.calls == calls
			s.turn.Unlock()
			if there {
				return
			}
			runtime.Gosched()
		}
	}
	moved := ipam.Record{Space: "s", Value: "1", Owner: "b"}
	begin(ipam.Change{Before: found[0], After: moved}, 1)
	s.turn.Lock()
	first := s.next
	s.next = nil // it waits for the disk
	moved.Revision = s.given
	s.turn.Unlock()
	begin(ipam.Change{Before: moved}, 1)
	begin(ipam.Change{After: ipam.Record{Space: "s", Value: "1", Owner: "c"}}, 2)
	cause := errors.New("the disk is gone")
	s.turn.Lock()
	s.failLocked(first, cause)
	s.turn.Unlock()
	s.writing.Unlock()
	for range 3 {
		require.ErrorIs(t, <-failed, cause)
	}

	require.Equal(t, counts, s.counts.used)
	require.Equal(t, recent, s.recent.count)
	again, err := s.Find(t.Context(), "s", "", "1")
	require.NoError(t, err)
	require.Equal(t, found, again)
	_, err = commit(ipam.Change{Before: moved})
	require.ErrorIs(t, err, ipam.ErrConflict)
	_, err = commit(ipam.Change{Before: found[0], After: moved})
	require.NoError(t, err)
}
