package ovsdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// UUID is the identity of a row, in lower-case text:
// "00000000-0000-0000-0000-000000000000".
type UUID string

// NamedUUID stands, inside one transaction, for the row that an insert with
// that UUIDName makes.
type NamedUUID string

// Set is a set of atoms (string, bool, int64, float64, UUID, NamedUUID),
// without an order that means anything. It also stands for an optional value:
// none or one atom.
type Set []any

// Map is a map from atoms to atoms.
type Map map[any]any

// Row is a row, or a part of one, by column name. Its values are atoms, Set
// and Map when they come from a server; on the way there they may also be other
// Go integers, slices, maps and pointers (nil is the empty set).
type Row map[string]any

// ParseUUID checks the text form of a UUID.
func ParseUUID(s string) (UUID, error) {
	ok, lower := len(s) == 36, true
	for i := 0; ok && i < len(s); i++ {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			ok = c == '-'
		case c >= 'A' && c <= 'F':
			lower = false
		default:
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		}
	}
	if !ok {
		return "", malformed("uuid %q", s)
	}
	if !lower {
		s = strings.ToLower(s)
	}
	return UUID(s), nil
}

// DecodeValue reads a <value> of RFC 7047, section 5.1.
func DecodeValue(data []byte) (any, error) {
	s := scanner{data: data}
	value, err := s.value()
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

// DecodeRow reads a <row> of RFC 7047, section 5.1.
func DecodeRow(data []byte) (Row, error) {
	s := scanner{data: data}
	row, err := s.row(0)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	return row, nil
}

// wrapColumn names the column that an error is about.
func wrapColumn(err error, column string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("column %q: %w", column, err)
}

// decodeJSON reads exactly one JSON value of bounded depth, with numbers kept as text.
func decodeJSON(data []byte) (any, error) {
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, malformed("%v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, malformed("bytes follow the value")
	}
	return tree, nil
}

func valueOf(tree any) (any, error) {
	tag, arg, ok := tagged(tree)
	if !ok || tag != "set" && tag != "map" {
		return atomOf(tree)
	}
	elems, ok := arg.([]any)
	if !ok {
		return nil, malformed("%s of %T", tag, arg)
	}
	if tag == "set" {
		set := make(Set, len(elems))
		for i, e := range elems {
			atom, err := atomOf(e)
			if err != nil {
				return nil, err
			}
			set[i] = atom
		}
		return set, nil
	}
	m := make(Map, len(elems))
	for _, e := range elems {
		pair, ok := e.([]any)
		if !ok || len(pair) != 2 {
			return nil, malformed("map element is no pair")
		}
		k, err := atomOf(pair[0])
		if err != nil {
			return nil, err
		}
		v, err := atomOf(pair[1])
		if err != nil {
			return nil, err
		}
		if _, dup := m[k]; dup {
			return nil, malformed("map has key %v twice", k)
		}
		m[k] = v
	}
	return m, nil
}

// tagged splits a two-element array that begins with a string.
func tagged(tree any) (tag string, arg any, ok bool) {
	pair, ok := tree.([]any)
	if !ok || len(pair) != 2 {
		return "", nil, false
	}
	tag, ok = pair[0].(string)
	return tag, pair[1], ok
}

func atomOf(tree any) (any, error) {
	switch v := tree.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := v.Float64()
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, malformed("number %s", v)
		}
		return f, nil
	}
	tag, arg, _ := tagged(tree)
	text, ok := arg.(string)
	switch {
	case tag == "uuid" && ok:
		return ParseUUID(text)
	case tag == "named-uuid" && ok:
		return NamedUUID(text), nil
	}
	return nil, malformed("atom of %T", tree)
}

// EncodeValue writes a Go value as a <value> of RFC 7047, section 5.1. Maps are
// written in the order of their keys, so that equal values give equal bytes.
func EncodeValue(v any) ([]byte, error) {
	tree, err := treeOf(v)
	if err != nil {
		return nil, err
	}
	return encodeJSON(tree)
}

// MarshalJSON writes the row with its columns in order.
func (r Row) MarshalJSON() ([]byte, error) {
	tree := make(map[string]any, len(r))
	for column, v := range r {
		value, err := treeOf(v)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", column, err)
		}
		tree[column] = value
	}
	return encodeJSON(tree)
}

func encodeJSON(tree any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// treeOf turns a value into what encoding/json writes as RFC 7047 wants it.
func treeOf(v any) (any, error) {
	v, err := canonical(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case Set:
		elems := make([]any, len(v))
		for i, e := range v {
			elems[i] = atomTree(e)
		}
		return []any{"set", elems}, nil
	case Map:
		pairs := make([]any, 0, len(v))
		for _, k := range sortedKeys(v) {
			pairs = append(pairs, []any{atomTree(k), atomTree(v[k])})
		}
		return []any{"map", pairs}, nil
	}
	return atomTree(v), nil
}

func atomTree(atom any) any {
	switch a := atom.(type) {
	case UUID:
		return []any{"uuid", string(a)}
	case NamedUUID:
		return []any{"named-uuid", string(a)}
	case float64: // keeps its point, so that it is read as a real again
		text := strconv.FormatFloat(a, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return json.Number(text)
	}
	return atom
}

// compareAtoms orders atoms: by type, then by value.
func compareAtoms(a, b any) int {
	if c := strings.Compare(fmt.Sprintf("%T", a), fmt.Sprintf("%T", b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case int64:
		return cmpOrdered(a, b.(int64))
	case float64:
		return cmpOrdered(a, b.(float64))
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

func cmpOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func sortedKeys(m Map) []any {
	keys := make([]any, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return compareAtoms(keys[i], keys[j]) < 0 })
	return keys
}

// Equal reports whether two values are the same to OVSDB: the order of a Set
// does not matter, and a Set of one atom equals the atom.
func Equal(a, b any) bool {
	a, errA := canonical(a)
	b, errB := canonical(b)
	if errA != nil || errB != nil {
		return false
	}
	if am, ok := a.(Map); ok {
		bm, ok := b.(Map)
		if !ok || len(am) != len(bm) {
			return false
		}
		for k, v := range am {
			if w, ok := bm[k]; !ok || v != w {
				return false
			}
		}
		return true
	}
	if _, ok := b.(Map); ok {
		return false
	}
	as, bs := slices.Clone(asSet(a)), slices.Clone(asSet(b))
	slices.SortFunc(as, compareAtoms)
	slices.SortFunc(bs, compareAtoms)
	return slices.Equal(as, bs)
}

func asSet(v any) Set {
	if s, ok := v.(Set); ok {
		return s
	}
	return Set{v}
}
