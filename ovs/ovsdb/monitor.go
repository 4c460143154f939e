package ovsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// TableMonitor names what to follow of a table.
type TableMonitor struct {
	Table   string
	Columns []string    // nil is all
	Where   []Condition // nil is every row; needs a server with monitor_cond
	// Indexes are on columns of this table; their Table may be left empty.
	Indexes []Index
}

// Monitor follows tables of a database and returns once the Cache holds what
// is there now. It uses monitor_cond_since, or the older monitor_cond or
// monitor where the server does not know it. The context bounds the start
// only; the Cache lives until its Close or the connection's end.
func (c *Client) Monitor(ctx context.Context, db string, tables ...TableMonitor) (*Cache, error) {
	cache := newCache(c, "")
	cache.db, cache.asked = db, slices.Clone(tables)
	if err := cache.attach(ctx, c); err != nil {
		return nil, err
	}
	return cache, nil
}

// attach makes the Cache follow its tables over a connection. From the reply
// on, it holds what that server has; until then nothing of it changes.
func (k *Cache) attach(ctx context.Context, c *Client) error {
	schema, err := c.Schema(ctx, k.db)
	if err != nil {
		return err
	}
	k.mu.Lock()
	asked, last := k.asked, k.last
	k.mu.Unlock()
	tables, requests, err := plan(schema, asked)
	if err != nil {
		return fmt.Errorf("ovsdb: monitor %s: %w", k.db, err)
	}
	conditional := slices.ContainsFunc(asked, func(t TableMonitor) bool { return t.Where != nil })
	if last == "" || !k.hasColumns(tables) {
		last = zeroUUID
	}
	c.mu.Lock()
	c.nextID++
	id := fmt.Sprintf("m%d", c.nextID)
	key := `"` + id + `"`
	c.monitors[key] = k.notification
	c.mu.Unlock()
	for _, method := range []string{"monitor_cond_since", "monitor_cond", "monitor"} {
		params := []any{k.db, id, requests}
		if method == "monitor_cond_since" {
			params = append(params, last)
		}
		if method == "monitor" && conditional {
			break // an older server would send every row
		}
		_, err = c.call(ctx, method, params, func(result scanner) error {
			return k.initial(c, id, method, tables, result)
		})
		if !hasCode(err, "unknown method", "not supported") {
			break
		}
	}
	if err != nil {
		c.mu.Lock()
		delete(c.monitors, key)
		c.mu.Unlock()
		if ctx.Err() != nil { // a monitor that the server has made nonetheless is not wanted
			c.tell(request{Method: "monitor_cancel", Params: []any{id}, ID: "cancel"})
		}
	}
	return err
}

// plan checks what is asked for against the schema. It returns empty tables for
// it and <monitor-requests>.
func plan(schema *Schema, asked []TableMonitor) (map[string]*table, map[string][]any, error) {
	tables, requests := map[string]*table{}, map[string][]any{}
	for _, t := range asked {
		ts, ok := schema.Tables[t.Table]
		if !ok {
			return nil, nil, fmt.Errorf("table %q: %w", t.Table, ErrNotFound)
		}
		if tables[t.Table] == nil {
			tables[t.Table] = &table{columns: map[string]ColumnSchema{}}
		}
		columns := tables[t.Table].columns
		names := t.Columns
		if names == nil {
			names = slices.Sorted(maps.Keys(ts.Columns))
		}
		for _, name := range names {
			column, ok := ts.Columns[name]
			if !ok {
				return nil, nil, fmt.Errorf("column %q of table %q: %w", name, t.Table, ErrNotFound)
			}
			columns[name] = column
		}
		for _, x := range t.Indexes {
			x.Table = t.Table
			if err := x.validate(columns); err != nil {
				return nil, nil, err
			}
			tables[t.Table].indexes = append(tables[t.Table].indexes, &index{Index: x})
		}
		request := map[string]any{"columns": names}
		if t.Where != nil {
			request["where"] = t.Where
		}
		requests[t.Table] = append(requests[t.Table], request)
	}
	return tables, requests, nil
}

// hasColumns reports whether the Cache's tables have the same columns.
func (k *Cache) hasColumns(tables map[string]*table) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, t := range tables {
		if have := k.tables[name]; have == nil || !reflect.DeepEqual(have.columns, t.columns) {
			return false
		}
	}
	return true
}

