package boltstore

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

const (
	// longJournal is how many bytes of a journal are worth moving to the
	// database, in the background.
	longJournal = 16 << 20
	// mostJournal is how many there may be: from there on writers wait for the
	// move, and fail if that fails.
	mostJournal = 64 << 20
)

// recordsBucket has the records, and as its sequence the last revision.
var recordsBucket = []byte("records")

// journalBucket is there while the database has a journal: it has the
// identity of that, and the number of the last batch that was moved.
var (
	journalBucket = []byte("journal")
	identityKey   = []byte("identity")
	appliedKey    = []byte("applied")
)

// A state is what a database knows of its journal.
type state struct {
	revision, applied uint64
	named             bool // it has one
	journal           identity
}

func readState(db *bbolt.DB) (st state, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(recordsBucket); b != nil {
			st.revision = b.Sequence()
		}
		b := tx.Bucket(journalBucket)
		if b == nil {
			return nil
		}
		st.named = true
		id, applied := b.Get(identityKey), b.Get(appliedKey)
		if len(id) != idSize || len(applied) != 8 {
			return fmt.Errorf("what the database has of its journal: %w", errDamaged)
		}
		st.journal, st.applied = identity(id), binary.BigEndian.Uint64(applied)
		return nil
	})
	return st, err
}

// nameJournal notes a journal that is new and durable.
func nameJournal(db *bbolt.DB, id identity) error {
	return db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(recordsBucket); err != nil {
			return err
		}
		b, err := tx.CreateBucket(journalBucket)
		if err != nil {
			return err
		}
		if err := b.Put(identityKey, id[:]); err != nil {
			return err
		}
		return b.Put(appliedKey, make([]byte, 8))
	})
}

// unnameJournal forgets the journal, which has no batch any more.
func unnameJournal(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(journalBucket) })
}

// makeRoom moves a journal that is as long as it may be.
func (s *Store) makeRoom() error {
	s.turn.Lock()
	full := s.journal.end >= mostJournal
	s.turn.Unlock()
	if !full {
		return nil
	}
	return s.move()
}

// moveLater begins a move in the background if it is time; the caller has the
// turn. One that fails is tried again when there is as much again.
func (s *Store) moveLater() {
	if s.inMove || s.journal.end < s.moveAt {
		return
	}
	s.inMove = true
	s.background.Go(func() {
		err := s.move()
		s.turn.Lock()
		defer s.turn.Unlock()
		s.inMove = false
		if s.moveAt = s.long; err != nil {
			s.moveAt += s.journal.end
		}
	})
}

// roundsBeside is how often a move puts what there is in the database while
// others write; then there is little left.
const roundsBeside = 3

// move puts all that the journal has in the database, and clears it.
func (s *Store) move() error {
	s.moving.Lock()
	defer s.moving.Unlock()
	for range roundsBeside {
		s.turn.Lock()
		to := s.freeze()
		s.turn.Unlock()
		if err := s.moveFrozen(to); err != nil {
			return err
		}
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.moveFrozen(s.freeze()); err != nil {
		return err
	}
	return s.journal.clear()
}

// A mark is how far a move goes.
type mark struct{ number, revision uint64 }

// freeze adds what is recent to what is to be moved; the caller has the turn.
func (s *Store) freeze() mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.frozen) == 0 {
		s.frozen = s.recent
	} else { // a move failed; readers may have the old one
		s.frozen = maps.Clone(s.frozen)
		maps.Copy(s.frozen, s.recent)
	}
	s.recent = changes{}
	return mark{s.journal.number, s.revision}
}

// moveFrozen puts what is frozen in the database, in one transaction.
func (s *Store) moveFrozen(to mark) error {
	if len(s.frozen) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(recordsBucket)
		for _, k := range slices.Sorted(maps.Keys(s.frozen)) { // bbolt is quickest in order
			if err := put(b, []byte(k), s.frozen[k]); err != nil {
				return err
			}
		}
		if err := b.SetSequence(to.revision); err != nil {
			return err
		}
		return tx.Bucket(journalBucket).Put(appliedKey, binary.BigEndian.AppendUint64(nil, to.number))
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = nil
	return nil
}

func put(b *bbolt.Bucket, key, record []byte) error {
	if len(record) == 0 {
		return b.Delete(key)
	}
	return b.Put(key, record)
}
