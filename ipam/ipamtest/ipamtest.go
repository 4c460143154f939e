// Package ipamtest says what a store of leases must do, as a test.
package ipamtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// Open returns the store of a name; the same name again must open the same
// store, after close was called.
type Open func(t *testing.T, name string) (store ipam.Store, close func())

// TestStore runs the contract of [ipam.Store] on stores that open returns.
func TestStore(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, ipam.Store){
		"space and value are one key each": keys,
		"compare and set":                  compareAndSet,
		"all or nothing":                   atomic,
		"an owner owns one value":          owners,
		"revisions and generations rise":   generations,
		"a deleted revision is not reused": reuse,
		"find":                             find,
		"one of many writers wins":         race,
		"faults are named":                 faults,
		"the largest records":              largest,
		"an ended context":                 ended,
		"load stops":                       stops,
	} {
		t.Run(name, func(t *testing.T) {
			s, done := open(t, name)
			defer done()
			test(t, s)
		})
	}
	t.Run("records last", func(t *testing.T) { last(t, open) })
}

func rec(owner, value string) ipam.Record {
	return ipam.Record{Space: "s", Owner: owner, Value: value, Since: time.Unix(1_700_000_000, 5).UTC()}
}

// made makes changes that must succeed, and returns what they put.
func made(t *testing.T, s ipam.Store, changes ...ipam.Change) []ipam.Record {
	t.Helper()
	require.NoError(t, s.Commit(t.Context(), changes))
	var out []ipam.Record
	for _, c := range changes {
		if !c.Delete() {
			require.NotZero(t, c.After.Revision)
			require.NotZero(t, c.After.Generation)
			out = append(out, c.After)
		}
	}
	return out
}

// put makes a record that was not there.
func put(t *testing.T, s ipam.Store, r ipam.Record) ipam.Record {
	t.Helper()
	return made(t, s, ipam.Change{After: r})[0]
}

func load(t *testing.T, s ipam.Store, space string) []ipam.Record {
	t.Helper()
	var list []ipam.Record
	_, err := s.Load(t.Context(), space, func(r ipam.Record) error {
		list = append(list, r)
		return nil
	})
	require.NoError(t, err)
	return sorted(list)
}

func sorted(list []ipam.Record) []ipam.Record {
	slices.SortFunc(list, func(a, b ipam.Record) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Value, b.Value))
	})
	return list
}

func same(t *testing.T, want, got []ipam.Record) {
	t.Helper()
	require.Empty(t, gocmp.Diff(sorted(want), sorted(got)))
}

func refused(t *testing.T, s ipam.Store, why error, changes ...ipam.Change) {
	t.Helper()
	before := load(t, s, "")
	require.ErrorIs(t, s.Commit(t.Context(), changes), why)
	same(t, before, load(t, s, ""))
}

func last(t *testing.T, open Open) {
	s, done := open(t, "last")
	all := rec("a\"\x01ü", "10.0.0.1/24")
	all.Released, all.Until = all.Since.Add(time.Hour), all.Since.Add(2*time.Hour)
	all.Unacknowledged, all.Pinned, all.Suspect, all.Contested = true, true, true, []string{"b", "c/d e"}
	want := made(t, s, ipam.Change{After: all}, ipam.Change{After: rec("b", "2")})
	changed := want[1]
	changed.Owner = "c"
	want[1] = made(t, s, ipam.Change{Before: want[1], After: changed})[0]
	same(t, want, load(t, s, ""))
	done()
	s, done = open(t, "last")
	defer done()
	same(t, want, load(t, s, ""))
	all.Generation, all.Revision = want[0].Generation, want[0].Revision
	require.Empty(t, gocmp.Diff(all, want[0]))
	next := put(t, s, rec("d", "3"))
	require.Greater(t, next.Revision, want[1].Revision, "revisions rise over a restart")
}

