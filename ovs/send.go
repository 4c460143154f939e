package ovs

import (
	"cmp"
	"context"
	"iter"
	"slices"
)

// maxBundle bounds how many changes go in one bundle where there may be
// several: a larger one costs the switch half as much memory again.
const maxBundle = 1000

// A Streamer is a [Switch] that takes many Changes at once. Each is applied
// whole or not at all, in order, while the next are on the way; after one that
// failed nothing more is applied.
type Streamer interface {
	ApplyAll(ctx context.Context, all iter.Seq[Changes]) error
}

// send applies the changes: in one bundle, or if the switch has nothing of the
// share and they are many, in several.
func send(ctx context.Context, sw Switch, c Changes, empty bool) error {
	if !empty || c.Len() <= maxBundle {
		return sw.Apply(ctx, c)
	}
	slices.SortStableFunc(c.FlowAdd, inner)
	if s, ok := sw.(Streamer); ok {
		return s.ApplyAll(ctx, bundles(c))
	}
	for part := range bundles(c) {
		if err := sw.Apply(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// inner sorts what a packet meets last first: later tables, and in a table
// what outranks the rest.
func inner(a, b Flow) int {
	return cmp.Or(cmp.Compare(b.Table, a.Table), cmp.Compare(b.Priority, a.Priority))
}

// bundles cuts additions to pieces: groups, then flows.
func bundles(c Changes) iter.Seq[Changes] {
	return func(yield func(Changes) bool) {
		for part := range slices.Chunk(c.GroupAdd, maxBundle) {
			if !yield(Changes{GroupAdd: part}) {
				return
			}
		}
		for part := range slices.Chunk(c.FlowAdd, maxBundle) {
			if !yield(Changes{FlowAdd: part}) {
				return
			}
		}
	}
}
