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
type Cache struct {
	client *Client
	id     string

	mu      sync.RWMutex // protects what follows
	tables  map[string]*table
	changed chan struct{} // closed and replaced at every update
	closed  bool
}

type table struct {
	columns map[string]ColumnSchema // those monitored
	rows    map[UUID]Row
	version uint64
}

func newCache(c *Client, id string) *Cache {
	return &Cache{client: c, id: id, tables: map[string]*table{}, changed: make(chan struct{})}
}

func (k *Cache) wakeLocked() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// View is what Rows, Row and Version read from, at one moment.
type View struct{ k *Cache }

// View calls fn with the tables held still: what fn reads belongs together.
// It fails, without calling fn, when the Cache no longer follows the server.
// fn must not call the Cache or the Client.
func (k *Cache) View(fn func(View) error) error {
	if err := k.client.Err(); err != nil {
		return err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.closed {
		return fmt.Errorf("ovsdb: %w: the cache is closed", ErrDisconnected)
	}
	return fn(View{k})
}

// Rows returns a table's rows in the order of their UUIDs, which each has as
// "_uuid". A table that is not monitored has none.
func (v View) Rows(table string) []Row {
	t := v.k.tables[table]
	if t == nil {
		return nil
	}
	ids := make([]UUID, 0, len(t.rows))
	for id := range t.rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	rows := make([]Row, len(ids))
	for i, id := range ids {
		rows[i] = t.rows[id]
	}
	return rows
}

// Row returns a row by its UUID.
func (v View) Row(table string, id UUID) (Row, bool) {
	t := v.k.tables[table]
	if t == nil {
		return nil, false
	}
	row, ok := t.rows[id]
	return row, ok
}

// Find returns a row whose column has the value.
func (v View) Find(table, column string, value any) (Row, bool) {
	t := v.k.tables[table]
	if t == nil {
		return nil, false
	}
	text, isText := value.(string)
	for _, row := range t.rows {
		if has, ok := row[column].(string); ok && isText { // names, mostly
			if has == text {
				return row, true
			}
		} else if Equal(row[column], value) {
			return row, true
		}
	}
	return nil, false
}

// Version returns a number that grows with each update of the table.
func (v View) Version(table string) uint64 {
	t := v.k.tables[table]
	if t == nil {
		return 0
	}
	return t.version
}

// Rows returns a table's rows in the order of their UUIDs.
func (k *Cache) Rows(table string) (rows []Row, err error) {
	err = k.View(func(v View) error {
		rows = v.Rows(table)
		return nil
	})
	return rows, err
}

// WaitFor returns once cond, called with each state of the tables, the first
// one included, reports true or an error. States that follow each other fast
// may be skipped. cond must not call the Cache or the Client.
func (k *Cache) WaitFor(ctx context.Context, cond func(View) (bool, error)) error {
	for {
		var changed chan struct{}
		var ok bool
		err := k.View(func(v View) (err error) {
			changed = k.changed
			ok, err = cond(v)
			return err
		})
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-k.client.dead:
		case <-ctx.Done():
			return fmt.Errorf("ovsdb: %w", context.Cause(ctx))
		}
	}
}
