package ipam

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// A store that was rolled back, put back from an old copy, gives again what is
// in use. Once a registry has found that out, no space that it had gives
// anything until it was recovered.

// foundRolledBack notes that the store has given less than it was seen to have.
func (r *Registry) foundRolledBack(seen, has uint64) error {
	r.rollbacks.Add(1)
	r.generation.CompareAndSwap(seen, has) // what it gives from now on counts
	return fmt.Errorf("%w: generation %d, it was %d", ErrRolledBack, has, seen)
}

// storeError is an error of the store, which may itself have found that it was
// rolled back.
func (r *Registry) storeError(err error) error {
	if errors.Is(err, ErrRolledBack) {
		r.rollbacks.Add(1)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// checkRecovered refuses to answer since a rollback.
func (s *leases) checkRecovered() error {
	if s.recovered.Load() != s.registry.rollbacks.Load() {
		return fmt.Errorf("%w: the space is to be recovered", ErrRolledBack)
	}
	return nil
}

// raise makes a number at least n.
func raise(number *atomic.Uint64, n uint64) {
	for have := number.Load(); have < n && !number.CompareAndSwap(have, n); have = number.Load() {
	}
}

// freshIn returns the place of the first change that is to get a generation, or -1.
func freshIn(changes []Change) int {
	for i := range changes {
		if c := &changes[i]; !c.Delete() && c.After.Generation == 0 {
			return i
		}
	}
	return -1
}
