package ovsdb

import (
	"fmt"
	"maps"
	"sync"
)

// applyLocked takes <table-updates> of RFC 7047 or <table-updates2>, which are
// known to be JSON, and returns what they change if anybody wants to know.
// After an error the tables are of no use.
func (k *Cache) applyLocked(updates scanner) ([]Change, error) {
	var batches []*batch
	defer func() { // the bytes are used again
		for _, b := range batches {
			b.wait()
		}
	}()
	err := updates.object(func(name []byte) error {
		t := k.tables[string(name)]
		if t == nil {
			return malformed("update of table %q, which is not monitored", name)
		}
		t.version++
		table, n := string(name), 0
		err := updates.object(func(id []byte) error {
			part, err := updates.skip()
			batches = add(batches, arrival{table: t, name: table, id: UUID(id), update: part.rest()})
			n++
			return err
		})
		t.expect(n)
		return err
	})
	if err == nil {
		err = updates.end()
	}
	if err != nil {
		return nil, err
	}
	return k.takeLocked(batches)
}

// takeLocked makes the updates, in order.
func (k *Cache) takeLocked(batches []*batch) (changes []Change, err error) {
	taken := make(chan *batch, len(batches))
	var indexing sync.WaitGroup
	indexing.Go(func() {
		for b := range taken {
			b.index()
		}
	})
	defer indexing.Wait()
	defer close(taken)
	for _, b := range batches {
		if b.wait(); b.decoded == nil {
			b.decode()
		}
		for i := range b.rows {
			a := &b.rows[i]
			if err := a.take(); err != nil {
				return nil, fmt.Errorf("update of table %q, row %s: %w", a.name, a.id, err)
			}
			if len(k.watchers) > 0 && (a.old != nil || a.row != nil) {
				changes = append(changes, Change{a.name, a.id, a.old, a.row})
			}
		}
		taken <- b
	}
	return changes, nil
}

// A batch is some rows in the order they came in. A full one is decoded by a
// goroutine of its own.
type batch struct {
	rows    []arrival
	decoded chan struct{} // closed when they are; nil unless the batch is full
}

const batchRows = 500

// add puts a row into the last batch.
func add(batches []*batch, a arrival) []*batch {
	switch {
	case len(batches) == 0:
		batches = append(batches, &batch{})
	case batches[len(batches)-1].decoded != nil:
		batches = append(batches, &batch{rows: make([]arrival, 0, batchRows)})
	}
	b := batches[len(batches)-1]
	if b.rows = append(b.rows, a); len(b.rows) == batchRows {
		b.decoded = make(chan struct{})
		go func() {
			defer close(b.decoded)
			b.decode()
		}()
	}
	return batches
}

// wait returns when no goroutine decodes the rows.
func (b *batch) wait() {
	if b.decoded != nil {
		<-b.decoded
	}
}

func (b *batch) decode() {
	var shared *texts
	if b.decoded != nil {
		shared = new(texts)
	}
	for i := range b.rows {
		b.rows[i].decode(shared)
	}
}

func (b *batch) index() {
	for i := range b.rows {
		a := &b.rows[i]
		a.table.index(a.old, a.row)
	}
}

// An arrival is the update of one row: <row-update> of RFC 7047 or
// <row-update2> of ovsdb-server(7).
type arrival struct {
	table  *table
	name   string // of the table
	id     UUID
	update []byte
	diff   []byte // how the row differs from before, unless it comes whole or is gone
	old    Row    // as it was, nil if it is new
	row    Row    // as the update leaves it, nil if it is gone
	err    error
}

// decode reads what can be read without the row before. It may run beside
// that of other rows.
func (a *arrival) decode(shared *texts) {
	if a.id, a.err = ParseUUID(string(a.id)); a.err != nil {
		return
	}
	sc := scanner{data: a.update, texts: shared}
	a.err = sc.object(func(kind []byte) error {
		null := sc.peek() == 'n'
		switch string(kind) {
		case "new", "initial", "insert":
			if !null {
				var err error
				a.row, err = a.table.inserted(a.id, &sc)
				return err
			}
		case "modify":
			part, err := sc.skip()
			a.diff = part.rest()
			return err
		}
		_, err := sc.skip()
		return err
	})
}

// take makes the update, but for the indexes.
func (a *arrival) take() error {
	if a.err == nil && a.row == nil && !isNull(a.diff) {
		a.row, a.err = a.table.modified(a.id, a.diff)
	}
	if a.err == nil {
		a.old = a.table.set(a.id, a.row) // "delete", or "old" alone, has no row
	}
	return a.err
}

// inserted reads a whole row.
func (t *table) inserted(id UUID, sc *scanner) (Row, error) {
	out := make(Row, len(t.columns)+1)
	out["_uuid"] = id
	err := sc.object(func(text []byte) error {
		name := sc.texts.of(text).(string)
		c, ok := t.columns[name]
		if !ok {
			return malformed("column %q is not monitored", name)
		}
		v, err := sc.value()
		if err != nil {
			return wrapColumn(err, name)
		}
		out[name] = c.Type.normal(v)
		return nil
	})
	if err != nil || len(out) > len(t.columns) {
		return out, err
	}
	for name, c := range t.columns { // update2 leaves out what has its default
		if _, ok := out[name]; !ok {
			out[name] = c.Type.zero()
		}
	}
	return out, nil
}

// modified reads how a row differs from before.
func (t *table) modified(id UUID, data []byte) (Row, error) {
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
