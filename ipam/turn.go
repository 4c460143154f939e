package ipam

import (
	"context"
	"fmt"
	"slices"
)

// turnSpace is the name of the space that has a record for each space whose
// values may overlap. Where others write to the store, each grant of such a
// value puts the record anew: who has not seen the last grant is refused, and
// looks again. Other values need no turn, as the record of a value is enough.
const turnSpace = "ipam/turns"

// checkSpace refuses a name that no space of leases may have.
func checkSpace(space string) error {
	if space == turnSpace {
		return fmt.Errorf("space %q: %w: it has the turns of spaces", space, ErrInvalid)
	}
	return checkName("space", space)
}

// A turn is a space's record in turnSpace as it was when all grants before were
// known, zero before the first. Of those who grant in one process each waits for
// the one before: the store would refuse it.
type turn struct {
	// granting is claimed by who grants: he has the record, or who has the
	// space alone.
	granting chan struct{}
	record   Record
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

// grants reports whether a change takes a value that may have been free, or be
// free where the clock is ahead.
func grants(c Change) bool {
	switch {
	case c.Delete():
		return false
	case c.Before.Revision == 0, c.After.Held() && !c.Before.Held():
		return true
	}
	return c.After.heldBack() && !c.Before.heldBack()
}

// grantInTurn commits, together with the space's turn if that is needed.
func (s *leases) grantInTurn(ctx context.Context, changes []Change) error {
	if !s.registry.shared || !slices.ContainsFunc(changes, grants) || !s.overlaps() {
		return s.commit(ctx, changes)
	}
	next := Record{Space: turnSpace, Owner: s.name, Value: s.name, Since: s.registry.now()}
	all := append(slices.Clone(changes), Change{Before: s.turn.record, After: next})
	if err := s.commit(ctx, all); err != nil {
		return err
	}
	copy(changes, all)
	s.turn.record = all[len(changes)].After
	return nil
}
