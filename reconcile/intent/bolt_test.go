package intent_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/reconcile/intent"
)

func TestBoltReopen(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "intent.db")
	b := openBolt(t, path, intent.StoreConfig{})
	rev, err := b.Apply(ctx, []intent.Change{segment("a", 1), segment("b", 2), intent.Delete("Segment", "b")})
	require.NoError(t, err)
	before, err := b.Status(ctx)
	require.NoError(t, err)
	want, _, err := b.List(ctx, intent.Query{})
	require.NoError(t, err)

	_, err = intent.OpenBolt(path)
	require.ErrorContains(t, err, "another process has the file open")
	require.NoError(t, b.Close())
	_, err = b.Apply(ctx, []intent.Change{segment("c", 1)})
	require.ErrorIs(t, err, intent.ErrUnavailable)

	b = openBolt(t, path, intent.StoreConfig{})
	after, err := b.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "epoch and revision outlive the process")
	got, _, err := b.List(ctx, intent.Query{})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
	again, err := b.Apply(ctx, []intent.Change{segment("a", 1)})
	require.NoError(t, err)
	require.Equal(t, rev, again, "a put of what is there writes nothing after a restart either")
	require.ErrorIs(t, firstError(b.Watch(ctx, rev-1, intent.Query{})), intent.ErrCompacted)
	_, err = b.Apply(ctx, []intent.Change{segment("a", 3)})
	require.NoError(t, err)
	for ev, err := range b.Watch(ctx, rev, intent.Query{Epoch: before.Epoch}) {
		require.NoError(t, err)
		require.Equal(t, rev+1, ev.Revision)
		break
	}
	require.NoError(t, b.Close())

	b = openBolt(t, path, intent.StoreConfig{NewEpoch: true})
	anew, err := b.Status(ctx)
	require.NoError(t, err)
	require.NotEqual(t, before.Epoch, anew.Epoch)
	require.Equal(t, rev+1, anew.Revision)
}

func segment(id string, vni int) intent.Change {
	return intent.Put(intent.Object{ResourceType: "Segment", ID: id, Body: fmt.Appendf(nil, `{"vni":%d}`, vni)})
}

func firstError(watch func(func(intent.Event, error) bool)) error {
	for _, err := range watch {
		if err != nil {
			return err
		}
	}
	return nil
}

// killWriters is how many goroutines the process to be killed writes with.
const killWriters = 4

// TestBoltWriter is the process that TestBoltKill kills: it prints each write once acknowledged.
func TestBoltWriter(t *testing.T) {
	path := os.Getenv("INTENT_BOLT_WRITER")
	if path == "" {
		t.Skip("is the child process of TestBoltKill")
	}
	b, err := intent.OpenBolt(path)
	require.NoError(t, err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range killWriters {
		wg.Go(func() {
			for n := 1; ; n++ {
				// Two objects in one Apply: both or neither must be found.
				_, err := b.Apply(t.Context(), []intent.Change{segment(fmt.Sprint("x", w), n), segment(fmt.Sprint("y", w), n)})
				if err != nil {
					return
				}
				mu.Lock()
				fmt.Printf("ack %d %d\n", w, n)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestBoltKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intent.db")
	epoch := ""
	revision := uint64(0)
	for round := range 10 {
		acked := writeAndKill(t, path, 20+rand.IntN(100))
		b := openBolt(t, path, intent.StoreConfig{})
		st, err := b.Status(t.Context())
		require.NoError(t, err)
		if round > 0 {
			require.Equal(t, epoch, st.Epoch)
		}
		require.Greater(t, st.Revision, revision, "round %d", round)
		epoch, revision = st.Epoch, st.Revision
		for w := range killWriters {
			x, y := vni(t, b, fmt.Sprint("x", w)), vni(t, b, fmt.Sprint("y", w))
			require.GreaterOrEqual(t, x, acked[w], "round %d: an acknowledged write of writer %d is lost", round, w)
			require.Equal(t, x, y, "round %d: half of an Apply of writer %d is there", round, w)
			_, err := b.Apply(t.Context(), []intent.Change{intent.Delete("Segment", fmt.Sprint("x", w)), intent.Delete("Segment", fmt.Sprint("y", w))})
			require.NoError(t, err)
		}
		require.NoError(t, b.Close())
	}
}

func vni(t *testing.T, s intent.Store, id string) int {
	var v struct{ VNI int }
	o, err := intent.Lookup(t.Context(), s, "Segment", id)
	if err == nil {
		require.NoError(t, o.Decode(&v))
	} else {
		require.ErrorIs(t, err, intent.ErrNotFound)
	}
	return v.VNI
}

// writeAndKill runs a writer, kills it after some acknowledgements, and returns the last of each goroutine.
func writeAndKill(t *testing.T, path string, after int) map[int]int {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBoltWriter$", "-test.v")
	cmd.Env = append(os.Environ(), "INTENT_BOLT_WRITER="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	acked := map[int]int{}
	count := 0
	// What is in the pipe when the process dies was acknowledged too.
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var w, n int
		if got, _ := fmt.Sscanf(lines.Text(), "ack %d %d", &w, &n); got != 2 {
			continue
		}
		acked[w] = n
		if count++; count == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.GreaterOrEqual(t, count, after)
	return acked
}

// TestBoltGroupIsAtomicEach: of callers made in one group each succeeds or fails by itself.
func TestBoltGroupIsAtomicEach(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "intent.db"), intent.StoreConfig{})
	var wg sync.WaitGroup
	created := make(chan int, 64)
	for i := range 64 {
		wg.Go(func() {
			if _, err := b.Apply(t.Context(), []intent.Change{segment(fmt.Sprint("own", i), i), segment("one", i).If(0)}); err == nil {
				created <- i
			}
		})
	}
	wg.Wait()
	require.Len(t, created, 1, "one of all creates of one object succeeds")
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, st.Objects, "nothing is left of the refused ones")
	require.EqualValues(t, 2, st.Revision)
}
