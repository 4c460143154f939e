package ovsdb

import (
	"encoding/json"
	"fmt"
	"math"
)

// Schema of a database (RFC 7047, section 3.2).
type Schema struct {
	Name    string                 `json:"name"`
	Version string                 `json:"version"`
	Tables  map[string]TableSchema `json:"tables"`
}

// TableSchema describes a table. Rows of a table that is no root go when
// nothing refers to them.
type TableSchema struct {
	Columns map[string]ColumnSchema `json:"columns"`
	IsRoot  bool                    `json:"isRoot"`
	MaxRows int                     `json:"maxRows"` // 0: no bound
	Indexes [][]string              `json:"indexes"`
}

// ColumnSchema describes a column. An ephemeral one does not outlive the server.
type ColumnSchema struct {
	Type      ColumnType `json:"type"`
	Ephemeral bool       `json:"ephemeral"`
	Mutable   *bool      `json:"mutable"` // nil: true
}

// Unlimited is the Max of a set or map without a bound.
const Unlimited = math.MaxInt

// ColumnType is what a column holds: Min to Max keys, each with a value if
// Value has a type.
type ColumnType struct {
	Key      BaseType
	Value    BaseType // Type is "" unless the column is a map
	Min, Max int
}

// BaseType is the type of an atom: "integer", "real", "boolean", "string" or "uuid".
type BaseType struct {
	Type     string `json:"type"`
	RefTable string `json:"refTable"`
	RefType  string `json:"refType"`
}

// ParseSchema reads a <database-schema>.
func ParseSchema(data []byte) (*Schema, error) {
	if err := checkDepth(data); err != nil {
		return nil, fmt.Errorf("ovsdb: schema: %w", err)
	}
	var s Schema
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("ovsdb: schema: %w", malformed("%v", err))
	}
	if s.Name == "" || s.Tables == nil {
		return nil, fmt.Errorf("ovsdb: schema: %w", malformed("no name or no tables"))
	}
	return &s, nil
}

// UnmarshalJSON reads the short form, a string, and the long form, an object.
func (b *BaseType) UnmarshalJSON(data []byte) error {
	*b = BaseType{}
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &b.Type)
	}
	type plain BaseType
	return json.Unmarshal(data, (*plain)(b))
}

// UnmarshalJSON reads the short form, a string, and the long form, an object.
func (t *ColumnType) UnmarshalJSON(data []byte) error {
	*t = ColumnType{Min: 1, Max: 1}
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &t.Key)
	}
	var long struct {
		Key   BaseType
		Value BaseType
		Min   *int
		Max   json.RawMessage
	}
	if err := json.Unmarshal(data, &long); err != nil {
		return err
	}
	t.Key, t.Value = long.Key, long.Value
	if long.Min != nil {
		t.Min = *long.Min
	}
	switch {
	case long.Max == nil:
	case string(long.Max) == `"unlimited"`:
		t.Max = Unlimited
	default:
		return json.Unmarshal(long.Max, &t.Max)
	}
	return nil
}

// normal brings a value into the one form the column's type has: Map for a
// map, Set for what may hold none or several, an atom otherwise. OVSDB writes a
// set of one as the atom, and a whole real number as an integer.
func (t ColumnType) normal(v any) any {
	if t.Value.Type != "" {
		if s, ok := v.(Set); ok && len(s) == 0 {
			return Map{}
		}
		return v
	}
	if t.Key.Type == "real" {
		if n, ok := v.(int64); ok {
			v = float64(n)
		}
	}
	switch s, isSet := v.(Set); {
	case !isSet && (t.Min != 1 || t.Max != 1):
		return Set{v}
	case isSet && t.Min == 1 && t.Max == 1 && len(s) == 1:
		return s[0]
	}
	return v
}

// patch applies a difference (ovsdb-server(7), "update2") to a value. Neither is changed.
func (t ColumnType) patch(old, diff any) any {
	diff = t.normal(diff)
	switch d := diff.(type) {
	case Map:
		m, _ := old.(Map)
		out := make(Map, len(m)+len(d))
		for k, v := range m {
			out[k] = v
		}
		for k, v := range d {
			if had, ok := m[k]; ok && had == v {
				delete(out, k)
			} else {
				out[k] = v
			}
		}
		return out
	case Set:
		if t.Max <= 1 {
			return d
		}
		was, _ := old.(Set)
		drop := make(map[any]bool, len(d))
		for _, a := range d {
			drop[a] = true
		}
		out := make(Set, 0, len(was)+len(d))
		for _, a := range was {
			if drop[a] {
				delete(drop, a)
			} else {
				out = append(out, a)
			}
		}
		for _, a := range d {
			if drop[a] {
				out = append(out, a)
			}
		}
		return out
	}
	return diff
}

// zero is the default of RFC 7047, section 5.2.1.
func (t ColumnType) zero() any {
	switch {
	case t.Value.Type != "":
		return Map{}
	case t.Min == 0 || t.Max != 1:
		return Set{}
	}
	switch t.Key.Type {
	case "integer":
		return int64(0)
	case "real":
		return float64(0)
	case "boolean":
		return false
	case "uuid":
		return UUID("00000000-0000-0000-0000-000000000000")
	}
	return ""
}