// SetWhere changes which rows of a table are followed (monitor_cond_change of
// ovsdb-server(7)): those for which all conditions hold, or every row if there
// is none. It returns once the Cache holds them. The table must have been
// asked for once, and the server must know monitor_cond.
func (k *Cache) SetWhere(ctx context.Context, table string, where ...Condition) error {
	k.mu.Lock()
	c, id := k.client, k.id
	asked := slices.Clone(k.asked)
	k.mu.Unlock()
	at := -1
	for i, t := range asked {
		if t.Table == table && at >= 0 {
			return fmt.Errorf("ovsdb: conditions of table %q: it is asked for twice", table)
		}
		if t.Table == table {
			at = i
		}
	}
	if at < 0 {
		return fmt.Errorf("ovsdb: conditions of table %q: %w: it is not monitored", table, ErrNotFound)
	}
	asked[at].Where = where
	request := map[string]any{"where": where}
	if len(where) == 0 {
		request["where"] = []any{true}
	}
	_, err := c.call(ctx, "monitor_cond_change", []any{id, id, map[string]any{table: []any{request}}}, func(scanner) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.asked = asked
		return nil
	})
	if err != nil && !isServer(err) { // which conditions hold is not known: read all when connected again
		k.mu.Lock()
		k.stale, k.last = true, ""
		k.mu.Unlock()
	}
	return err
}

// Close stops following. Reads fail from then on.
func (k *Cache) Close(ctx context.Context) error {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil
	}
	k.closed = true
	k.wakeLocked()
	c, id := k.client, k.id
	k.mu.Unlock()
	c.mu.Lock()
	delete(c.monitors, `"`+id+`"`)
	c.mu.Unlock()
	_, err := c.call(ctx, "monitor_cancel", []any{id}, nil)
	return err
}

const zeroUUID = "00000000-0000-0000-0000-000000000000"

// initial takes the reply to a monitor request: all rows, or what has changed
// since the transaction asked from.
func (k *Cache) initial(c *Client, id, method string, tables map[string]*table, result scanner) error {
	found, last := false, ""
	if method == "monitor_cond_since" {
		parts, err := result.split()
		if err != nil || len(parts) != 3 ||
			json.Unmarshal(parts[0].rest(), &found) != nil || json.Unmarshal(parts[1].rest(), &last) != nil {
			return malformed("%s: result %.100s", method, result.rest())
		}
		result = parts[2]
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !found {
		fresh := &Cache{tables: tables}
		if _, err := fresh.applyLocked(result); err != nil {
			return err
		}
		k.client, k.id, k.last, k.stale = c, id, last, false
		k.replaceLocked(tables)
		return nil
	}
	k.last = "" // until all of it is applied
	changes, err := k.applyLocked(result)
	if err != nil {
		return err
	}
	k.client, k.id, k.last = c, id, last
	k.wakeLocked()
	k.tellLocked(changes)
	return nil
}

// replaceLocked puts tables in the place of those there are, and tells how they differ.
func (k *Cache) replaceLocked(tables map[string]*table) {
	var changes []Change
	for name, t := range tables {
		was := k.tables[name]
		if was == nil {
			was = &table{}
		}
		t.version = was.version + 1
		if len(k.watchers) == 0 {
			continue
		}
		for id, old := range was.rows.all() {
			row, ok := t.rows.get(id)
			if !ok || !sameRow(old, row) {
				changes = append(changes, Change{name, UUID(id), old, row})
			}
		}
		for id, row := range t.rows.all() {
			if _, ok := was.rows.get(id); !ok {
				changes = append(changes, Change{name, UUID(id), nil, row})
			}
		}
	}
	k.tables = tables
	k.wakeLocked()
	k.tellLocked(changes)
}

func sameRow(a, b Row) bool {
	return maps.EqualFunc(a, b, func(x, y any) bool { return Equal(x, y) })
}

// notification takes an update, update2 or update3.
func (k *Cache) notification(method string, params scanner) error {
	parts, err := params.split()
	if err != nil || len(parts) < 2 {
		return malformed("%s: params %.100s", method, params.rest())
	}
	last := ""
	if method == "update3" {
		if len(parts) != 3 || json.Unmarshal(parts[1].rest(), &last) != nil {
			return malformed("%s: params %.100s", method, params.rest())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = "" // until all of it is applied
	changes, err := k.applyLocked(parts[len(parts)-1])
	if err != nil {
		return err
	}
	if !k.stale {
		k.last = last
	}
	k.wakeLocked()
	k.tellLocked(changes)
	return nil
}