func keys(t *testing.T, s ipam.Store) {
	for i, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"1:a", "b"}, {"a/b", "c"}, {"a", "b/c"}, {"a%2Fb", "c"}} {
		put(t, s, ipam.Record{Space: k[0], Value: k[1], Owner: fmt.Sprint("o", i)})
	}
	require.Len(t, load(t, s, ""), 6)
	require.Len(t, load(t, s, "a"), 2)
	require.Empty(t, load(t, s, "b"))
}

func compareAndSet(t *testing.T, s ipam.Store) {
	first := put(t, s, rec("a", "1"))
	refused(t, s, ipam.ErrConflict, ipam.Change{After: rec("b", "1")})
	second := made(t, s, ipam.Change{Before: first, After: rec("b", "1")})[0]
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: first, After: rec("c", "1")})
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: first})
	made(t, s, ipam.Change{Before: second})
	require.Empty(t, load(t, s, ""))
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: second})
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: second, After: rec("b", "1")})
}

func atomic(t *testing.T, s ipam.Store) {
	have := put(t, s, rec("a", "1"))
	refused(t, s, ipam.ErrConflict, ipam.Change{After: rec("b", "2")}, ipam.Change{After: rec("c", "1")})
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: have}, ipam.Change{Before: rec1("z", "9", 7)})
	both := made(t, s, ipam.Change{Before: have}, ipam.Change{After: rec("a", "2")})
	same(t, both, load(t, s, ""))
}

func rec1(owner, value string, revision uint64) ipam.Record {
	r := rec(owner, value)
	r.Revision = revision
	return r
}

func owners(t *testing.T, s ipam.Store) {
	first := put(t, s, rec("a", "1"))
	refused(t, s, ipam.ErrConflict, ipam.Change{After: rec("a", "2")})
	refused(t, s, ipam.ErrConflict, ipam.Change{After: rec("b", "2")}, ipam.Change{After: rec("b", "3")})
	other := rec("a", "1")
	other.Space = "other"
	put(t, s, other)
	rest := first
	rest.Released = first.Since.Add(time.Second)
	rest = made(t, s, ipam.Change{Before: first, After: rest})[0]
	second := put(t, s, rec("a", "2"))
	back := rest
	back.Released = time.Time{}
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: rest, After: back})
	moved := second
	moved.Owner = "b"
	made(t, s, ipam.Change{Before: second, After: moved}, ipam.Change{Before: rest, After: back})
	pinned := rec("c", "3")
	pinned.Released, pinned.Pinned = pinned.Since, true
	put(t, s, pinned)
	refused(t, s, ipam.ErrConflict, ipam.Change{After: rec("c", "4")})
}

func generations(t *testing.T, s ipam.Store) {
	first := put(t, s, rec("a", "1"))
	kept := first
	kept.Pinned = true
	second := made(t, s, ipam.Change{Before: first, After: kept})[0]
	require.Equal(t, first.Generation, second.Generation, "a generation that is put stays")
	require.Greater(t, second.Revision, first.Revision)
	high := rec("b", "2")
	high.Generation = first.Generation + 1_000_000_000
	high = put(t, s, high)
	next := put(t, s, rec("c", "3"))
	require.Greater(t, next.Generation, high.Generation, "it rises above what was put")
	generation, err := s.Load(t.Context(), "", func(ipam.Record) error { return nil })
	require.NoError(t, err)
	require.GreaterOrEqual(t, generation, next.Generation)
	made(t, s, ipam.Change{Before: next})
	again := put(t, s, rec("c", "3"))
	require.Greater(t, again.Generation, next.Generation)
	require.Greater(t, again.Revision, next.Revision)
}

// A store takes the largest records of package ipam, as many as it may commit at once.
func largest(t *testing.T, s ipam.Store) {
	name := func(letter string, i int) string {
		end := fmt.Sprint(i)
		return strings.Repeat(letter, ipam.MaxName-len(end)) + end
	}
	var want []ipam.Record
	var changes []ipam.Change
	for i := range ipam.MaxChanges {
		r := ipam.Record{Space: name("/", 0), Value: name("/", i), Owner: name("/", i)}
		if i == 0 {
			for n := range 32 {
				r.Contested = append(r.Contested, name("<", n+10))
			}
			want = append(want, put(t, s, r))
			continue
		}
		changes = append(changes, ipam.Change{After: r})
	}
	for part := range slices.Chunk(changes, 16) {
		want = append(want, made(t, s, part...)...)
	}
	same(t, want, load(t, s, ""))
}

