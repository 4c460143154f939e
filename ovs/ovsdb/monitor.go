package ovsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	schema, err := c.Schema(ctx, db)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.nextID++
	id := fmt.Sprintf("m%d", c.nextID)
	c.mu.Unlock()
	cache := newCache(c, id)
	requests := map[string]any{}
	conditional := false
	for _, t := range tables {
		ts, ok := schema.Tables[t.Table]
		if !ok {
			return nil, fmt.Errorf("ovsdb: monitor %s: table %q: %w", db, t.Table, ErrNotFound)
		}
		if cache.tables[t.Table] == nil {
			cache.tables[t.Table] = &table{columns: map[string]ColumnSchema{}}
		}
		request := map[string]any{}
		names := t.Columns
		if names != nil {
			request["columns"] = names
		} else {
			names = slices.Collect(maps.Keys(ts.Columns))
		}
		for _, name := range names {
			column, ok := ts.Columns[name]
			if !ok {
				return nil, fmt.Errorf("ovsdb: monitor %s: column %q of table %q: %w", db, name, t.Table, ErrNotFound)
			}
			cache.tables[t.Table].columns[name] = column
		}
		for _, x := range t.Indexes {
			x.Table = t.Table
			if err := x.validate(cache.tables[t.Table].columns); err != nil {
				return nil, fmt.Errorf("ovsdb: monitor %s: %w", db, err)
			}
			cache.tables[t.Table].indexes = append(cache.tables[t.Table].indexes, &index{Index: x})
		}
		if t.Where != nil {
			request["where"], conditional = t.Where, true
		}
		list, _ := requests[t.Table].([]any)
		requests[t.Table] = append(list, request)
	}

	key := `"` + id + `"`
	c.mu.Lock()
	c.monitors[key] = cache.notification
	c.mu.Unlock()
	for _, method := range []string{"monitor_cond_since", "monitor_cond", "monitor"} {
		params := []any{db, id, requests}
		if method == "monitor_cond_since" {
			params = append(params, "00000000-0000-0000-0000-000000000000")
		}
		if method == "monitor" && conditional {
			break // an older server would send every row
		}
		_, err = c.call(ctx, method, params, func(result json.RawMessage) error {
			return cache.initial(method, result)
		})
		if !hasCode(err, "unknown method", "not supported") {
			break
		}
	}
	if err != nil {
		c.mu.Lock()
		delete(c.monitors, key)
		c.mu.Unlock()
		// A monitor that the server has made nonetheless is not wanted.
		if ctx.Err() != nil {
			select {
			case c.out <- request{Method: "monitor_cancel", Params: []any{id}, ID: "cancel"}:
			default:
			}
		}
		return nil, err
	}
	return cache, nil
}

// Close stops following. Reads fail from then on.
func (k *Cache) Close(ctx context.Context) error {
	k.client.mu.Lock()
	delete(k.client.monitors, `"`+k.id+`"`)
	k.client.mu.Unlock()
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil
	}
	k.closed = true
	k.wakeLocked()
	k.mu.Unlock()
	_, err := k.client.call(ctx, "monitor_cancel", []any{k.id}, nil)
	return err
}

// initial takes the reply to a monitor request.
func (k *Cache) initial(method string, result json.RawMessage) error {
	if method == "monitor_cond_since" {
		var parts []json.RawMessage
		if err := json.Unmarshal(result, &parts); err != nil || len(parts) != 3 {
			return malformed("%s: result %.100s", method, result)
		}
		result = parts[2]
	}
	return k.apply(result)
}

// notification takes an update, update2 or update3.
func (k *Cache) notification(method string, params json.RawMessage) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(params, &parts); err != nil || len(parts) < 2 {
		return malformed("%s: params %.100s", method, params)
	}
	return k.apply(parts[len(parts)-1])
}

// rowUpdate is <row-update> of RFC 7047 and <row-update2> of ovsdb-server(7).
type rowUpdate struct {
	New     json.RawMessage
	Initial json.RawMessage
	Insert  json.RawMessage
	Modify  json.RawMessage
}

// apply takes <table-updates> of RFC 7047 or <table-updates2>.
func (k *Cache) apply(data json.RawMessage) error {
	var updates map[string]map[string]rowUpdate
	if err := json.Unmarshal(data, &updates); err != nil {
		return malformed("table updates: %v", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var changes []Change
	for name, rows := range updates {
		t := k.tables[name]
		if t == nil {
			return malformed("update of table %q, which is not monitored", name)
		}
		for idText, u := range rows {
			id, err := ParseUUID(idText)
			var row Row
			if err == nil {
				row, err = t.updated(id, u)
			}
			if err != nil {
				return fmt.Errorf("update of table %q, row %s: %w", name, idText, err)
			}
			old := t.set(id, row)
			if len(k.watchers) > 0 && (old != nil || row != nil) {
				changes = append(changes, Change{name, id, old, row})
			}
		}
		t.version++
	}
	k.wakeLocked()
	k.tellLocked(changes)
	return nil
}

// updated returns a row as an update leaves it, nil if it is gone.
func (t *table) updated(id UUID, u rowUpdate) (Row, error) {
	full := u.New
	for _, alt := range []json.RawMessage{u.Initial, u.Insert} {
		if !isNull(alt) {
			full = alt
		}
	}
	switch {
	case !isNull(full):
		return t.inserted(id, full)
	case !isNull(u.Modify):
		return t.modified(id, u.Modify)
	}
	return nil, nil // "delete", or "old" alone
}

func (t *table) inserted(id UUID, data json.RawMessage) (Row, error) {
	row, err := DecodeRow(data)
	if err != nil {
		return nil, err
	}
	out := make(Row, len(t.columns)+1)
	out["_uuid"] = id
	for name, v := range row {
		c, ok := t.columns[name]
		if !ok {
			return nil, malformed("column %q is not monitored", name)
		}
		out[name] = c.Type.normal(v)
	}
	for name, c := range t.columns { // update2 leaves out what has its default
		if _, ok := out[name]; !ok {
			out[name] = c.Type.zero()
		}
	}
	return out, nil
}

func (t *table) modified(id UUID, data json.RawMessage) (Row, error) {
	diff, err := DecodeRow(data)
	if err != nil {
		return nil, err
	}
	old, ok := t.rows.get(string(id))
	if !ok {
		return nil, malformed("modifies a row that is not there")
	}
	out := maps.Clone(old)
	for name, d := range diff {
		c, ok := t.columns[name]
		if !ok {
			return nil, malformed("column %q is not monitored", name)
		}
		out[name] = c.Type.patch(old[name], d)
	}
	return out, nil
}
