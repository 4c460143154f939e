package intent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tag is a label of an object: a scope, and a value in it. An object may carry a scope several times.
type Tag struct {
	Scope string `json:"scope"`
	Tag   string `json:"tag"`
}

// Key names an object within a store.
type Key struct {
	ResourceType string `json:"resource_type"`
	ID           string `json:"id"`
}

// String is type/id.
func (k Key) String() string { return k.ResourceType + "/" + k.ID }

// Compare orders keys by type, then id.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.ResourceType, o.ResourceType), cmp.Compare(k.ID, o.ID))
}

// Object is one thing that should be. In JSON its own fields and those of Body lie side by side:
//
//	{"resource_type":"Segment","id":"web","tags":[{"scope":"ncp/cluster","tag":"c1"}],"_revision":7,"vni":4711}
//
// The zero value is not valid: ResourceType and ID are required.
type Object struct {
	ResourceType string // starts with a letter, then letters, digits, '_', '-', '.'; at most 64 bytes
	ID           string // at most 512 bytes of printable UTF-8; not "." or ".."
	DisplayName  string
	Path         string
	Tags         []Tag           // a set: kept sorted, without duplicates
	Revision     uint64          // the store revision of its last change; ignored on Put
	Body         json.RawMessage // the other fields, as a JSON object; nil if there are none
}

// NewObject makes an object of a kind from a Go value, which must encode as a JSON object. The
// fields resource_type, id, display_name, path, tags and _revision of the encoding become the
// object's own, where resourceType and id win unless they are empty.
func NewObject(resourceType, id string, v any) (Object, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return Object{}, &Error{Op: "encode", Key: Key{resourceType, id}, Kind: ErrInvalid, Err: err}
	}
	o, err := decodeObject(raw)
	if err != nil {
		return Object{}, err
	}
	o.ResourceType = cmp.Or(resourceType, o.ResourceType)
	o.ID = cmp.Or(id, o.ID)
	return o, o.Validate()
}

// Decode stores the object into v as encoding/json would: body fields, and those of the object
// itself (id, tags, _revision and so on) if v has them.
func (o Object) Decode(v any) error {
	raw, err := o.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return &Error{Op: "decode", Key: o.Key(), Field: fieldOf(err), Kind: ErrInvalid, Err: err}
	}
	return nil
}

// Key is the object's name in its store.
func (o Object) Key() Key { return Key{o.ResourceType, o.ID} }

// Tag is the first value the object has in a scope.
func (o Object) Tag(scope string) (string, bool) {
	for _, t := range o.Tags {
		if t.Scope == scope {
			return t.Tag, true
		}
	}
	return "", false
}

// HasTag says whether the object carries the tag.
func (o Object) HasTag(t Tag) bool { return slices.Contains(o.Tags, t) }

// Clone is a copy that shares nothing with the original.
func (o Object) Clone() Object {
	o.Tags = slices.Clone(o.Tags)
	o.Body = bytes.Clone(o.Body)
	return o
}

// Equal says whether two objects say the same, whatever their revision. Order of tags and of JSON
// fields does not matter.
func (o Object) Equal(p Object) bool {
	a, err := o.canonical()
	if err != nil {
		return false
	}
	b, err := p.canonical()
	return err == nil && a.same(b)
}

// same compares canonical objects.
func (o *Object) same(p *Object) bool {
	return o.ResourceType == p.ResourceType && o.ID == p.ID && o.DisplayName == p.DisplayName &&
		o.Path == p.Path && slices.Equal(o.Tags, p.Tags) && bytes.Equal(o.Body, p.Body)
}

// Validate reports every fault of the object, each as an *Error naming the field.
func (o Object) Validate() error {
	_, err := o.canonical()
	return err
}

// canonical checks the object and returns the form in which stores keep it: a deep copy, tags
// sorted, body compact with sorted keys.
func (o Object) canonical() (*Object, error) {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, invalid("check", o.Key(), field, fmt.Sprintf(format, args...)))
	}
	if why := o.Key().checkType(); why != "" {
		fault("resource_type", "%s", why)
	}
	if why := o.Key().checkID(); why != "" {
		fault("id", "%s", why)
	}
	if why := text(o.DisplayName, 1024); why != "" {
		fault("display_name", "%s", why)
	}
	if why := text(o.Path, 4096); why != "" {
		fault("path", "%s", why)
	}
	for i, t := range o.Tags {
		switch {
		case strings.Contains(t.Scope, ":"):
			fault(fmt.Sprintf("tags[%d].scope", i), "%q contains a colon", t.Scope)
		case text(t.Scope, 512) != "":
			fault(fmt.Sprintf("tags[%d].scope", i), "%s", text(t.Scope, 512))
		case text(t.Tag, 512) != "":
			fault(fmt.Sprintf("tags[%d].tag", i), "%s", text(t.Tag, 512))
		}
	}
	c := o
	c.Tags = slices.Clone(o.Tags)
	slices.SortFunc(c.Tags, func(a, b Tag) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Tag, b.Tag))
	})
	c.Tags = slices.Compact(c.Tags)
	if len(c.Tags) == 0 {
		c.Tags = nil
	}
	body, field, err := canonicalBody(o.Body)
	if err != nil {
		fault(cmp.Or(field, "body"), "%v", err)
	}
	c.Body = body
	if err := errors.Join(errs...); err != nil {
		if len(errs) == 1 {
			return nil, errs[0]
		}
		return nil, err
	}
	return &c, nil
}

func (k Key) checkType() string {
	switch {
	case k.ResourceType == "":
		return "must not be empty"
	case len(k.ResourceType) > 64:
		return fmt.Sprintf("%d bytes long, more than 64", len(k.ResourceType))
	}
	for i, r := range k.ResourceType {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789_-.", r)) {
			return fmt.Sprintf("%q: character %q is not allowed there", k.ResourceType, r)
		}
	}
	return ""
}

func (k Key) checkID() string {
	switch k.ID {
	case "":
		return "must not be empty"
	case ".", "..":
		return fmt.Sprintf("%q is not an id", k.ID)
	}
	return text(k.ID, 512)
}

// validate names the fault of a key that is to be deleted.
func (k Key) validate() error {
	if why := k.checkType(); why != "" {
		return invalid("check", k, "delete.resource_type", why)
	}
	if why := k.checkID(); why != "" {
		return invalid("check", k, "delete.id", why)
	}
	return nil
}

// text says why s is not printable text of at most limit bytes, or nothing.
func text(s string, limit int) string {
	switch {
	case len(s) > limit:
		return fmt.Sprintf("%d bytes long, more than %d", len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Sprintf("%q is not UTF-8", s)
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return fmt.Sprintf("%q contains a control character", s)
	}
	return ""
}
