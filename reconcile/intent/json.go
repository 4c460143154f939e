package intent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// reserved says whether a JSON field belongs to the object itself.
func reserved(name string) bool {
	switch name {
	case "resource_type", "id", "display_name", "path", "tags", "_revision":
		return true
	}
	return false
}

// MarshalJSON writes the object's own fields, then those of Body.
func (o Object) MarshalJSON() ([]byte, error) {
	head, err := encode(struct {
		ResourceType string `json:"resource_type"`
		ID           string `json:"id"`
		DisplayName  string `json:"display_name,omitempty"`
		Path         string `json:"path,omitempty"`
		Tags         []Tag  `json:"tags,omitempty"`
		Revision     uint64 `json:"_revision,omitempty"`
	}{o.ResourceType, o.ID, o.DisplayName, o.Path, o.Tags, o.Revision})
	if err != nil {
		return nil, err
	}
	body, field, err := canonicalBody(o.Body)
	if err != nil {
		return nil, invalid("encode", o.Key(), field, err.Error())
	}
	if body == nil {
		return head, nil
	}
	head[len(head)-1] = ','
	return append(head, body[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes. A field given twice or one of the object's own with
// a wrong type is an *Error that names it.
func (o *Object) UnmarshalJSON(raw []byte) error {
	got, err := decodeObject(raw)
	if err != nil {
		return err
	}
	*o = got
	return nil
}

// maxNesting bounds how deep the JSON of an object may nest, so that reading it takes time in
// proportion to its size.
const maxNesting = 64

// nested is how deep raw nests, without regard to whether it is well formed.
func nested(raw []byte) int {
	deepest, depth, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func decodeObject(raw []byte) (Object, error) {
	var o Object
	if d := nested(raw); d > maxNesting {
		return o, invalid("decode", Key{}, "", fmt.Sprintf("nested %d deep, more than %d", d, maxNesting))
	}
	fields, err := splitObject(raw, "")
	if err != nil {
		return o, err
	}
	take := func(name string, into any) {
		v, ok := fields[name]
		if !ok || err != nil {
			return
		}
		delete(fields, name)
		dec := json.NewDecoder(bytes.NewReader(v))
		dec.DisallowUnknownFields()
		if e := dec.Decode(into); e != nil {
			if sub := fieldOf(e); sub != "" {
				name += "." + sub
			}
			err = invalid("decode", o.Key(), name, e.Error())
		}
	}
	take("resource_type", &o.ResourceType)
	take("id", &o.ID)
	take("display_name", &o.DisplayName)
	take("path", &o.Path)
	take("tags", &o.Tags)
	take("_revision", &o.Revision)
	if err != nil {
		return Object{}, err
	}
	if len(fields) > 0 {
		var b bytes.Buffer
		if err := writeFields(&b, fields, ""); err != nil {
			return Object{}, err
		}
		o.Body = b.Bytes()
	}
	return o, nil
}

// canonicalBody is the compact form of a body with sorted keys; nil for one without fields. On
// error it names the faulty field.
func canonicalBody(raw json.RawMessage) (json.RawMessage, string, error) {
	if len(raw) == 0 {
		return nil, "", nil
	}
	if d := nested(raw); d > maxNesting {
		return nil, "", fmt.Errorf("nested %d deep, more than %d", d, maxNesting)
	}
	fault := func(err error) (json.RawMessage, string, error) {
		if e, ok := errors.AsType[*Error](err); ok {
			return nil, e.Field, e.Err
		}
		return nil, "", err
	}
	fields, err := splitObject(raw, "")
	if err != nil {
		return fault(err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if reserved(name) {
			return nil, name, errors.New("is the object's own and must not be in its body")
		}
	}
	if len(fields) == 0 {
		return nil, "", nil
	}
	var b bytes.Buffer
	if err := writeFields(&b, fields, ""); err != nil {
		return fault(err)
	}
	return b.Bytes(), "", nil
}

// splitObject reads the members of the one JSON object in raw; at is its path, for errors.
func splitObject(raw []byte, at string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	tok, err := dec.Token()
	if err != nil {
		return nil, invalid("decode", Key{}, at, syntax(err))
	}
	if tok != json.Delim('{') {
		return nil, invalid("decode", Key{}, at, fmt.Sprintf("want a JSON object, got %.40q", raw))
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, invalid("decode", Key{}, at, syntax(err))
		}
		name, _ := tok.(string)
		if _, twice := fields[name]; twice {
			return nil, invalid("decode", Key{}, join(at, name), "given twice")
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, invalid("decode", Key{}, join(at, name), syntax(err))
		}
		fields[name] = v
	}
	if _, err := dec.Token(); err != nil {
		return nil, invalid("decode", Key{}, at, syntax(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("decode", Key{}, at, "more data after the object")
	}
	return fields, nil
}

func syntax(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "JSON ends too early"
	}
	return err.Error()
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func writeFields(b *bytes.Buffer, fields map[string]json.RawMessage, at string) error {
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := encode(name)
		if err != nil {
			return err
		}
		b.Write(key)
		b.WriteByte(':')
		if err := writeValue(b, fields[name], join(at, name)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// writeValue writes one JSON value compactly, keys sorted at every level.
func writeValue(b *bytes.Buffer, raw json.RawMessage, at string) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return invalid("decode", Key{}, at, "JSON ends too early")
	}
	switch raw[0] {
	case '{':
		fields, err := splitObject(raw, at)
		if err != nil {
			return err
		}
		return writeFields(b, fields, at)
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return invalid("decode", Key{}, at, syntax(err))
		}
		b.WriteByte('[')
		for i, v := range list {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeValue(b, v, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return invalid("decode", Key{}, at, syntax(err))
		}
		text, err := encode(s)
		if err != nil {
			return err
		}
		b.Write(text)
	default:
		b.Write(raw)
	}
	return nil
}

// encode is json.Marshal without the escaping meant for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// fieldOf is the field an encoding/json error speaks of.
func fieldOf(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e.Field
	}
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return strings.Trim(name, `"`)
	}
	return ""
}
