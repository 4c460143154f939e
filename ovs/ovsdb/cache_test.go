package ovsdb

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var (
	byName  = Index{Table: "T", Column: "name"}
	byIface = Index{Table: "T", Column: "ids", Key: "iface"}
	byTrunk = Index{Table: "T", Column: "trunks"}
)

func newTestCache() *Cache {
	k := newCache(&Client{dead: make(chan struct{})}, "m")
	k.tables["T"] = &table{indexes: []*index{{Index: byName}, {Index: byIface}, {Index: byTrunk}}}
	return k
}

// put changes a cache as an update does; a nil row deletes.
func (k *Cache) put(id UUID, row Row) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if row != nil {
		row["_uuid"] = id
	}
	old := k.tables["T"].set(id, row)
	k.tables["T"].index(old, row)
	k.tables["T"].version++
	k.wakeLocked()
	k.tellLocked([]Change{{"T", id, old, row}})
}

// TestCacheAgainstMap changes rows at random. Every snapshot, also an old one,
// has what a copy of a plain map has, by each index too; a watcher that follows
// from the start has the same as the last.
func TestCacheAgainstMap(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 1))
		k, model := newTestCache(), map[UUID]Row{}
		_, w, err := k.Watch(1<<20, "T")
		require.NoError(t, err)
		type moment struct {
			v    View
			rows map[UUID]Row
		}
		var moments []moment
		for step := range 1000 {
			id := UUID(fmt.Sprint(rng.IntN(60)))
			if rng.IntN(3) == 0 {
				delete(model, id)
				k.put(id, nil)
			} else {
				row := Row{"name": fmt.Sprint("n", rng.IntN(20)), "ids": Map{}, "trunks": Set{}}
				if rng.IntN(2) == 0 {
					row["ids"] = Map{"iface": fmt.Sprint("i", rng.IntN(10)), "other": "x"}
				}
				for n := range rng.IntN(3) {
					row["trunks"] = append(row["trunks"].(Set), int64(10*n+rng.IntN(5)))
				}
				model[id] = row
				k.put(id, row)
			}
			if step%50 == 0 {
				v, err := k.Snapshot()
				require.NoError(t, err)
				moments = append(moments, moment{v, maps.Clone(model)})
			}
		}
		for i, m := range moments {
			checkView(t, m.v, m.rows, fmt.Sprintf("seed %d, moment %d", seed, i))
		}
		replayed := map[UUID]Row{}
		changes, err := w.Next(t.Context())
		require.NoError(t, err)
		for _, c := range changes {
			require.Equal(t, replayed[c.UUID], c.Old, "seed %d", seed)
			if replayed[c.UUID] = c.New; c.New == nil {
				delete(replayed, c.UUID)
			}
		}
		require.Empty(t, cmp.Diff(model, replayed), "seed %d", seed)
	}
}

func checkView(t *testing.T, v View, rows map[UUID]Row, when string) {
	t.Helper()
	want := []Row{}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		want = append(want, rows[id])
	}
	require.Empty(t, cmp.Diff(want, v.Rows("T")), when)
	for _, x := range []Index{byName, byIface, byTrunk} {
		has := map[any][]string{}
		for id, row := range rows {
			x.atoms(row, func(a any) { has[a] = append(has[a], string(id)) })
		}
		for a, ids := range has {
			list, err := v.Lookup(x, a)
			require.NoError(t, err, when)
			var got []string
			for _, row := range list {
				got = append(got, string(row["_uuid"].(UUID)))
			}
			require.ElementsMatch(t, ids, got, "%s: %s of %v", when, x, a)
		}
		list, err := v.Lookup(x, "nobody")
		require.NoError(t, err, when)
		require.Empty(t, list, when)
	}
	_, err := v.Lookup(Index{Table: "T", Column: "other"}, "x")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestWatcherThatLags(t *testing.T) {
	k := newTestCache()
	_, slow, err := k.Watch(3)
	require.NoError(t, err)
	_, other, err := k.Watch(3, "U")
	require.NoError(t, err)
	for i := range 4 {
		k.put(UUID(fmt.Sprint(i)), Row{"name": "x"})
	}
	_, err = slow.Next(t.Context())
	require.ErrorIs(t, err, ErrLagged)
	require.Empty(t, slow.queue, "it costs no memory any more")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = other.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "no change of its tables")
	slow.Close()
	other.Close()
	require.Empty(t, k.watchers)
	_, _, err = k.Watch(0)
	require.ErrorContains(t, err, "limit 0")
}

