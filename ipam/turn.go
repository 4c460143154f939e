package ipam

import (
	"context"
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
	s.coreMu.Lock()
	defer s.coreMu.Unlock()
	_, ok := s.core.(subnetCore)
	return ok
}

// grantInTurn commits, together with the space's turn if that is needed.
func (s *leases) grantInTurn(ctx context.Context, changes []Change) error {
	c := changes[0]
	grants := !c.Delete() && c.After.Held() && (c.Before.Revision == 0 || !c.Before.Held())
	if !s.registry.shared || !grants || !s.overlaps() {
		return s.commit(ctx, changes)
	}
	s.turn.mu.Lock()
	known, before := s.turn.known, s.turn.record
	s.turn.mu.Unlock()
	if !known {
		return errLost
	}
	next := Record{Space: turnSpace, Owner: s.name, Value: s.name, Since: s.registry.now()}
	both := append(changes[:1:1], Change{Before: before, After: next})
	err := s.commit(ctx, both)
	if err == nil {
		changes[0] = both[0]
		s.turn.take(both[1].After)
	} else {
		s.turn.lose()
	}
	return err
}
