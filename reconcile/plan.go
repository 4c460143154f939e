package reconcile

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Step is one difference between desired and actual state.
type Step[K cmp.Ordered, V any] struct {
	Key      K
	Old, New V // zero where there is none: Old of a create, New of a delete
}

// Plan is what makes actual state the desired one. Each list is sorted by key.
type Plan[K cmp.Ordered, V any] struct {
	Create, Update, Delete []Step[K, V]
	// Foreign are desired keys held by an object of another owner that differs from ours. They are
	// left alone; the caller decides whether that is an error.
	Foreign []Step[K, V]
}

// Diff compares desired with actual state by key. It modifies neither.
func Diff[K cmp.Ordered, V any](desired, actual map[K]V, equal func(desired, actual V) bool) Plan[K, V] {
	return DiffOwned(desired, actual, equal, func(V) bool { return true })
}

// DiffOwned is Diff among objects of several owners: an actual object that is not owned is neither
// updated nor deleted.
func DiffOwned[K cmp.Ordered, V any](desired, actual map[K]V, equal func(desired, actual V) bool, owned func(V) bool) Plan[K, V] {
	var p Plan[K, V]
	for _, k := range slices.Sorted(maps.Keys(desired)) {
		want := desired[k]
		have, exists := actual[k]
		step := Step[K, V]{Key: k, Old: have, New: want}
		switch {
		case !exists:
			p.Create = append(p.Create, step)
		case equal(want, have):
		case owned(have):
			p.Update = append(p.Update, step)
		default:
			p.Foreign = append(p.Foreign, step)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(actual)) {
		if _, wanted := desired[k]; !wanted && owned(actual[k]) {
			p.Delete = append(p.Delete, Step[K, V]{Key: k, Old: actual[k]})
		}
	}
	return p
}

// Len is the number of changes.
func (p Plan[K, V]) Len() int { return len(p.Create) + len(p.Update) + len(p.Delete) }

// String lists the changes, a line each: + created, ~ updated, - deleted, ! foreign.
func (p Plan[K, V]) String() string {
	var b strings.Builder
	for _, part := range []struct {
		mark  string
		steps []Step[K, V]
	}{{"+", p.Create}, {"~", p.Update}, {"-", p.Delete}, {"!", p.Foreign}} {
		for _, s := range part.steps {
			fmt.Fprintf(&b, "%s %v\n", part.mark, s.Key)
		}
	}
	return b.String()
}

// Owner is the tag by which a client of a shared store knows its objects, such as scope
// "ncp/cluster" with the cluster's name.
type Owner struct {
	Scope string
	Tag   string
}

// Owns says whether an object with these tags (scope, value) is the owner's alone: it has the
// owner's tag, and no other value in that scope. The zero Owner owns nothing.
func (o Owner) Owns(tags iter.Seq2[string, string]) bool {
	mine := false
	for scope, tag := range tags {
		if scope != o.Scope {
			continue
		}
		if tag != o.Tag {
			return false
		}
		mine = true
	}
	return mine && o != Owner{}
}
