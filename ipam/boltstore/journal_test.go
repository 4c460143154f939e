package boltstore_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

// A crashed store is what is left of one whose process died.
type crashed struct {
	db, journal []byte
	// before is the journal before the first of these commits, whose batches
	// the database has.
	before []byte
	// states are the records after each commit that is in the journal alone,
	// from before the first, and sizes where its last batch ended.
	states [][]ipam.Record
	sizes  []int
}

// crash makes a store that has records in its database and others in its
// journal, of commits of random changes, and stops it.
func crash(t *testing.T, seed uint64, commits int) (c crashed) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	file := filepath.Join(t.TempDir(), "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	for store.JournalEnd() < 4<<10 {
		require.NoError(t, store.Commit(t.Context(), randomChanges(rng, contents(t, store))))
	}
	require.NoError(t, store.Move())
	c.before = read(t, file+".journal")
	for n := 0; ; n++ {
		c.states = append(c.states, contents(t, store))
		c.sizes = append(c.sizes, store.JournalEnd())
		if n == commits {
			break
		}
		changes := randomChanges(rng, c.states[n])
		require.NoError(t, store.Commit(t.Context(), changes[:min(len(changes), 4)]))
	}
	require.NoError(t, store.Crash())
	c.db, c.journal = read(t, file), read(t, file+".journal")
	return c
}

// lay writes a database and its journal, none for nil.
func lay(t *testing.T, file string, db, journal []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, db, 0o600))
	if journal == nil {
		require.NoError(t, os.RemoveAll(file+".journal"))
		return
	}
	require.NoError(t, os.WriteFile(file+".journal", journal, 0o600))
}

// whole returns how many commits a journal that was cut still has.
func (c *crashed) whole(journal []byte) (n int) {
	for n+1 < len(c.sizes) && bytes.HasPrefix(journal, c.journal[:c.sizes[n+1]]) {
		n++
	}
	return n
}

// TestCutJournal cuts the journal at every byte, so that it ends there or goes
// on with what was there before, zeros or batches that the database has: what is
// whole of it counts, and what comes after is written as if the rest had never
// been.
func TestCutJournal(t *testing.T) {
	c := crash(t, 1, 3)
	file := filepath.Join(t.TempDir(), "leases.db")
	for cut := c.sizes[0]; cut <= c.sizes[3]+1; cut++ {
		for _, rest := range [][]byte{nil, make([]byte, 5000), c.before[cut:]} {
			journal := append(slices.Clone(c.journal[:cut]), rest...)
			lay(t, file, c.db, journal)
			store, err := boltstore.Open(file)
			require.NoError(t, err, "cut at %d", cut)
			got, whole := contents(t, store), c.whole(journal)
			require.True(t, slices.EqualFunc(c.states[whole], got, sameRecord), "cut at %d: not what commit %d left", cut, whole)
			if cut%16 == 0 {
				require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "next", Owner: "next"}}}))
				got = contents(t, store)
				require.NoError(t, store.Crash())
				store, err = boltstore.Open(file)
				require.NoError(t, err, "cut at %d, again", cut)
				require.True(t, slices.EqualFunc(got, contents(t, store), sameRecord), "cut at %d, again", cut)
			}
			require.NoError(t, store.Crash())
		}
	}
}

// TestZeroTail has a batch that is long enough on the disk, but not there.
func TestZeroTail(t *testing.T) {
	c := crash(t, 2, 2)
	file := filepath.Join(t.TempDir(), "leases.db")
	lay(t, file, c.db, append(slices.Clone(c.journal[:c.sizes[2]]), make([]byte, 10_000)...))
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	defer store.Close()
	require.True(t, slices.EqualFunc(c.states[2], contents(t, store), sameRecord))
}

// TestDamagedJournal turns each bit that is not of the last batch: that is
// never taken for a crash.
func TestDamagedJournal(t *testing.T) {
	c := crash(t, 3, 4)
	file := filepath.Join(t.TempDir(), "leases.db")
	last := c.sizes[len(c.sizes)-2]
	for at := range last {
		bad := slices.Clone(c.journal)
		bad[at] ^= 1 << (at % 8)
		lay(t, file, c.db, bad)
		_, err := boltstore.Open(file)
		require.ErrorContains(t, err, "leases.db.journal: damaged", "byte %d", at)
	}
}

