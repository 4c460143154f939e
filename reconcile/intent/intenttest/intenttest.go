// Package intenttest holds the contract of an intent.Store as tests that every store runs.
package intenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/reconcile/intent"
)

// TestStore runs the contract against empty stores made by open, one per subtest.
func TestStore(t *testing.T, open func(t *testing.T) intent.Store) {
	for name, test := range map[string]func(*testing.T, context.Context, intent.Store){
		"Revisions":       testRevisions,
		"NoOp":            testNoOp,
		"Conditions":      testConditions,
		"Atomic":          testAtomic,
		"List":            testList,
		"Copies":          testCopies,
		"Invalid":         testInvalid,
		"Lookup":          testLookup,
		"WatchResume":     testWatchResume,
		"WatchLeaves":     testWatchLeaves,
		"WatchBatch":      testWatchBatch,
		"WatchCompacted":  testWatchCompacted,
		"WatchCancel":     testWatchCancel,
		"CompareAndSwap":  testCompareAndSwap,
		"WatchEqualsList": testWatchEqualsList,
		"Mirror":          testMirror,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			test(t, ctx, open(t))
		})
	}
}

func object(id, body string, tags ...string) intent.Object {
	o := intent.Object{ResourceType: "Segment", ID: id, Body: json.RawMessage(body)}
	for _, tag := range tags {
		o.Tags = append(o.Tags, intent.Tag{Scope: "ncp/cluster", Tag: tag})
	}
	return o
}

func put(id, body string, tags ...string) intent.Change { return intent.Put(object(id, body, tags...)) }

func apply(t *testing.T, ctx context.Context, s intent.Store, changes ...intent.Change) uint64 {
	t.Helper()
	rev, err := s.Apply(ctx, changes)
	require.NoError(t, err)
	return rev
}

func ids(t *testing.T, ctx context.Context, s intent.Store, q intent.Query) []string {
	t.Helper()
	list, _, err := s.List(ctx, q)
	require.NoError(t, err)
	var out []string
	for _, o := range list {
		out = append(out, o.Key().String())
	}
	return out
}

func testRevisions(t *testing.T, ctx context.Context, s intent.Store) {
	st, err := s.Status(ctx)
	require.NoError(t, err)
	require.Zero(t, st.Revision)
	require.NotEmpty(t, st.Epoch)
	require.EqualValues(t, 2, apply(t, ctx, s, put("a", ""), put("b", "")))
	require.EqualValues(t, 3, apply(t, ctx, s, put("a", `{"vni":1}`)))
	require.EqualValues(t, 4, apply(t, ctx, s, intent.Delete("Segment", "b")))
	after, err := s.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, intent.Status{Epoch: st.Epoch, Revision: 4, Objects: 1}, after)
	o, err := intent.Lookup(ctx, s, "Segment", "a")
	require.NoError(t, err)
	require.EqualValues(t, 3, o.Revision)
}

func testNoOp(t *testing.T, ctx context.Context, s intent.Store) {
	rev := apply(t, ctx, s, put("a", `{"x":1,"y":[1,{"p":2,"q":"<"}]}`, "c1", "c2"))
	require.Equal(t, rev, apply(t, ctx, s, put("a", ` { "y":[1, {"q":"\u003c","p":2}], "x":1 }`, "c2", "c1", "c1")))
	require.Equal(t, rev, apply(t, ctx, s, intent.Delete("Segment", "none")))
	require.Equal(t, rev, apply(t, ctx, s))
	require.Equal(t, rev+1, apply(t, ctx, s, put("b", "{}"), put("b", "")))
	require.Equal(t, rev+2, apply(t, ctx, s, put("a", `{"x":2}`, "c1", "c2")))
}

func testConditions(t *testing.T, ctx context.Context, s intent.Store) {
	rev := apply(t, ctx, s, put("a", "").If(0))
	for name, c := range map[string]intent.Change{
		"create of existing": put("a", `{"x":1}`).If(0),
		"stale put":          put("a", `{"x":1}`).If(rev + 1),
		"stale equal put":    put("a", "").If(rev + 1),
		"stale delete":       intent.Delete("Segment", "a").If(rev + 1),
		"put of absent":      put("b", "").If(rev),
		"delete of absent":   intent.Delete("Segment", "b").If(rev),
	} {
		_, err := s.Apply(ctx, []intent.Change{c})
		require.ErrorIs(t, err, intent.ErrConflict, name)
		var e *intent.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, c.Key(), e.Key, name)
	}
	require.Equal(t, rev+1, apply(t, ctx, s, put("a", `{"x":1}`).If(rev)))
	require.Equal(t, rev+2, apply(t, ctx, s, intent.Delete("Segment", "a").If(rev+1)))
	require.Equal(t, rev+2, apply(t, ctx, s, intent.Delete("Segment", "a").If(0)))
}