func TestTableOfNamesEveryFault(t *testing.T) {
	schema, err := ParseSchema([]byte(`{"name":"d","version":"1.0.0","tables":{"T":{"columns":{
		"name":{"type":"string"},
		"tag":{"type":{"key":"integer","min":0,"max":1}},
		"trunks":{"type":{"key":"integer","min":0,"max":4096}},
		"ids":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},
		"iface":{"type":{"key":{"type":"uuid","refTable":"T"},"min":1,"max":1}},
		"speed":{"type":"real"},"up":{"type":"boolean"}}}}}`))
	require.NoError(t, err)
	type good struct {
		UUID   UUID              `ovsdb:"_uuid"`
		Name   string            `ovsdb:"name"`
		Tag    *int              `ovsdb:"tag"`
		Trunks []uint16          `ovsdb:"trunks"`
		IDs    map[string]string `ovsdb:"ids"`
		Iface  UUID              `ovsdb:"iface"`
		Speed  float64           `ovsdb:"speed"`
		Up     bool              `ovsdb:"up"`
		Other  int
	}
	rows, err := TableOf[good](schema, "T")
	require.NoError(t, err)
	require.Equal(t, []string{"name", "tag", "trunks", "ids", "iface", "speed", "up"}, rows.Monitor().Columns)
	op, err := rows.Update(&good{Name: "a", Up: true}, []string{"name"}, Where("up", false))
	require.NoError(t, err)
	require.Equal(t, `{"op":"update","row":{"name":"a"},"table":"T","where":[["up","==",false]]}`, op.String())
	_, err = rows.Update(&good{}, []string{"nme"})
	require.ErrorContains(t, err, `column "nme"`)

	type bad struct {
		Name   int      `ovsdb:"name"`
		Tag    int      `ovsdb:"tag"`
		Trunks *int     `ovsdb:"trunks"`
		IDs    []string `ovsdb:"ids"`
		Iface  string   `ovsdb:"iface"`
		Speed  int      `ovsdb:"speed"`
		Up     string   `ovsdb:"up"`
		Gone   string   `ovsdb:"gone"`
	}
	_, err = TableOf[bad](schema, "T")
	for _, want := range []string{
		`table "T"`, `column "name": it holds string values, field Name is int`, `column "tag": it is optional`, `column "trunks": it is a set`,
		`column "ids": it is a map`, `column "iface": it holds uuid values`, `column "speed": it holds real`, `column "up": it holds boolean`,
		`column "gone": there is none`,
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = TableOf[good](schema, "U")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, `table "U"`)
}

// BenchmarkLookup finds one of 20,000 rows by an index, beside a plain map.
func BenchmarkLookup(b *testing.B) {
	const n = 20000
	k, plain := newTestCache(), map[string]Row{}
	names := make([]string, n)
	for i := range n {
		names[i] = strings.Repeat("p", 5) + fmt.Sprint(i)
		row := Row{"name": names[i]}
		k.put(UUID(fmt.Sprint(i)), row)
		plain[names[i]] = row
	}
	v, err := k.Snapshot()
	require.NoError(b, err)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if rows, err := v.Lookup(byName, names[i]); len(rows) != 1 || err != nil {
				b.Fatal(names[i], err)
			}
			i = (i + 7919) % n
		}
		b.ReportMetric(200, "limit-ns")
	})
	b.Run("floor", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if _, ok := plain[names[i]]; !ok {
				b.Fatal(names[i])
			}
			i = (i + 7919) % n
		}
	})
}
