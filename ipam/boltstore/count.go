package boltstore

import (
	"bytes"
	"context"
	"hash/maphash"
	"slices"

	"github.com/tierloom/tierloom/ipam"
)

// The store counts the records that there are, and those that owners own, by
// hashes of their keys and owners: what was never counted is not there, and need
// not be looked for in the file.

func (s *Store) keyHash(key []byte) uint64 { return maphash.Bytes(s.keySeed, key) }

// ownerHash is never 0.
func (s *Store) ownerHash(space, owner string) uint64 {
	return max(1, maphash.Bytes(s.ownerSeed, key(space, owner)))
}

// countRecord counts a record that is there when the store is opened.
func (s *Store) countRecord(r ipam.Record) {
	s.counts.add(s.keyHash(key(r.Space, r.Value)))
	if r.Owned() {
		s.counts.add(s.ownerHash(r.Space, r.Owner))
	}
}

// add and remove count for a round.
func (s *Store) add(r *round, hash uint64) int {
	r.added = append(r.added, hash)
	return s.counts.add(hash)
}

func (s *Store) remove(r *round, hash uint64) {
	r.removed = append(r.removed, hash)
	s.counts.remove(hash)
}

// uncount takes back what was counted for a round after so many. What was added
// may have been removed since, and so that comes first.
func (s *Store) uncount(r *round, added, removed int) {
	for _, hash := range r.removed[removed:] {
		s.counts.add(hash)
	}
	for _, hash := range r.added[added:] {
		s.counts.remove(hash)
	}
	r.added, r.removed = r.added[:added], r.removed[:removed]
}

// checkOwners refuses an owner who would own two values, when the changes are
// counted but not yet made.
func (s *Store) checkOwners(steps []step) error {
	v, err := s.openView(s.recent.count)
	if err != nil {
		return err
	}
	defer v.close()
	v.layOver()
	owners := map[string]string{}
	for _, c := range steps {
		if c.owner == 0 {
			continue
		}
		id := string(key(c.After.Space, c.After.Owner))
		if has, ok := owners[id]; ok {
			return ipam.OwnerConflictError(*c.Change, has)
		}
		owners[id] = c.After.Value
		has, ok, err := v.ownedBy(context.Background(), c.After.Space, c.After.Owner)
		if err != nil {
			return err
		}
		if ok && !changes(steps, key(has.Space, has.Value)) {
			return ipam.OwnerConflictError(*c.Change, has.Value)
		}
	}
	return nil
}

// changes reports whether one of the steps is about a key.
func changes(steps []step, key []byte) bool {
	return slices.ContainsFunc(steps, func(c step) bool { return bytes.Equal(c.key, key) })
}
