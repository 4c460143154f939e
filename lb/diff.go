package lb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Changes leads from one state to another. Every list is sorted by key.
type Changes struct {
	Add, Update []Frontend
	Delete      []Key
}

// Len counts the frontends that differ.
func (c Changes) Len() int { return len(c.Add) + len(c.Update) + len(c.Delete) }

// String has one line per change: "+ frontend", "~ frontend" or "- key".
func (c Changes) String() string {
	var b strings.Builder
	for _, f := range c.Add {
		fmt.Fprintln(&b, "+", f)
	}
	for _, f := range c.Update {
		fmt.Fprintln(&b, "~", f)
	}
	for _, k := range c.Delete {
		fmt.Fprintln(&b, "-", k)
	}
	return b.String()
}

// Diff compares two states, each with unique keys, in any order.
func Diff(old, desired []Frontend) Changes {
	var c Changes
	walk(old, desired, func(o, d *Frontend) {
		switch {
		case o == nil:
			c.Add = append(c.Add, *d)
		case d == nil:
			c.Delete = append(c.Delete, o.Key)
		case !o.Equal(*d):
			c.Update = append(c.Update, *d)
		}
	})
	return c
}

// Removal is a backend that a frontend no longer has. Tracked connections from
// Frontend to Backend have to be flushed, or clients that keep sending, as
// those of UDP do, would go on reaching what is gone.
type Removal struct {
	Frontend Key
	Backend  Backend
}

// String is "10.96.0.10:53/udp -> 10.4.0.7:5353".
func (r Removal) String() string { return r.Frontend.String() + " -> " + r.Backend.String() }

// Removals lists, sorted, the backends that old has and desired has not, those
// of deleted frontends included.
func Removals(old, desired []Frontend) []Removal {
	var out []Removal
	walk(old, desired, func(o, d *Frontend) {
		if o == nil {
			return
		}
		for _, b := range o.Backends {
			if d == nil || !slices.Contains(d.Backends, b) {
				out = append(out, Removal{Frontend: o.Key, Backend: b})
			}
		}
	})
	slices.SortFunc(out, func(a, b Removal) int {
		return cmp.Or(a.Frontend.Compare(b.Frontend), a.Backend.Compare(b.Backend))
	})
	return out
}

// walk calls fn in key order for every key of either state; nil is "not there".
func walk(old, desired []Frontend, fn func(o, d *Frontend)) {
	byKey := func(a, b Frontend) int { return a.Key.Compare(b.Key) }
	if !slices.IsSortedFunc(old, byKey) {
		old = slices.SortedFunc(slices.Values(old), byKey)
	}
	if !slices.IsSortedFunc(desired, byKey) {
		desired = slices.SortedFunc(slices.Values(desired), byKey)
	}
	for len(old) > 0 || len(desired) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(desired) == 0:
			order = -1
		default:
			order = byKey(old[0], desired[0])
		}
		var o, d *Frontend
		if order <= 0 {
			o, old = &old[0], old[1:]
		}
		if order >= 0 {
			d, desired = &desired[0], desired[1:]
		}
		fn(o, d)
	}
}
