package ipam

import (
	"context"
	"slices"
	"sync"
)

// turnSpace is the name of the space that has a record for each space whose
// values may overlap. Where others write to the store, each grant of such a
// value puts the record anew: who has not seen the last grant is refused, and
// looks again. Other values need no turn, as the record of a value is enough.
const turnSpace = "ipam/turns"

// A turn is a space's record in turnSpace, as it was when all grants before
// were known.
type turn struct {
	mu     sync.Mutex // protects what follows
	known  bool
	record Record
}

func (t *turn) take(rec Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.record = true, rec
}

// lose says that the record is not known any more.
func (t *turn) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = false
}

// read returns the record as the store has it.
func (t *turn) read(ctx context.Context, s *leases) (Record, error) {
	if !s.overlaps() {
		return Record{}, nil
	}
	list, err := s.registry.store.Find(ctx, turnSpace, s.name)
	if err != nil || len(list) == 0 {
		return Record{}, err
	}
	return list[0], nil
}

// overlaps reports whether the values of the space may overlap.
func (s *leases) overlaps() bool {
	_, ok := s.coreNow().(subnetCore)
	return ok
}

// grants reports whether a change takes a value that may have been free.
func grants(c Change) bool {
	return !c.Delete() && (c.Before.Revision == 0 || c.After.Held() && !c.Before.Held())
}

// grantInTurn commits, together with the space's turn if that is needed.
func (s *leases) grantInTurn(ctx context.Context, changes []Change) error {
	if !s.registry.shared || !slices.ContainsFunc(changes, grants) || !s.overlaps() {
		return s.commit(ctx, changes)
	}
	s.turn.mu.Lock()
	known, before := s.turn.known, s.turn.record
	s.turn.mu.Unlock()
	if !known {
		return errLost
	}
	next := Record{Space: turnSpace, Owner: s.name, Value: s.name, Since: s.registry.now()}
	all := append(slices.Clone(changes), Change{Before: before, After: next})
	err := s.commit(ctx, all)
	if err == nil {
		copy(changes, all)
		s.turn.take(all[len(changes)].After)
	} else {
		s.turn.lose()
	}
	return err
}
