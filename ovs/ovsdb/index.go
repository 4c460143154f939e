package ovsdb

import (
	"fmt"
	"slices"
	"strconv"
)

// An Index finds the rows of a table by a column: by its atom, by each atom of
// a set, or, with a Key, by the value that a map has for that key. An index on
// {Table: "Interface", Column: "external_ids", Key: "iface-id"} finds
// interfaces by what they are attached to.
type Index struct {
	Table, Column string
	Key           string
}

func (x Index) String() string {
	if x.Key == "" {
		return fmt.Sprintf("%s.%s", x.Table, x.Column)
	}
	return fmt.Sprintf("%s.%s:%s", x.Table, x.Column, x.Key)
}

// atoms calls yield with what the index knows a row by.
func (x Index) atoms(row Row, yield func(any)) {
	switch v := row[x.Column].(type) {
	case Map:
		if a, ok := v[x.Key]; ok && x.Key != "" {
			yield(a)
		}
	case Set:
		for _, a := range v {
			yield(a)
		}
	case nil:
	default:
		yield(v)
	}
}

// validate reports whether a table's schema has what the index is on.
func (x Index) validate(columns map[string]ColumnSchema) error {
	c, ok := columns[x.Column]
	switch {
	case !ok:
		return fmt.Errorf("index %s: %w: the column is not monitored", x, ErrNotFound)
	case c.Type.Value.Type != "" && x.Key == "":
		return fmt.Errorf("index %s: a map is indexed by one of its keys", x)
	case c.Type.Value.Type == "" && x.Key != "":
		return fmt.Errorf("index %s: the column is no map", x)
	}
	return nil
}

// An index holds, for each atom, the rows that have it.
type index struct {
	Index
	rows cow[[]Row]
}

// atomKey returns what an atom is found by among those of one type.
func atomKey(a any) string {
	switch a := a.(type) {
	case string:
		return a
	case UUID:
		return string(a)
	case int64:
		return strconv.FormatInt(a, 10)
	}
	return fmt.Sprint(a)
}

func (x *index) add(row Row) {
	x.atoms(row, func(a any) {
		x.rows.update(atomKey(a), func(list []Row) []Row {
			return append(slices.Clip(list), row) // the old list may be in a snapshot
		})
	})
}

func (x *index) remove(row Row) {
	x.atoms(row, func(a any) {
		k := atomKey(a)
		list, _ := x.rows.get(k)
		list = slices.DeleteFunc(slices.Clone(list), func(o Row) bool { return o["_uuid"] == row["_uuid"] })
		if len(list) == 0 {
			x.rows.delete(k)
		} else {
			x.rows.set(k, list)
		}
	})
}
