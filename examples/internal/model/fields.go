package model

import (
	"reflect"
	"strings"
)

// jsonFields returns the names of T's JSON fields.
func jsonFields[T any]() map[string]bool {
	names := map[string]bool{}
	collectFields(reflect.TypeFor[T](), names)
	return names
}

func collectFields(t reflect.Type, names map[string]bool) {
	if t.Kind() != reflect.Struct {
		return
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			collectFields(f.Type, names)
			continue
		}
		if name != "" && name != "-" {
			names[name] = true
		}
	}
}
