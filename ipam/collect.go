package ipam

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Collect releases the leases of a space whose owners are gone, and deletes
// what time has freed; it returns the leases that it released. Owners returns
// those who live, and is called twice.
//
// Collect reads the leases first and then the owners, so that an owner who came
// between is known. It marks the leases of the others, asks for the owners
// again, and releases what is still as it was marked: an owner who comes back
// after that and asks for its value has cleared the mark. If owners fails,
// nothing is released.
func (r *Registry) Collect(ctx context.Context, space string, owners func(context.Context) (iter.Seq[string], error)) ([]Lease, error) {
	s, err := r.known(space)
	if err != nil {
		return nil, fmt.Errorf("ipam: collect: %w", err)
	}
	if s == nil {
		return nil, nil
	}
	gone, err := s.collect(ctx, owners)
	if err == nil {
		err = s.expire(ctx)
	}
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil {
		return gone, fmt.Errorf("ipam: collect %q: %w", space, err)
	}
	return gone, nil
}

// Owners returns a list of owners as [Registry.Collect] asks for it.
func Owners(list ...string) func(context.Context) (iter.Seq[string], error) {
	return func(context.Context) (iter.Seq[string], error) { return slices.Values(list), nil }
}

func (s *leases) collect(ctx context.Context, owners func(context.Context) (iter.Seq[string], error)) (gone []Lease, err error) {
	list, err := s.heldNow(ctx)
	if err != nil {
		return nil, err
	}
	if list, err = without(ctx, list, owners); err != nil {
		return nil, err
	}
	for i := range list {
		err := s.changeIf(ctx, &list[i], func(r Record) (Record, outcome) {
			r.Suspect = true
			return r, changed
		})
		if err != nil {
			return nil, err
		}
	}
	if list, err = without(ctx, list, owners); err != nil {
		return nil, err
	}
	for i, rec := range list {
		err := s.changeIf(ctx, &list[i], s.release)
		if err != nil {
			return gone, err
		}
		if list[i].Revision != 0 {
			gone = append(gone, leaseOf(rec))
		}
	}
	return gone, nil
}

// heldNow returns the held records, as the store has them.
func (s *leases) heldNow(ctx context.Context) (list []Record, err error) {
	if !s.registry.shared {
		s.each(func(e *entry) {
			if e.held() {
				list = append(list, s.record(e))
			}
		})
		return list, nil
	}
	_, err = s.registry.store.Load(ctx, s.name, func(r Record) error {
		if r.Held() {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		return nil, s.registry.storeError(err)
	}
	return list, nil
}

// without returns the records that were not changed meanwhile and whose owner
// does not live.
func without(ctx context.Context, list []Record, owners func(context.Context) (iter.Seq[string], error)) ([]Record, error) {
	if len(list) == 0 {
		return nil, nil
	}
	seq, err := owners(ctx)
	if err != nil {
		return nil, fmt.Errorf("owners: %w", err)
	}
	live := map[string]bool{}
	for owner := range seq {
		live[owner] = true
	}
	var out []Record
	for _, r := range list {
		if r.Revision != 0 && !live[r.Owner] {
			out = append(out, r)
		}
	}
	return out, nil
}

// errChanged says that a record is not the one that was read.
var errChanged = errors.New("changed since")

// changeIf changes a record that was read, and follows it. If it has changed
// since it is left alone, and rec gets no revision.
func (s *leases) changeIf(ctx context.Context, rec *Record, edit func(Record) (Record, outcome)) error {
	var next Record
	err := s.change(ctx, "collect", rec.Owner, rec.Value, func(r Record) (Record, outcome, error) {
		if r.Revision != rec.Revision {
			return r, unchanged, errChanged
		}
		var what outcome
		next, what = edit(r)
		return next, what, nil
	})
	if errors.Is(err, errChanged) {
		rec.Revision = 0
		return nil
	}
	if err == nil && next.Suspect { // it is marked, if the owner has not cleared that since
		rec.Revision = 0
		s.look(rec.Value, func(e *entry) {
			if e.suspect {
				*rec = s.record(e)
			}
		})
	}
	return err
}
