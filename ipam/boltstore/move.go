package boltstore

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"go.etcd.io/bbolt"
)

const (
	// A journal is moved to the database in the background when it is an eighth
	// of that, as a move mostly writes much of what there is, but between these.
	leastMove = 1 << 20
	mostMove  = 16 << 20
	// mostJournal is how many there may be: from there on writers wait for the
	// move, and fail if that fails.
	mostJournal = 64 << 20
	// fill is how full a move leaves the pages of the database: what is moved
	// is mostly much at once, so that little is put in between later.
	fill = 0.9
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

// makeRoom moves a journal that is as long as it may be. The caller writes,
// and lets others do so meanwhile.
func (s *Store) makeRoom() error {
	if s.journal.end < mostJournal {
		return nil
	}
	s.writing.Unlock()
	defer s.writing.Lock()
	return s.move()
}

// moveLater begins a move in the background if it is time; the caller writes.
// One that fails is tried again when there is as much again.
func (s *Store) moveLater() {
	if s.inMove || s.journal.end < s.moveAt {
		return
	}
	s.inMove = true
	s.background.Go(func() {
		err := s.move()
		s.writing.Lock()
		defer s.writing.Unlock()
		s.inMove = false
		if s.moveAt = s.worthMoving(); err != nil {
			s.moveAt += s.journal.end
		}
	})
}

// worthMoving returns how long a journal is that is worth moving.
func (s *Store) worthMoving() int64 {
	info, err := os.Stat(s.path)
	if err != nil {
		return s.leastMove
	}
	return max(s.leastMove, min(info.Size()/8, mostMove))
}

// roundsBeside is how often a move puts what there is in the database while
// others write; then there is little left.
const roundsBeside = 3

// move puts all that the journal has in the database, and clears it.
func (s *Store) move() error {
	s.moving.Lock()
	defer s.moving.Unlock()
	for range roundsBeside {
		if err := s.moveSome(); err != nil {
			return err
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.moveSome(); err != nil {
		return err
	}
	return s.journal.clear()
}

// freeze adds what is recent and durable to what is to be moved, and returns
// how far that goes.
func (s *Store) freeze() durable {
	s.turn.Lock()
	defer s.turn.Unlock()
	done := s.recent
	s.recent = &edits{}
	s.recent.putAll(done, s.durable.edits) // what is staged
	done.cut(s.durable.edits)
	if s.frozen.count == 0 {
		s.frozen = done
	} else { // a move failed
		s.frozen.putAll(done, 0)
	}
	s.durable.edits = 0
	return s.durable
}

// yieldAfter is after how many records a move lets callers go first, for whom a
// round waits.
const yieldAfter = 4

// moveSome puts what is durable in the database, in one transaction.
func (s *Store) moveSome() error {
	to := s.freeze()
	if s.frozen.count == 0 {
		return nil
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(recordsBucket)
		b.FillPercent = fill
		for i, e := range s.frozen.latest() { // bbolt is quickest in order
			if i%yieldAfter == 0 {
				runtime.Gosched()
			}
			if err := put(b, e.key, e.record); err != nil {
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
	s.turn.Lock()
	defer s.turn.Unlock()
	s.frozen = &edits{}
	return nil
}

func put(b *bbolt.Bucket, key, record []byte) error {
	if len(record) == 0 {
		return b.Delete(key)
	}
	return b.Put(key, record)
}
