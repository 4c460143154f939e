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

// A Streamer is a [Switch] that adds flows in many bundles, of which it fills
// one while the switch works on the other. AddFlows returns how many are in
// force; with an error the switch has those of whole bundles from the first on,
// and no other.
type Streamer interface {
	AddFlows(ctx context.Context, flows iter.Seq[Flow]) (n int, err error)
}

// send applies the changes: in one bundle, or if the switch has nothing of the
// share and they are many, in several.
func send(ctx context.Context, sw Switch, c Changes, empty bool) error {
	if c.Len() <= maxBundle {
		return sw.Apply(ctx, c)
	}
	// Also where they go at once: a switch may have a limit of its own.
	slices.SortStableFunc(c.FlowAdd, inner)
	slices.SortStableFunc(c.FlowDelete, func(a, b Flow) int { return inner(b, a) })
	if !empty {
		return sw.Apply(ctx, c)
	}
	for part := range slices.Chunk(c.GroupAdd, maxBundle) {
		if err := sw.Apply(ctx, Changes{GroupAdd: part}); err != nil {
			return err
		}
	}
	if s, ok := sw.(Streamer); ok {
		_, err := s.AddFlows(ctx, slices.Values(c.FlowAdd))
		return err
	}
	for part := range slices.Chunk(c.FlowAdd, maxBundle) {
		if err := sw.Apply(ctx, Changes{FlowAdd: part}); err != nil {
			return err
		}
	}
	return nil
}

// inner sorts what a packet meets last first: later tables, and in a table
// what outranks the rest. What is deleted goes the other way round.
func inner(a, b Flow) int {
	return cmp.Or(cmp.Compare(b.Table, a.Table), cmp.Compare(b.Priority, a.Priority))
}