// TestMoveTwice opens a database that has all of its journal, or a part: the
// process died before the journal was cleared.
func TestMoveTwice(t *testing.T) {
	c := crash(t, 4, 5)
	file := filepath.Join(t.TempDir(), "leases.db")
	for part := range c.sizes {
		lay(t, file, c.db, c.journal[:c.sizes[part]])
		store, err := boltstore.Open(file)
		require.NoError(t, err)
		require.NoError(t, store.Move())
		require.NoError(t, store.Crash())
		require.NoError(t, os.WriteFile(file+".journal", c.journal, 0o600))
		store, err = boltstore.Open(file)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(c.states[5], contents(t, store), sameRecord), "%d were moved", part)
		require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "next", Owner: "next"}}}))
		want := contents(t, store)
		require.NoError(t, store.Close())
		require.NoFileExists(t, file+".journal")
		store, err = boltstore.Open(file)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(want, contents(t, store), sameRecord))
		require.NoError(t, store.Close())
	}
}

// TestWrongJournal has a journal that is not the one of the database as it is.
func TestWrongJournal(t *testing.T) {
	c, other := crash(t, 5, 3), crash(t, 6, 3)
	dir := t.TempDir()
	file := filepath.Join(dir, "leases.db")
	lay(t, file, c.db, c.journal)
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	require.NoError(t, store.Move())
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "next", Owner: "next"}}}))
	require.NoError(t, store.Crash())
	later, laterJournal := read(t, file), read(t, file+".journal")
	store, err = boltstore.Open(file)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	closed := read(t, file)
	for _, w := range []struct {
		name        string
		db, journal []byte
		want        string
	}{
		{"missing", c.db, nil, "the journal that has the last leases: stat"},
		{"empty", c.db, []byte{}, "damaged, or of another database"},
		{"of another database", c.db, other.journal, "damaged, or of another database"},
		{"the database is an old copy", c.db, laterJournal, "it has batches 7 to 7 and the database those up to 3"},
		{"the journal is an old copy", later, c.journal[:c.sizes[2]], "it has batches 4 to 5 and the database those up to 6"},
		{"of a database that was closed", closed, c.journal, "has leases of another database, or of a later state"},
		{"not a journal", closed, []byte("#!/bin/sh\necho this is something else altogether"), "has leases of another database"},
	} {
		lay(t, file, w.db, w.journal)
		_, err := boltstore.Open(file)
		require.ErrorContains(t, err, w.want, w.name)
		require.ErrorContains(t, err, "leases.db", w.name)
		if w.journal == nil {
			require.NoFileExists(t, file+".journal")
		} else {
			require.Equal(t, w.journal, read(t, file+".journal"), "%s: it is left as it was", w.name)
		}
	}
}

// TestTornAfterMove cuts the power while the first batch after a move is
// written over what was moved: of the sectors that change only one reaches the disk.
func TestTornAfterMove(t *testing.T) {
	file, torn := filepath.Join(t.TempDir(), "leases.db"), filepath.Join(t.TempDir(), "torn.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	one := func(i int) ipam.Change {
		return ipam.Change{After: ipam.Record{Space: "pods", Value: fmt.Sprint("10.0.0.", i), Owner: fmt.Sprint("pod-", i)}}
	}
	for i := range 100 {
		require.NoError(t, store.Commit(t.Context(), []ipam.Change{one(i)}))
	}
	require.NoError(t, store.Move())
	want := contents(t, store)
	db, before := read(t, file), read(t, file+".journal")
	var many []ipam.Change
	for i := range 100 {
		many = append(many, one(1000+i))
	}
	require.NoError(t, store.Commit(t.Context(), many))
	after := read(t, file+".journal")
	require.NoError(t, store.Crash())
	const sector = 512
	changed := 0
	for at := 0; at < len(after); at += sector {
		end := min(at+sector, len(after))
		if end <= len(before) && bytes.Equal(before[at:end], after[at:end]) {
			continue
		}
		changed++
		journal := append(slices.Clone(before), make([]byte, max(0, end-len(before)))...)
		copy(journal[at:end], after[at:end])
		lay(t, torn, db, journal)
		store, err := boltstore.Open(torn)
		require.NoError(t, err, "sector %d", at/sector)
		require.True(t, slices.EqualFunc(want, contents(t, store), sameRecord))
		require.NoError(t, store.Crash())
	}
	require.Greater(t, changed, 5)
}