func testAtomic(t *testing.T, ctx context.Context, s intent.Store) {
	rev := apply(t, ctx, s, put("a", ""))
	_, err := s.Apply(ctx, []intent.Change{put("b", ""), intent.Delete("Segment", "a"), put("c", "").If(9)})
	require.ErrorIs(t, err, intent.ErrConflict)
	require.Equal(t, []string{"Segment/a"}, ids(t, ctx, s, intent.Query{}))
	require.Equal(t, rev+3, apply(t, ctx, s, put("b", ""), put("b", `{"x":1}`).If(rev+1), intent.Delete("Segment", "a").If(rev)))
}

func testList(t *testing.T, ctx context.Context, s intent.Store) {
	tier1 := object("z", "", "c1")
	tier1.ResourceType = "Tier1"
	rev := apply(t, ctx, s, intent.Put(tier1), put("b", "", "c1"), put("a", "", "c2"), put("x/y é?&%", "", "c2", "c1"))
	c1 := &intent.Tag{Scope: "ncp/cluster", Tag: "c1"}
	for _, tc := range []struct {
		q    intent.Query
		want []string
	}{
		{intent.Query{}, []string{"Segment/a", "Segment/b", "Segment/x/y é?&%", "Tier1/z"}},
		{intent.Query{ResourceType: "Tier1"}, []string{"Tier1/z"}},
		{intent.Query{ResourceType: "Port"}, nil},
		{intent.Query{Tag: c1}, []string{"Segment/b", "Segment/x/y é?&%", "Tier1/z"}},
		{intent.Query{Tag: c1, ResourceType: "Segment"}, []string{"Segment/b", "Segment/x/y é?&%"}},
		{intent.Query{ID: "x/y é?&%"}, []string{"Segment/x/y é?&%"}},
	} {
		require.Empty(t, cmp.Diff(tc.want, ids(t, ctx, s, tc.q)))
	}
	_, got, err := s.List(ctx, intent.Query{})
	require.NoError(t, err)
	require.Equal(t, rev, got)
	_, _, err = s.List(ctx, intent.Query{Epoch: "another"})
	require.ErrorIs(t, err, intent.ErrCompacted)
}

func testCopies(t *testing.T, ctx context.Context, s intent.Store) {
	o := object("a", `{"x":1}`, "c1")
	apply(t, ctx, s, intent.Put(o))
	o.Body[1], o.Tags[0].Tag = '!', "!"
	for range 2 {
		got, err := intent.Lookup(ctx, s, "Segment", "a")
		require.NoError(t, err)
		require.JSONEq(t, `{"x":1}`, string(got.Body))
		require.Equal(t, "c1", got.Tags[0].Tag)
		got.Body[1], got.Tags[0].Tag = '!', "!"
	}
}

func testInvalid(t *testing.T, ctx context.Context, s intent.Store) {
	bad := func(change func(*intent.Object)) intent.Change {
		o := object("a", "")
		change(&o)
		return intent.Put(o)
	}
	for field, c := range map[string]intent.Change{
		"changes[0].put.id":            bad(func(o *intent.Object) { o.ID = "" }),
		"changes[0].put.resource_type": bad(func(o *intent.Object) { o.ResourceType = "a b" }),
		"changes[0].put.display_name":  bad(func(o *intent.Object) { o.DisplayName = "a\nb" }),
		"changes[0].put.tags[1].scope": bad(func(o *intent.Object) { o.Tags = []intent.Tag{{}, {Scope: "a:b"}} }),
		"changes[0]":                   {},
		"changes[0].delete.id":         intent.Delete("Segment", ".."),
	} {
		_, err := s.Apply(ctx, []intent.Change{c})
		require.ErrorIs(t, err, intent.ErrInvalid, field)
		var e *intent.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field, "%v", err)
	}
	for _, body := range []string{`[]`, `{"a":1,"a":2}`, `{"id":"b"}`, `{`, `{} {}`, `{"a":}`} {
		_, err := s.Apply(ctx, []intent.Change{put("a", body)})
		require.ErrorIs(t, err, intent.ErrInvalid, body)
	}
	st, err := s.Status(ctx)
	require.NoError(t, err)
	require.Zero(t, st.Revision)
}

