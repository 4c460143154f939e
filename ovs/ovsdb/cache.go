package ovsdb

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Cache is a copy of monitored tables, kept up to date by its Client. Make one
// with Client.Monitor. It may be used by several goroutines. The rows it gives
// out, and their values, are shared and must not be changed; a later update
// makes new ones.
//
// A Cache of a Session outlives connections: between them every read is
// ErrDisconnected; after that it goes on from where it was.
type Cache struct {
	db string

	mu       sync.Mutex // protects what follows; may be held when a Client's is taken
	client   *Client    // the connection it follows
	id       string     // of the monitor there
	asked    []TableMonitor
	last     string // transaction that the tables are of, "" if not known
	stale    bool   // the tables may not be of the conditions asked
	tables   map[string]*table
	frozen   *View         // of the tables as they are; nil until one is asked for
	changed  chan struct{} // closed and replaced at every update
	watchers map[*Watcher]bool
	closed   bool
}

type table struct {
	columns map[string]ColumnSchema // those monitored
	rows    cow[Row]
	indexes []*index
	version uint64
}

func newCache(c *Client, id string) *Cache {
	return &Cache{client: c, id: id, tables: map[string]*table{}, changed: make(chan struct{}), watchers: map[*Watcher]bool{}}
}

// expect makes room for the first rows of a table.
func (t *table) expect(rows int) {
	if t.rows.len == 0 {
		t.rows.expect(rows)
		for _, x := range t.indexes {
			x.rows.expect(rows)
		}
	}
}

// set puts a row in, or takes it out if row is nil, and returns the one before.
// The indexes are left behind until index is called.
func (t *table) set(id UUID, row Row) (old Row) {
	if row == nil {
		old, _ = t.rows.delete(string(id))
	} else {
		old, _ = t.rows.set(string(id), row)
	}
	return old
}

// index has the indexes know a row by what it is now. It may run beside set.
func (t *table) index(old, row Row) {
	for _, x := range t.indexes {
		if old != nil {
			x.remove(old)
		}
		if row != nil {
			x.add(row)
		}
	}
}

func (t *table) freeze() *table {
	f := &table{columns: t.columns, rows: t.rows.freeze(), version: t.version, indexes: make([]*index, len(t.indexes))}
	for i, x := range t.indexes {
		f.indexes[i] = &index{x.Index, x.rows.freeze()}
	}
	return f
}

func (k *Cache) wakeLocked() {
	close(k.changed)
	k.changed = make(chan struct{})
	k.frozen = nil
}

// A View is all tables at one moment. It stays as it is, whatever happens to
// the Cache, and may be used by several goroutines.
type View struct{ tables map[string]*table }

// Snapshot returns the tables as they are now: what is read from the View
// belongs together. It fails when the Cache no longer follows the server.
func (k *Cache) Snapshot() (View, error) {
	v, _, _, err := k.snapshot()
	return v, err
}

// snapshot also returns what is closed when there is a later one, and when the
// connection has ended.
func (k *Cache) snapshot() (v View, changed, dead <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.client.Err(); err != nil {
		return View{}, nil, nil, err
	}
	if k.closed {
		return View{}, nil, nil, fmt.Errorf("ovsdb: %w: the cache is closed", ErrDisconnected)
	}
	if k.frozen == nil {
		k.frozen = &View{make(map[string]*table, len(k.tables))}
		for name, t := range k.tables {
			k.frozen.tables[name] = t.freeze()
		}
	}
	return *k.frozen, k.changed, k.client.dead, nil
}

// View calls fn with a Snapshot.
func (k *Cache) View(fn func(View) error) error {
	v, err := k.Snapshot()
	if err != nil {
		return err
	}
	return fn(v)
}

// Rows returns a table's rows in the order of their UUIDs, which each has as
// "_uuid". A table that is not monitored has none.
func (v View) Rows(table string) []Row {
	t := v.tables[table]
	if t == nil {
		return nil
	}
	ids := make([]UUID, 0, t.rows.len)
	for id := range t.rows.all() {
		ids = append(ids, UUID(id))
	}
	slices.Sort(ids)
	rows := make([]Row, len(ids))
	for i, id := range ids {
		rows[i], _ = t.rows.get(string(id))
	}
	return rows
}

// Row returns a row by its UUID.
func (v View) Row(table string, id UUID) (Row, bool) {
	t := v.tables[table]
	if t == nil {
		return nil, false
	}
	return t.rows.get(string(id))
}

// Lookup returns the rows that an index has for an atom, in the order in which
// they came to have it; the slice must not be changed. An index that was not
// declared to Monitor is an error.
func (v View) Lookup(x Index, atom any) ([]Row, error) {
	t := v.tables[x.Table]
	if t == nil {
		return nil, fmt.Errorf("ovsdb: table %q: %w: it is not monitored", x.Table, ErrNotFound)
	}
	for _, have := range t.indexes {
		if have.Index == x {
			rows, _ := have.rows.get(atomKey(atom))
			return rows, nil
		}
	}
	return nil, fmt.Errorf("ovsdb: index %s: %w: it was not declared", x, ErrNotFound)
}

// Find returns a row whose column has the value: by an index on the column if
// there is one, or by looking at every row.
func (v View) Find(table, column string, value any) (Row, bool) {
	t := v.tables[table]
	if t == nil {
		return nil, false
	}
	switch value.(type) {
	case string, int64, bool, float64, UUID:
		if rows, err := v.Lookup(Index{Table: table, Column: column}, value); err == nil {
			if len(rows) == 0 {
				return nil, false
			}
			return rows[0], true
		}
	}
	for _, row := range t.rows.all() {
		if Equal(row[column], value) {
			return row, true
		}
	}
	return nil, false
}

// Version returns a number that grows with each update of the table.
func (v View) Version(table string) uint64 {
	t := v.tables[table]
	if t == nil {
		return 0
	}
	return t.version
}

// Rows returns a table's rows in the order of their UUIDs.
func (k *Cache) Rows(table string) ([]Row, error) {
	v, err := k.Snapshot()
	if err != nil {
		return nil, err
	}
	return v.Rows(table), nil
}

// WaitFor returns once cond, called with each state of the tables, the first
// one included, reports true or an error. States that follow each other fast
// may be skipped.
func (k *Cache) WaitFor(ctx context.Context, cond func(View) (bool, error)) error {
	for {
		v, changed, dead, err := k.snapshot()
		if err != nil {
			return err
		}
		if ok, err := cond(v); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-dead:
		case <-ctx.Done():
			return fmt.Errorf("ovsdb: %w", context.Cause(ctx))
		}
	}
}
