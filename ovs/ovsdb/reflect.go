package ovsdb

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// canonical turns a Go value into an atom, Set or Map.
func canonical(v any) (any, error) {
	switch v := v.(type) {
	case string, bool, int64, UUID, NamedUUID:
		return v, nil
	case float64:
		return finite(v)
	case nil:
		return Set{}, nil
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer:
		if rv.IsNil() {
			return Set{}, nil
		}
		atom, err := canonicalAtom(rv.Elem())
		return Set{atom}, err
	case reflect.Slice, reflect.Array:
		set := make(Set, rv.Len())
		for i := range set {
			atom, err := canonicalAtom(rv.Index(i))
			if err != nil {
				return nil, err
			}
			set[i] = atom
		}
		return set, nil
	case reflect.Map:
		m := make(Map, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			k, err := canonicalAtom(it.Key())
			if err != nil {
				return nil, err
			}
			e, err := canonicalAtom(it.Value())
			if err != nil {
				return nil, err
			}
			m[k] = e
		}
		return m, nil
	}
	return canonicalAtom(rv)
}

func canonicalAtom(rv reflect.Value) (any, error) {
	if rv.Kind() == reflect.Interface {
		rv = rv.Elem()
	}
	if !rv.IsValid() {
		return nil, malformed("nil is no atom")
	}
	switch v := rv.Interface().(type) {
	case UUID, NamedUUID:
		return v, nil
	}
	switch rv.Kind() {
	case reflect.String:
		return rv.String(), nil
	case reflect.Bool:
		return rv.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return rv.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if rv.Uint() > math.MaxInt64 {
			return nil, malformed("%d passes the largest OVSDB integer", rv.Uint())
		}
		return int64(rv.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return finite(rv.Float())
	}
	return nil, malformed("%s is no atom", rv.Type())
}

func finite(f float64) (any, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, malformed("real number %v", f)
	}
	return f, nil
}

// column is what a field's tag says.
type column struct {
	index int
	name  string
	enum  []string // nil: any value
	omit  bool     // leave a zero value out of Marshal
}