func testLookup(t *testing.T, ctx context.Context, s intent.Store) {
	_, err := intent.Lookup(ctx, s, "Segment", "a")
	require.ErrorIs(t, err, intent.ErrNotFound)
	want, err := intent.NewObject("Segment", "a", map[string]any{"display_name": "A", "vni": 5,
		"tags": []intent.Tag{{Scope: "s", Tag: "t:u"}}, "path": "/infra/segments/a"})
	require.NoError(t, err)
	apply(t, ctx, s, intent.Put(want))
	got, err := intent.Lookup(ctx, s, "Segment", "a")
	require.NoError(t, err)
	want.Revision = 1
	require.Empty(t, cmp.Diff(want, got))
	list := ids(t, ctx, s, intent.Query{Tag: &intent.Tag{Scope: "s", Tag: "t:u"}})
	require.Equal(t, []string{"Segment/a"}, list)
}

// events reads n events of a watch and renders them.
func events(t *testing.T, ctx context.Context, s intent.Store, from uint64, q intent.Query, n int) []string {
	t.Helper()
	var got []string
	for ev, err := range s.Watch(ctx, from, q) {
		require.NoError(t, err, "after %q", got)
		more := ""
		if ev.More {
			more = " more"
		}
		got = append(got, fmt.Sprintf("%d %s %s%s", ev.Revision, ev.Type, ev.Object.ID, more))
		if len(got) == n {
			break
		}
	}
	return got
}

func testWatchResume(t *testing.T, ctx context.Context, s intent.Store) {
	apply(t, ctx, s, put("a", ""))
	apply(t, ctx, s, put("b", ""))
	apply(t, ctx, s, intent.Delete("Segment", "a"))
	want := []string{"1 put a", "2 put b", "3 delete a"}
	for from := range want {
		require.Equal(t, want[from:], events(t, ctx, s, uint64(from), intent.Query{}, 3-from))
	}
	done := make(chan []string)
	go func() { done <- events(t, ctx, s, 3, intent.Query{}, 2) }()
	apply(t, ctx, s, put("c", ""))
	apply(t, ctx, s, put("c", `{"x":1}`))
	require.Equal(t, []string{"4 put c", "5 put c"}, <-done)
}

func testWatchLeaves(t *testing.T, ctx context.Context, s intent.Store) {
	apply(t, ctx, s, put("a", "", "c1"), put("b", "", "c2"))
	apply(t, ctx, s, put("a", "", "c2"))
	apply(t, ctx, s, put("b", "", "c1"))
	apply(t, ctx, s, intent.Delete("Segment", "b"))
	q := intent.Query{Tag: &intent.Tag{Scope: "ncp/cluster", Tag: "c1"}}
	require.Equal(t, []string{"1 put a", "3 delete a", "4 put b", "5 delete b"}, events(t, ctx, s, 0, q, 4))
}

func testWatchBatch(t *testing.T, ctx context.Context, s intent.Store) {
	apply(t, ctx, s, put("a", "", "c1"), put("b", "", "c1"), put("c", "", "c2"))
	apply(t, ctx, s, put("d", "", "c1"))
	q := intent.Query{Tag: &intent.Tag{Scope: "ncp/cluster", Tag: "c1"}}
	require.Equal(t, []string{"1 put a more", "2 put b", "4 put d"}, events(t, ctx, s, 0, q, 3))
	require.Equal(t, []string{"2 put b", "4 put d"}, events(t, ctx, s, 1, q, 2))
}

func watchError(ctx context.Context, s intent.Store, from uint64, q intent.Query) error {
	for _, err := range s.Watch(ctx, from, q) {
		if err != nil {
			return err
		}
	}
	return nil
}

func testWatchCompacted(t *testing.T, ctx context.Context, s intent.Store) {
	rev := apply(t, ctx, s, put("a", ""))
	require.ErrorIs(t, watchError(ctx, s, rev+1, intent.Query{}), intent.ErrCompacted)
	require.ErrorIs(t, watchError(ctx, s, rev, intent.Query{Epoch: "another"}), intent.ErrCompacted)
}

