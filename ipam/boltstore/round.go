package boltstore

import (
	"os"
	"time"

	"github.com/tierloom/tierloom/ipam"
)

// A round is the calls that are made durable at once. Each caller stages its
// changes; the first of them writes the batch, and the others wait for him.
type round struct {
	batch batch
	edits int // how many the batch has
	// added and removed are the hashes that were counted for the batch.
	added, removed []uint64
	calls          int
	want           int           // calls that the first waits for, 0 for none
	more           chan struct{} // sent when there are so many
	done           chan struct{} // closed when the round is durable, or has failed
	err            error         // why it failed; read when it is done
}

// commit makes changes, with those of others who come at the same time. While a
// round waits for the disk the next is staged on top of it, and fails if it fails.
func (s *Store) commit(changes []ipam.Change) error {
	steps := s.steps(changes)
	s.turn.Lock()
	if s.closed {
		s.turn.Unlock()
		return os.ErrClosed
	}
	r, first := s.next, s.next == nil
	if first {
		r = &round{
			batch: newBatch(s.lastSize), added: make([]uint64, 0, 2*s.callers),
			more: make(chan struct{}, 1), done: make(chan struct{}),
		}
		s.next, s.last = r, r
	}
	err := s.stage(r, steps)
	r.calls++
	if r.calls == r.want {
		r.more <- struct{}{}
	}
	s.turn.Unlock()
	if first {
		s.write(r)
	} else {
		<-r.done
	}
	if r.err != nil {
		return r.err
	}
	return err
}

// write waits for the calls of a round and makes them durable.
func (s *Store) write(r *round) {
	defer close(r.done)
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.makeRoom()
	if !s.gather(r) {
		return
	}
	if err == nil && r.edits > 0 {
		began := time.Now()
		err = s.journal.append(&r.batch)
		s.took = time.Since(began)
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if err != nil {
		s.failLocked(r, err)
		return
	}
	callers := r.calls
	if s.next != nil {
		callers += s.next.calls
	}
	// Who did not come may only have had no processor for a while.
	s.callers = max(callers, s.callers*3/4)
	if r.edits > 0 {
		s.durable = durable{s.durable.edits + r.edits, r.batch.number, r.batch.revision}
		s.moveLater()
	}
}

// A round waits for calls patience times as long as the last write took, and
// not longer than mostPatience.
const (
	patience     = 3
	mostPatience = 10 * time.Millisecond
)

// gather waits until there are as many calls as are expected, as who was
// answered mostly comes again, but not for too long. Then no more come.
// It reports whether there is something to write: not if the round before has
// failed.
func (s *Store) gather(r *round) bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.next == r && r.calls < s.callers {
		r.want = s.callers
		s.turn.Unlock()
		late := time.NewTimer(min(patience*s.took, mostPatience))
		select {
		case <-r.more:
		case <-late.C:
		}
		late.Stop()
		s.turn.Lock()
	}
	if s.next != r {
		return false
	}
	s.next = nil
	s.lastSize = len(r.batch.raw)
	r.batch.revision = s.given
	return true
}

// failLocked takes back what was staged for a round, and for the next one.
func (s *Store) failLocked(r *round, err error) {
	s.torn = s.journal.torn
	s.recent.cut(s.durable.edits)
	for _, r := range []*round{s.next, r} {
		if r != nil {
			s.uncount(r, 0, 0)
			r.err = err
		}
	}
	s.next = nil
}
