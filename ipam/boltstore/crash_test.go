package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

const (
	// childEnv makes the test binary a process that leases from a file.
	childEnv = "TIERLOOM_BOLTSTORE_CHILD"
	// crashesEnv is how often TestKilled kills it.
	crashesEnv = "TIERLOOM_CRASHES"
	crashes    = 30
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		child(file)
		return
	}
	os.Exit(m.Run())
}

// writers are the goroutines of the child.
const writers = 64

// child grants and releases addresses until it is killed, and reports each
// grant once it is acknowledged, and each release before it is asked for. Each
// of its goroutines holds two at most, so that values come round again.
func child(file string) {
	store, err := boltstore.Open(file)
	if err != nil {
		panic(err)
	}
	store.MoveAt(16 << 10) // many times before it is killed
	pool, err := addresses(context.Background(), store, "10.0.0.0/23")
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex // protects the output
	say := func(words ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(words...)
	}
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			var mine []string
			for i := 0; ; i++ {
				owner := fmt.Sprintf("g%d-%d-%d", os.Getpid(), g, i)
				a, err := pool.Acquire(context.Background(), owner)
				if err != nil {
					say("failed", owner, err)
					return
				}
				say("granted", owner, a)
				if mine = append(mine, owner); len(mine) > 2 {
					say("releasing", mine[0], "-")
					_ = pool.Release(context.Background(), mine[0])
					mine = mine[1:]
				}
			}
		})
	}
	wg.Wait()
}

// A ledger is what children reported.
type ledger map[string]string // address by owner

// report takes note of a line, and returns what is wrong with it.
func (l ledger) report(line string) string {
	f := strings.Fields(line)
	switch {
	case len(f) < 3: // cut short by the kill
	case f[0] == "granted":
		l[f[1]] = f[2]
	case f[0] == "releasing": // from here on it may be either way
		delete(l, f[1])
	default:
		return line
	}
	return ""
}

// check compares the ledger with a store: nothing is lost, nothing is twice.
// What the store has besides was on its way; the ledger has it from now on.
func (l ledger) check(t *testing.T, store ipam.Store, context string) {
	t.Helper()
	pool, err := addresses(t.Context(), store, "10.0.0.0/23")
	require.NoError(t, err, context)
	given := map[string]string{}
	for owner, a := range pool.All() {
		require.Empty(t, given[a.String()], "%s: %s is given twice", context, a)
		given[a.String()] = owner
	}
	for owner, a := range l {
		require.Equal(t, owner, given[a], "%s: the grant of %s to %s is lost", context, a, owner)
	}
}

