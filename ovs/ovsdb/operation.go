package ovsdb

import (
	"encoding/json"
	"fmt"
	"time"
)

// Operation is one step of a transaction (RFC 7047, section 5.2). Make one
// with Insert, Select, Update, Mutate, Delete, Wait, Comment, Abort, Commit or Assert.
type Operation struct {
	fields map[string]any
}

// Condition selects rows: those whose column relates to the value by the
// function "==", "!=", "<", "<=", ">", ">=", "includes" or "excludes".
type Condition struct {
	Column   string
	Function string
	Value    any
}

// Where is the condition that a column equals a value.
func Where(column string, value any) Condition {
	return Condition{Column: column, Function: "==", Value: value}
}

// MarshalJSON writes the triple of RFC 7047.
func (c Condition) MarshalJSON() ([]byte, error) {
	value, err := treeOf(c.Value)
	if err != nil {
		return nil, fmt.Errorf("condition on %q: %w", c.Column, err)
	}
	return encodeJSON([]any{c.Column, c.Function, value})
}

// Mutation changes a column in place, by the mutator "+=", "-=", "*=", "/=",
// "%=", "insert" or "delete".
type Mutation struct {
	Column  string
	Mutator string
	Value   any
}

// MarshalJSON writes the triple of RFC 7047.
func (m Mutation) MarshalJSON() ([]byte, error) {
	value, err := treeOf(m.Value)
	if err != nil {
		return nil, fmt.Errorf("mutation of %q: %w", m.Column, err)
	}
	return encodeJSON([]any{m.Column, m.Mutator, value})
}

// MarshalJSON writes the operation as RFC 7047 has it.
func (o Operation) MarshalJSON() ([]byte, error) {
	if o.fields == nil {
		return nil, fmt.Errorf("ovsdb: operation of no kind")
	}
	return encodeJSON(o.fields)
}

// String is the operation's JSON.
func (o Operation) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func conditions(where []Condition) []Condition {
	if where == nil {
		return []Condition{}
	}
	return where
}

// Insert adds a row. A name that is not empty may be used as NamedUUID
// elsewhere in the transaction. The result's UUID is the new row's.
func Insert(table string, name NamedUUID, row Row) Operation {
	f := map[string]any{"op": "insert", "table": table, "row": row}
	if name != "" {
		f["uuid-name"] = string(name)
	}
	return Operation{f}
}

// Select reads the named columns (nil is all) of the rows for which all conditions hold.
func Select(table string, columns []string, where ...Condition) Operation {
	f := map[string]any{"op": "select", "table": table, "where": conditions(where)}
	if columns != nil {
		f["columns"] = columns
	}
	return Operation{f}
}

// Update writes the row's columns into the rows for which all conditions hold.
func Update(table string, row Row, where ...Condition) Operation {
	return Operation{map[string]any{"op": "update", "table": table, "row": row, "where": conditions(where)}}
}

// Mutate applies the mutations to the rows for which all conditions hold.
func Mutate(table string, mutations []Mutation, where ...Condition) Operation {
	if mutations == nil {
		mutations = []Mutation{}
	}
	return Operation{map[string]any{"op": "mutate", "table": table, "mutations": mutations, "where": conditions(where)}}
}

// Delete removes the rows for which all conditions hold.
func Delete(table string, where ...Condition) Operation {
	return Operation{map[string]any{"op": "delete", "table": table, "where": conditions(where)}}
}

// Wait lets the transaction go on once the rows for which all conditions hold
// have, in the named columns, exactly the given contents (equal is true), or
// any other (false). It fails with CodeTimedOut after the timeout; a zero
// timeout checks once.
func Wait(table string, timeout time.Duration, columns []string, equal bool, rows []Row, where ...Condition) Operation {
	until := "=="
	if !equal {
		until = "!="
	}
	if rows == nil {
		rows = []Row{}
	}
	return Operation{map[string]any{
		"op": "wait", "table": table, "timeout": timeout.Milliseconds(),
		"columns": columns, "until": until, "rows": rows, "where": conditions(where),
	}}
}

// Comment puts text into the server's log of the transaction.
func Comment(text string) Operation {
	return Operation{map[string]any{"op": "comment", "comment": text}}
}

// Abort fails the transaction with CodeAborted.
func Abort() Operation { return Operation{map[string]any{"op": "abort"}} }

// Commit, when durable, makes the transaction wait until it is on disk.
func Commit(durable bool) Operation {
	return Operation{map[string]any{"op": "commit", "durable": durable}}
}

// Assert fails the transaction with CodeNotOwner unless this connection holds the lock.
func Assert(lock string) Operation {
	return Operation{map[string]any{"op": "assert", "lock": lock}}
}

// Result is what one operation gave; which field is set depends on its kind.
type Result struct {
	Count int   // rows an update, mutate or delete touched
	UUID  UUID  // the row an insert made
	Rows  []Row // what a select read
}

// decodeResults reads the reply to a transact. The first fault it reports
// becomes an *Error.
func decodeResults(data []byte, ops []Operation) ([]Result, error) {
	var items []struct {
		Count   int             `json:"count"`
		UUID    json.RawMessage `json:"uuid"`
		Rows    []json.RawMessage
		Error   string
		Details string
	}
	if err := json.Unmarshal(data, &items); err != nil {
		return nil, malformed("transact: %v", err)
	}
	for i, it := range items {
		if it.Error == "" {
			continue
		}
		e := &Error{Code: it.Error, Details: it.Details, Method: "transact", Op: -1}
		if i < len(ops) {
			e.Op, e.Operation = i, ops[i].String()
		}
		return nil, e
	}
	if len(items) != len(ops) {
		return nil, malformed("transact: %d results for %d operations", len(items), len(ops))
	}
	results := make([]Result, len(items))
	for i, it := range items {
		results[i].Count = it.Count
		if it.UUID != nil {
			v, err := DecodeValue(it.UUID)
			if err != nil {
				return nil, fmt.Errorf("transact: result %d: %w", i, err)
			}
			id, ok := v.(UUID)
			if !ok {
				return nil, malformed("transact: result %d: uuid is %T", i, v)
			}
			results[i].UUID = id
		}
		for _, raw := range it.Rows {
			row, err := DecodeRow(raw)
			if err != nil {
				return nil, fmt.Errorf("transact: result %d: %w", i, err)
			}
			results[i].Rows = append(results[i].Rows, row)
		}
	}
	return results, nil
}