// TestCutClosing has a process that died when the database no longer names the
// journal, which is there still.
func TestCutClosing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "1", Owner: "a"}}}))
	require.NoError(t, store.Move())
	moved := read(t, file+".journal")
	require.NoError(t, store.Close())
	require.NoError(t, os.WriteFile(file+".journal", moved, 0o600))
	store, err = boltstore.Open(file)
	require.NoError(t, err)
	require.Len(t, contents(t, store), 1)
	require.NoError(t, store.Close())
}

// TestCloseWhileRead closes while records are read by somebody who then asks for more.
func TestCloseWhileRead(t *testing.T) {
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "leases.db"))
	require.NoError(t, err)
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "1", Owner: "a"}}}))
	closed := make(chan error)
	_, err = store.Load(t.Context(), "", func(ipam.Record) error {
		go func() { closed <- store.Close() }()
		for { // until it closes
			if _, err := store.Find(t.Context(), "s", "a"); err != nil {
				return err
			}
		}
	})
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, <-closed)
}

// TestCutMaking has a process that died while it made a journal, or removed it.
func TestCutMaking(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	head := read(t, file+".journal")
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "1", Owner: "a"}}}))
	require.NoError(t, store.Close())
	db := read(t, file)
	for cut := range len(head) + 1 {
		for _, journal := range [][]byte{head[:cut], make([]byte, cut), append(slices.Clone(head), make([]byte, cut)...)} {
			lay(t, file, db, journal)
			store, err := boltstore.Open(file)
			require.NoError(t, err, "%q", journal)
			require.Len(t, contents(t, store), 1)
			require.NoError(t, store.Crash())
		}
	}
}

// TestMoveBeside has many writers while the journal is moved again and again,
// and readers who see what was committed.
func TestMoveBeside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	store.MoveAt(4 << 10)
	const each = 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var had ipam.Record
			for i := range each {
				next := []ipam.Change{{After: ipam.Record{Space: "s", Value: fmt.Sprint(w, "-", i), Owner: fmt.Sprint(w)}}}
				if i > 0 {
					next = append(next, ipam.Change{Before: had})
				}
				if err := store.Commit(t.Context(), next); err != nil {
					t.Error(err)
					return
				}
				had = next[0].After
				if i%8 != 0 {
					continue
				}
				found, err := store.Find(t.Context(), "s", had.Owner)
				if err != nil || len(found) != 1 || !sameRecord(found[0], had) {
					t.Error(had, found, err)
				}
			}
		})
	}
	wg.Wait()
	want := contents(t, store)
	require.Len(t, want, writers)
	for _, r := range want {
		require.True(t, strings.HasSuffix(r.Value, fmt.Sprint("-", each-1)), r.Value)
	}
	require.NoError(t, store.Crash())
	store, err = boltstore.Open(file)
	require.NoError(t, err)
	require.True(t, slices.EqualFunc(want, contents(t, store), sameRecord))
	require.NoError(t, store.Close())
	require.ErrorIs(t, store.Commit(t.Context(), []ipam.Change{{After: want[0]}}), os.ErrClosed)
	require.NoError(t, store.Close(), "twice is no error")
}

// TestFullJournal fills the disk with the journal alone: a commit that has no
// room did not happen, then and after a crash.
func TestFullJournal(t *testing.T) {
	dir := smallDisk(t, "1m")
	file, filler := filepath.Join(dir, "leases.db"), filepath.Join(dir, "filler")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filler, bytes.Repeat([]byte{1}, 700<<10), 0o600))
	var last error
	var want []ipam.Record
	owner := strings.Repeat("x", 1000)
	for i := 0; last == nil; i++ {
		require.Less(t, i, 200, "the disk never ran full")
		want = contents(t, store)
		var ten []ipam.Change
		for n := range 10 {
			ten = append(ten, ipam.Change{After: ipam.Record{Space: "s", Value: fmt.Sprint(i, "-", n), Owner: fmt.Sprint(i, n, owner)}})
		}
		last = store.Commit(t.Context(), ten)
	}
	require.ErrorContains(t, last, "no space left on device")
	require.NotEmpty(t, want)
	require.True(t, slices.EqualFunc(want, contents(t, store), sameRecord))
	require.NoError(t, store.Crash())
	store, err = boltstore.Open(file)
	require.NoError(t, err, "a full disk can be opened and read")
	require.True(t, slices.EqualFunc(want, contents(t, store), sameRecord))
	require.ErrorContains(t, store.Close(), "no space left on device")
	store, err = boltstore.Open(file)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filler))
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "next", Owner: "next"}}}))
	require.Len(t, contents(t, store), len(want)+1)
	require.NoError(t, store.Close())
}