// TestKilled kills a granting process again and again: what it had reported
// as granted is in the file, and nothing is granted twice.
func TestKilled(t *testing.T) {
	rounds := crashes
	if n, err := strconv.Atoi(os.Getenv(crashesEnv)); err == nil {
		rounds = n
	}
	file := filepath.Join(t.TempDir(), "leases.db")
	rng := rand.New(rand.NewPCG(1, 2))
	granted := ledger{}
	for round := range rounds {
		run := fmt.Sprint("round ", round)
		after := 1 + rng.IntN(2000) // lines until the kill
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+file)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 1; lines.Scan(); n++ {
			require.Empty(t, granted.report(lines.Text()), run)
			if n == after {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.ErrorContains(t, cmd.Wait(), "killed", run)
		store, err := boltstore.Open(file)
		require.NoError(t, err, run)
		granted.check(t, store, run)
		clear(t, store, granted)
		require.NoError(t, store.Close())
	}
	require.NotEmpty(t, granted)
}

// clear releases most of what dead children held, so that there is enough for
// the next.
func clear(t *testing.T, store ipam.Store, granted ledger) {
	t.Helper()
	pool, err := addresses(t.Context(), store, "10.0.0.0/23")
	require.NoError(t, err)
	n := 0
	for owner := range pool.All() {
		if n++; n > 20 {
			delete(granted, owner)
			require.NoError(t, pool.Release(t.Context(), owner))
		}
	}
}

const pageSize = 4096

// tear returns a file as a power cut leaves it while after is being written
// over before. The data pages are on their way in any order; only when all are
// down a meta page, the first or second, follows, and may be cut anywhere.
func tear(rng *rand.Rand, before, after []byte) []byte {
	out := slices.Clone(before)
	metaToo := rng.IntN(2) == 0
	for at := 2 * pageSize; at < len(after); at += pageSize {
		if end := at + pageSize; metaToo || rng.IntN(2) == 0 {
			if len(out) < end {
				out = append(out, make([]byte, end-len(out))...)
			}
			n := pageSize
			if !metaToo && rng.IntN(3) == 0 {
				n = rng.IntN(pageSize)
			}
			copy(out[at:at+n], after[at:end])
		}
	}
	if metaToo {
		cut := rng.IntN(2 * pageSize)
		if rng.IntN(2) == 0 { // within what is written of a meta page
			cut = rng.IntN(2)*pageSize + rng.IntN(120)
		}
		copy(out[:cut], after[:cut])
	}
	return out
}

// TestTornMove cuts short the write of the journal to the database, as far as
// it has come: the two then have all leases still, and can be written.
func TestTornMove(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	file, torn := filepath.Join(dir, "leases.db"), filepath.Join(dir, "torn.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	defer func() { _ = store.Close() }()
	moved := map[bool]int{}
	for round := range 150 {
		for range 1 + rng.IntN(3) {
			require.NoError(t, store.Commit(t.Context(), randomChanges(rng, contents(t, store))))
		}
		want, before, journal := contents(t, store), read(t, file), read(t, file+".journal")
		require.NoError(t, store.Move())
		after := read(t, file)
		require.NoError(t, os.WriteFile(torn, tear(rng, before, after), 0o600))
		require.NoError(t, os.WriteFile(torn+".journal", journal, 0o600))
		crashed, err := boltstore.Open(torn)
		require.NoError(t, err, "round %d", round)
		moved[crashed.Recent() == 0]++
		got := contents(t, crashed)
		require.True(t, slices.EqualFunc(want, got, sameRecord), "round %d: leases are not what they were", round)
		require.NoError(t, crashed.Commit(t.Context(), randomChanges(rng, got)), "round %d", round)
		require.NoError(t, crashed.Close())
	}
	require.NotZero(t, moved[false])
	require.NotZero(t, moved[true])
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return raw
}

func contents(t *testing.T, s ipam.Store) (list []ipam.Record) {
	t.Helper()
	_, err := s.Load(t.Context(), "", func(r ipam.Record) error {
		list = append(list, r)
		return nil
	})
	require.NoError(t, err)
	slices.SortFunc(list, func(a, b ipam.Record) int { return strings.Compare(a.Value, b.Value) })
	return list
}

func sameRecord(a, b ipam.Record) bool {
	return a.Value == b.Value && a.Owner == b.Owner && a.Revision == b.Revision && a.Generation == b.Generation
}

// randomChanges puts new records and deletes some old ones.
func randomChanges(rng *rand.Rand, old []ipam.Record) (out []ipam.Change) {
	taken := map[string]bool{}
	for _, r := range old {
		if taken[r.Value] = true; rng.IntN(8) == 0 {
			out = append(out, ipam.Change{Before: r})
		}
	}
	for range 1 + rng.IntN(40) {
		value := fmt.Sprint(rng.IntN(2000))
		if !taken[value] {
			owner := fmt.Sprint("owner-", value, strings.Repeat("x", rng.IntN(100)))
			out = append(out, ipam.Change{After: ipam.Record{Space: "s", Value: value, Owner: owner}})
		}
		taken[value] = true
	}
	if len(out) == 0 {
		return randomChanges(rng, old)
	}
	return out
}

// TestFullDisk leases on a disk that runs full while 64 goroutines write, and
// has room again later.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	filler := filepath.Join(dir, "filler")
	require.NoError(t, os.WriteFile(filler, bytes.Repeat([]byte{1}, 1800<<10), 0o600))
	store, err := boltstore.Open(filepath.Join(dir, "leases.db"))
	require.NoError(t, err)
	r, err := ipam.Open(t.Context(), store, ipam.Config{Quarantine: time.Hour})
	require.NoError(t, err)
	cfg := ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	pool, err := r.Addresses("pods", cfg)
	require.NoError(t, err)
	var mu sync.Mutex // protects granted
	granted := map[string]string{}
	acquire := func(owner string) error {
		a, err := pool.Acquire(t.Context(), owner)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			granted[owner] = a.String()
		}
		return err
	}
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range 30_000 { // one alone could fill it
				if err := acquire(fmt.Sprint("long-enough-to-fill-the-disk/", g, "/", i)); err != nil {
					if !errors.Is(err, ipam.ErrUnavailable) {
						t.Error(err)
					}
					return
				}
			}
			t.Error("the disk never ran full")
		})
	}
	wg.Wait()
	require.NotEmpty(t, granted)
	before := len(granted)
	require.NoError(t, os.Remove(filler))
	for i := range 10 {
		require.NoError(t, acquire(fmt.Sprint("after/", i)))
	}
	require.NoError(t, store.Close())
	store, err = boltstore.Open(filepath.Join(dir, "leases.db"))
	require.NoError(t, err)
	defer store.Close()
	owners := map[string]string{}
	for _, rec := range contents(t, store) {
		require.Empty(t, owners[rec.Value], "%s is given twice", rec.Value)
		owners[rec.Value] = rec.Owner
	}
	require.Len(t, granted, before+10)
	for owner, a := range granted {
		require.Equal(t, owner, owners[a], "the grant of %s to %s is lost", a, owner)
	}
}

// smallDisk mounts a file system in memory; that needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if slices.Contains(strings.Split(os.Getenv("TIERLOOM_REQUIRE"), ","), "root") {
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("needs root: mount tmpfs: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}
