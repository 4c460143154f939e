package ovsdb

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Table reads and writes the rows of one table as values of T, a struct with
// tags as [Marshal] has them. Make one with [TableOf]; it may be used by
// several goroutines.
type Table[T any] struct {
	name string
	cols []column
}

// TableOf returns a table of a schema with rows of type T. A field whose
// column is not in the schema, or whose type the column's values do not all
// fit, is an error that names table, column and field: a set without a bound
// needs a slice, an optional value a pointer or a slice, a map a map. All faults
// are reported.
func TableOf[T any](s *Schema, name string) (*Table[T], error) {
	t := reflect.TypeFor[T]()
	ts, ok := s.Tables[name]
	if !ok {
		return nil, fmt.Errorf("ovsdb: schema %s: table %q: %w", s.Name, name, ErrNotFound)
	}
	cols, err := columns(t)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, c := range cols {
		field := t.Field(c.index)
		ct, ok := ts.Columns[c.name]
		switch {
		case c.name == "_uuid" || c.name == "_version":
			ct = ColumnSchema{Type: ColumnType{Key: BaseType{Type: "uuid"}, Min: 1, Max: 1}}
		case !ok:
			faults = append(faults, fmt.Sprintf("column %q: there is none, for field %s", c.name, field.Name))
			continue
		}
		if why := ct.Type.misfit(field.Type); why != "" {
			faults = append(faults, fmt.Sprintf("column %q: %s, field %s is %s", c.name, why, field.Name, field.Type))
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("ovsdb: %s as rows of table %q: %s", t, name, strings.Join(faults, "; "))
	}
	return &Table[T]{name, cols}, nil
}

// misfit says why not every value of a column fits a Go type, or "".
func (t ColumnType) misfit(f reflect.Type) string {
	switch {
	case t.Value.Type != "":
		if f.Kind() != reflect.Map {
			return "it is a map"
		}
		return cmp.Or(t.Key.misfit(f.Key()), t.Value.misfit(f.Elem()))
	case f.Kind() == reflect.Slice:
		return t.Key.misfit(f.Elem())
	case t.Max > 1:
		return "it is a set"
	case f.Kind() == reflect.Pointer:
		return t.Key.misfit(f.Elem())
	case t.Min == 0:
		return "it is optional"
	}
	return t.Key.misfit(f)
}

// misfit says why an atom does not fit a Go type, or "".
func (b BaseType) misfit(f reflect.Type) string {
	fits := false
	switch b.Type {
	case "string":
		fits = f.Kind() == reflect.String && f != reflect.TypeFor[UUID]()
	case "uuid":
		fits = f == reflect.TypeFor[UUID]()
	case "boolean":
		fits = f.Kind() == reflect.Bool
	case "integer":
		fits = f.Kind() >= reflect.Int && f.Kind() <= reflect.Uint64
	case "real":
		fits = f.Kind() == reflect.Float64 || f.Kind() == reflect.Float32
	}
	if fits || f.Kind() == reflect.Interface && f.NumMethod() == 0 {
		return ""
	}
	return "it holds " + b.Type + " values"
}

// Name returns the table's name.
func (t *Table[T]) Name() string { return t.name }

// Monitor returns what follows the columns of T, with indexes on them.
func (t *Table[T]) Monitor(indexes ...Index) TableMonitor {
	m := TableMonitor{Table: t.name, Columns: []string{}, Indexes: indexes}
	for _, c := range t.cols {
		if !strings.HasPrefix(c.name, "_") {
			m.Columns = append(m.Columns, c.name)
		}
	}
	return m
}

// Rows returns every row, in the order of UUIDs.
func (t *Table[T]) Rows(v View) ([]T, error) { return t.of(v.Rows(t.name)) }

// Lookup returns the rows that an index of this table has for an atom.
func (t *Table[T]) Lookup(v View, x Index, atom any) ([]T, error) {
	x.Table = t.name
	rows, err := v.Lookup(x, atom)
	if err != nil {
		return nil, err
	}
	return t.of(rows)
}

// Of turns a row into a T.
func (t *Table[T]) Of(row Row) (v T, err error) {
	err = Unmarshal(row, &v)
	return v, err
}

func (t *Table[T]) of(rows []Row) ([]T, error) {
	list := make([]T, len(rows))
	for i, row := range rows {
		if err := Unmarshal(row, &list[i]); err != nil {
			return nil, fmt.Errorf("ovsdb: table %q: row %v: %w", t.name, row["_uuid"], err)
		}
	}
	return list, nil
}

// Insert is the operation that makes a row; name is what other operations of
// the transaction call it by, see [NamedUUID].
func (t *Table[T]) Insert(name NamedUUID, v *T) (Operation, error) {
	row, err := Marshal(v)
	if err != nil {
		return Operation{}, err
	}
	return Insert(t.name, name, row), nil
}

// Update is the operation that sets columns of the rows that fulfil the
// conditions to those of v; no column means all.
func (t *Table[T]) Update(v *T, columns []string, where ...Condition) (Operation, error) {
	row, err := Marshal(v)
	if err != nil {
		return Operation{}, err
	}
	for _, name := range columns {
		if !slices.ContainsFunc(t.cols, func(c column) bool { return c.name == name }) {
			return Operation{}, fmt.Errorf("ovsdb: update of table %q: column %q: %w", t.name, name, ErrNotFound)
		}
	}
	for name := range row {
		if columns != nil && !slices.Contains(columns, name) {
			delete(row, name)
		}
	}
	return Update(t.name, row, where...), nil
}