func testWatchCancel(t *testing.T, ctx context.Context, s intent.Store) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- watchError(ctx, s, 0, intent.Query{}) }()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// testCompareAndSwap counts with many writers, each bound to the revision it read.
func testCompareAndSwap(t *testing.T, ctx context.Context, s intent.Store) {
	apply(t, ctx, s, put("n", `{"n":0}`))
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for range writers {
		wg.Go(func() { errs <- count(ctx, s, rounds) })
	}
	wg.Wait()
	for range writers {
		require.NoError(t, <-errs)
	}
	o, err := intent.Lookup(ctx, s, "Segment", "n")
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, writers*rounds), string(o.Body))
	require.EqualValues(t, 1+writers*rounds, o.Revision)
}

func count(ctx context.Context, s intent.Store, rounds int) error {
	for made := 0; made < rounds; {
		o, err := intent.Lookup(ctx, s, "Segment", "n")
		if err != nil {
			return err
		}
		var v struct{ N int }
		if err := o.Decode(&v); err != nil {
			return err
		}
		_, err = s.Apply(ctx, []intent.Change{put("n", fmt.Sprintf(`{"n":%d}`, v.N+1)).If(o.Revision)})
		switch {
		case err == nil:
			made++
		case !errors.Is(err, intent.ErrConflict):
			return err
		}
	}
	return nil
}

// steps applies random changes and returns the last revision.
func steps(t *testing.T, ctx context.Context, s intent.Store, seed uint64, n int) uint64 {
	rnd := rand.New(rand.NewPCG(seed, 42))
	last := uint64(0)
	for range n {
		var batch []intent.Change
		for range 1 + rnd.IntN(3) {
			id := fmt.Sprint(rnd.IntN(12))
			if rnd.IntN(3) == 0 {
				batch = append(batch, intent.Delete("Segment", id))
			} else {
				batch = append(batch, put(id, fmt.Sprintf(`{"x":%d}`, rnd.IntN(3)), fmt.Sprint("c", rnd.IntN(2))))
			}
		}
		last = apply(t, ctx, s, batch...)
	}
	return last
}

// testWatchEqualsList checks that a list plus the watch from there equals any later list.
func testWatchEqualsList(t *testing.T, ctx context.Context, s intent.Store) {
	for seed := range uint64(5) {
		for _, q := range []intent.Query{{}, {Tag: &intent.Tag{Scope: "ncp/cluster", Tag: "c1"}}} {
			start, rev, err := s.List(ctx, q)
			require.NoError(t, err)
			model := map[string]intent.Object{}
			for _, o := range start {
				model[o.ID] = o
			}
			steps(t, ctx, s, seed, 60)
			end := apply(t, ctx, s, intent.Delete("Segment", "end"), put("end", "", "c1"), intent.Delete("Segment", "end"))
			for ev, err := range s.Watch(ctx, rev, q) {
				require.NoError(t, err, "seed %d", seed)
				if ev.Type == intent.EventDelete {
					delete(model, ev.Object.ID)
				} else {
					model[ev.Object.ID] = ev.Object
				}
				if ev.Revision == end {
					break
				}
			}
			list, _, err := s.List(ctx, q)
			require.NoError(t, err)
			want := map[string]intent.Object{}
			for _, o := range list {
				want[o.ID] = o
			}
			require.Empty(t, cmp.Diff(want, model), "seed %d", seed)
		}
	}
}

// testMirror checks that a mirror ends with what the store has.
func testMirror(t *testing.T, ctx context.Context, s intent.Store) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	snaps := make(chan []intent.Object, 1024)
	done := make(chan error)
	go func() {
		done <- intent.Mirror(ctx, s, intent.Query{}, func(snap intent.Snapshot) {
			select {
			case snaps <- snap.Objects():
			default:
				t.Error("too many snapshots")
			}
		})
	}()
	require.Empty(t, <-snaps, "the first call comes for an empty store too")
	steps(t, ctx, s, 7, 100)
	apply(t, ctx, s, put("end", ""))
	want, _, err := s.List(ctx, intent.Query{})
	require.NoError(t, err)
	for {
		select {
		case got := <-snaps:
			if cmp.Equal(want, got) {
				cancel()
				require.ErrorIs(t, <-done, context.Canceled)
				return
			}
		case <-ctx.Done():
			t.Fatal("the mirror never showed the last state")
		}
	}
}
