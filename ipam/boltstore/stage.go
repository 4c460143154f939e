package boltstore

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

// A step is a change with what can be told of it before it is staged.
type step struct {
	*ipam.Change
	key         []byte
	hash, owner uint64 // of the key, and of who is to own the record, 0 for nobody
}

func (s *Store) steps(changes []ipam.Change) []step {
	list := make([]step, len(changes))
	for i := range changes {
		c := &changes[i]
		k := key(c.Key())
		list[i] = step{Change: c, key: k, hash: s.keyHash(k)}
		if !c.Delete() && c.After.Owned() {
			list[i].owner = s.ownerHash(c.After.Space, c.After.Owner)
			s.counts.ahead(list[i].owner)
		}
		s.counts.ahead(list[i].hash)
	}
	return list
}

// stage adds the changes of one call to a round, or with an error none. The
// caller has the turn.
func (s *Store) stage(r *round, steps []step) error {
	added, removed, size, edits := len(r.added), len(r.removed), len(r.batch.raw), s.recent.count
	err := s.check(r, steps)
	if err == nil {
		err = s.put(r, steps)
	}
	if err != nil {
		s.uncount(r, added, removed)
		r.batch.raw = r.batch.raw[:size]
		s.recent.cut(edits)
		return err
	}
	r.edits += len(steps)
	return nil
}

// check looks whether changes can be made, and counts them.
func (s *Store) check(r *round, steps []step) error {
	for _, c := range steps {
		have, found, err := s.get(c.hash, c.key)
		if err != nil {
			return err
		}
		if have.Revision != c.Before.Revision {
			return ipam.ConflictError(*c.Change, have.Revision)
		}
		if found {
			s.remove(r, c.hash)
			if have.Owned() {
				s.remove(r, s.ownerHash(have.Space, have.Owner))
			}
		}
	}
	most := 0 // that an owner owns
	for _, c := range steps {
		if !c.Delete() {
			s.add(r, c.hash)
		}
		if c.owner != 0 {
			most = max(most, s.add(r, c.owner))
		}
	}
	if most > 1 {
		return s.checkOwners(steps)
	}
	return nil
}

// get returns the record of a key as it is with what is staged.
func (s *Store) get(hash uint64, k []byte) (rec ipam.Record, found bool, err error) {
	if s.counts.of(hash) == 0 {
		return rec, false, nil
	}
	raw, ok := s.recent.get(hash, k)
	if !ok {
		raw, ok = s.frozen.get(hash, k)
	}
	if !ok {
		err = s.db.View(func(tx *bbolt.Tx) error {
			raw = bytes.Clone(tx.Bucket(recordsBucket).Get(k))
			return nil
		})
	}
	if err != nil || len(raw) == 0 {
		return rec, false, err
	}
	rec, err = decode(k, raw)
	return rec, err == nil, err
}

// put adds changes that can be made.
func (s *Store) put(r *round, steps []step) error {
	for _, c := range steps {
		s.given = max(s.given, c.After.Generation)
	}
	s.given++
	for _, c := range steps {
		s.record = s.record[:0]
		if !c.Delete() {
			c.After.Revision = s.given
			if c.After.Generation == 0 {
				c.After.Generation = s.given
			}
			s.record = encode(s.record, &c.After)
		}
		k, record := r.batch.put(c.key, s.record)
		s.recent.put(c.hash, k, record)
	}
	if size := len(r.batch.body()); size > maxBody {
		return fmt.Errorf("%w: %d bytes are written at once, %d at most", ipam.ErrInvalid, size, maxBody)
	}
	return nil
}