// A process that slept through a deletion must not take the new record for
// the one that it knew.
func reuse(t *testing.T, s ipam.Store) {
	asleep := put(t, s, rec("a", "1"))
	made(t, s, ipam.Change{Before: asleep})
	put(t, s, rec("b", "1"))
	refused(t, s, ipam.ErrConflict, ipam.Change{Before: asleep})
}

func find(t *testing.T, s ipam.Store) {
	a, b := put(t, s, rec("a", "1")), put(t, s, rec("b", "2"))
	rest := rec("a", "3")
	rest.Released = rest.Since
	rest = put(t, s, rest)
	for _, c := range []struct {
		owner  string
		values []string
		want   []ipam.Record
	}{
		{"a", nil, []ipam.Record{a}},
		{"a", []string{"1"}, []ipam.Record{a}},
		{"a", []string{"2", "3", "4"}, []ipam.Record{a, b, rest}},
		{"", []string{"3"}, []ipam.Record{rest}},
		{"nobody", nil, nil},
	} {
		got, err := s.Find(t.Context(), "s", c.owner, c.values...)
		require.NoError(t, err)
		same(t, c.want, got)
	}
	got, err := s.Find(t.Context(), "other", "a", "1")
	require.NoError(t, err)
	require.Empty(t, got)
}

func race(t *testing.T, s ipam.Store) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for w := range 16 {
		wg.Go(func() {
			for i := range 8 {
				value := fmt.Sprint("v", i)
				err := s.Commit(context.Background(), []ipam.Change{{After: rec(fmt.Sprint(w, "-", i), value)}})
				if err == nil {
					mu.Lock()
					won[value]++
					mu.Unlock()
				} else if !errors.Is(err, ipam.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		require.Equal(t, 1, won[fmt.Sprint("v", i)])
	}
}

func faults(t *testing.T, s ipam.Store) {
	have := put(t, s, rec("a", "1"))
	refused(t, s, ipam.ErrInvalid, ipam.Change{})
	refused(t, s, ipam.ErrInvalid, ipam.Change{Before: have, After: rec("a", "2")})
	refused(t, s, ipam.ErrInvalid, ipam.Change{After: rec("b", "2")}, ipam.Change{After: rec("c", "2")})
	long := strings.Repeat("x", ipam.MaxName+1)
	for _, damage := range []func(*ipam.Record){
		func(r *ipam.Record) { r.Space = long },
		func(r *ipam.Record) { r.Value = long },
		func(r *ipam.Record) { r.Owner = long },
		func(r *ipam.Record) { r.Owner = "" },
		func(r *ipam.Record) { r.Owner = "a\x00" },
		func(r *ipam.Record) { r.Owner = "a\xff" },
		func(r *ipam.Record) { r.Contested = []string{long} },
		func(r *ipam.Record) { r.Contested = []string{"c", "b"} },
		func(r *ipam.Record) { r.Generation = 1 << 62 },
	} {
		r := rec("b", "2")
		damage(&r)
		refused(t, s, ipam.ErrInvalid, ipam.Change{After: rec("c", "3")}, ipam.Change{After: r})
	}
}

func ended(t *testing.T, s ipam.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Commit(ctx, []ipam.Change{{After: rec("a", "1")}}) != nil {
		require.Empty(t, load(t, s, ""))
	}
}

func stops(t *testing.T, s ipam.Store) {
	put(t, s, rec("a", "1"))
	put(t, s, rec("b", "2"))
	n, enough := 0, errors.New("enough")
	_, err := s.Load(t.Context(), "", func(ipam.Record) error { n++; return enough })
	require.ErrorIs(t, err, enough)
	require.Equal(t, 1, n)
}