// columns reads the tags of a struct type. A tag is the column's name,
// followed by options: "omitempty", "enum=a|b|c".
func columns(t reflect.Type) ([]column, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("ovsdb: %s is no struct", t)
	}
	var out []column
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("ovsdb")
		if !ok || !t.Field(i).IsExported() {
			continue
		}
		c := column{index: i}
		name, rest, _ := strings.Cut(tag, ",")
		c.name = name
		for rest != "" {
			var option string
			option, rest, _ = strings.Cut(rest, ",")
			switch key, arg, _ := strings.Cut(option, "="); key {
			case "omitempty":
				c.omit = true
			case "enum":
				c.enum = strings.Split(arg, "|")
			default:
				return nil, fmt.Errorf("ovsdb: %s.%s: unknown tag option %q", t, t.Field(i).Name, option)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// Marshal makes a Row of a struct (or a pointer to one) whose fields are
// tagged `ovsdb:"column"`. A field is an atom (string, bool, integer, float,
// UUID), a slice for a set, a pointer for an optional value, or a map. The
// option "omitempty" leaves a zero field out, "enum=a|b" checks a string, in a
// pointer or slice too. Columns whose names begin with "_" belong to the
// server and are left out.
func Marshal(v any) (Row, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	if !rv.IsValid() {
		return nil, fmt.Errorf("ovsdb: marshal %T: nil", v)
	}
	cols, err := columns(rv.Type())
	if err != nil {
		return nil, err
	}
	row := Row{}
	for _, c := range cols {
		f := rv.Field(c.index)
		if strings.HasPrefix(c.name, "_") || c.omit && f.IsZero() {
			continue
		}
		value, err := canonical(f.Interface())
		if err == nil {
			err = c.checkEnum(value)
		}
		if err != nil {
			return nil, fmt.Errorf("ovsdb: marshal %s: column %q: %w", rv.Type(), c.name, err)
		}
		row[c.name] = value
	}
	return row, nil
}

func (c column) checkEnum(value any) error {
	if c.enum == nil {
		return nil
	}
	for _, atom := range asSet(value) {
		if s, ok := atom.(string); !ok || !slices.Contains(c.enum, s) {
			return malformed("%v is not one of %s", atom, strings.Join(c.enum, ", "))
		}
	}
	return nil
}

// Unmarshal sets the tagged fields of the struct that v points to from a row;
// the types are those of Marshal. A column the row lacks gives the zero value.
// A set that the field's type cannot hold, or a number out of its range, is an error.
func Unmarshal(row Row, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("ovsdb: unmarshal into %T: want a pointer to a struct", v)
	}
	rv = rv.Elem()
	cols, err := columns(rv.Type())
	if err != nil {
		return err
	}
	for _, c := range cols {
		f := rv.Field(c.index)
		f.SetZero()
		value, ok := row[c.name]
		if !ok {
			continue
		}
		err := c.checkEnum(value)
		if err == nil {
			err = assign(f, value)
		}
		if err != nil {
			return fmt.Errorf("ovsdb: unmarshal %s: column %q: %w", rv.Type(), c.name, err)
		}
	}
	return nil
}

func assign(f reflect.Value, value any) error {
	m, isMap := value.(Map)
	if isMap != (f.Kind() == reflect.Map) {
		return malformed("%T does not fit %s", value, f.Type())
	}
	switch f.Kind() {
	case reflect.Map:
		f.Set(reflect.MakeMapWithSize(f.Type(), len(m)))
		for k, v := range m {
			key, elem := reflect.New(f.Type().Key()).Elem(), reflect.New(f.Type().Elem()).Elem()
			if err := assignAtom(key, k); err != nil {
				return err
			}
			if err := assignAtom(elem, v); err != nil {
				return err
			}
			f.SetMapIndex(key, elem)
		}
		return nil
	case reflect.Slice:
		set := asSet(value)
		f.Set(reflect.MakeSlice(f.Type(), len(set), len(set)))
		for i, atom := range set {
			if err := assignAtom(f.Index(i), atom); err != nil {
				return err
			}
		}
		return nil
	case reflect.Pointer:
		set := asSet(value)
		switch len(set) {
		case 0:
			return nil
		case 1:
			f.Set(reflect.New(f.Type().Elem()))
			return assignAtom(f.Elem(), set[0])
		}
		return malformed("a set of %d does not fit %s", len(set), f.Type())
	}
	set := asSet(value)
	if len(set) != 1 {
		return malformed("a set of %d does not fit %s", len(set), f.Type())
	}
	return assignAtom(f, set[0])
}

func assignAtom(f reflect.Value, atom any) error {
	switch a := atom.(type) {
	case string:
		if f.Kind() == reflect.String && f.Type() != reflect.TypeFor[UUID]() {
			f.SetString(a)
			return nil
		}
	case UUID:
		if f.Type() == reflect.TypeFor[UUID]() {
			f.SetString(string(a))
			return nil
		}
	case bool:
		if f.Kind() == reflect.Bool {
			f.SetBool(a)
			return nil
		}
	case int64:
		switch {
		case f.CanInt() && !f.OverflowInt(a):
			f.SetInt(a)
			return nil
		case f.CanUint() && a >= 0 && !f.OverflowUint(uint64(a)):
			f.SetUint(uint64(a))
			return nil
		case f.CanFloat():
			f.SetFloat(float64(a))
			return nil
		}
	case float64:
		if f.CanFloat() {
			f.SetFloat(a)
			return nil
		}
	}
	if f.Kind() == reflect.Interface && f.NumMethod() == 0 {
		f.Set(reflect.ValueOf(atom))
		return nil
	}
	return malformed("%T %v does not fit %s", atom, atom, f.Type())
}
