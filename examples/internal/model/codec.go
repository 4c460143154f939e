package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/reconcile/intent"
)

// header lists the JSON fields that an [intent.Object] carries itself.
var header = []string{"resource_type", "id", "display_name", "path", "tags", "_revision"}

// Encode returns v as an object of the given kind. Header fields in v's JSON,
// such as display_name, become those of the object; id and tags are as given.
func Encode(kind, id string, tags []intent.Tag, v any) (intent.Object, error) {
	o, err := intent.NewObject(kind, id, v)
	if err != nil {
		return o, fmt.Errorf("encode %s %q: %w", kind, id, err)
	}
	o.Tags = tags
	return o, nil
}

// Decode returns the object as a T, header fields included. A field that T
// does not have is an error that names it.
func Decode[T any](o intent.Object) (T, error) {
	var v T
	raw, err := json.Marshal(o)
	if err != nil {
		return v, fmt.Errorf("decode %s %q: %w", o.ResourceType, o.ID, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return v, fmt.Errorf("decode %s %q: %w", o.ResourceType, o.ID, err)
	}
	known := jsonFields[T]()
	for _, h := range header {
		if !known[h] {
			delete(fields, h)
		}
	}
	if raw, err = json.Marshal(fields); err != nil {
		return v, fmt.Errorf("decode %s %q: %w", o.ResourceType, o.ID, err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("decode %s %q: %w", o.ResourceType, o.ID, err)
	}
	return v, nil
}

// TagValue returns the value of the first tag with the scope.
func TagValue(tags []intent.Tag, scope string) (string, bool) {
	for _, t := range tags {
		if t.Scope == scope {
			return t.Tag, true
		}
	}
	return "", false
}

// HasTag reports whether tags has scope with value.
func HasTag(tags []intent.Tag, scope, value string) bool {
	return slices.Contains(tags, intent.Tag{Scope: scope, Tag: value})
}

// SortTags orders tags by scope, then value, and drops repeats.
func SortTags(tags []intent.Tag) []intent.Tag {
	slices.SortFunc(tags, func(a, b intent.Tag) int {
		return strings.Compare(a.Scope+"\x00"+a.Tag, b.Scope+"\x00"+b.Tag)
	})
	return slices.Compact(tags)
}
