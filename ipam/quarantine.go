package ipam

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// sweepAt is how many records whose quarantine is over are kept for their
// owners to come back, before they are deleted.
const sweepAt = 256

// A queue has the entries that time frees, and those that it has freed.
type queue struct {
	due  atomic.Int64 // when the first is free, in Unix nanoseconds; 0 for none
	mu   sync.Mutex   // protects what follows
	list []*entry     // the next to be free first
	over []*entry
}

func byUntil(a, b *entry) int { return cmp.Compare(a.ending().until, b.ending().until) }

// load is add for many; sort ends it.
func (q *queue) load(e *entry) {
	if e.over {
		q.over = append(q.over, e)
	} else if !e.heldBack() {
		q.list = append(q.list, e)
	}
}

func (q *queue) sort() {
	slices.SortFunc(q.list, byUntil)
	q.dueLocked()
}

func (q *queue) dueLocked() {
	q.due.Store(0)
	if len(q.list) > 0 {
		q.due.Store(max(1, q.list[0].ending().until))
	}
}

func (q *queue) add(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.over || e.heldBack() {
		q.load(e)
		return
	}
	i, _ := slices.BinarySearchFunc(q.list, e, byUntil)
	for i < len(q.list) && byUntil(q.list[i], e) == 0 {
		i++
	}
	q.list = slices.Insert(q.list, i, e)
	q.dueLocked()
}

// take returns the entries whose quarantine is over.
func (q *queue) take(s *leases) []*entry {
	due := q.due.Load()
	if due == 0 {
		return nil
	}
	now := s.registry.nanos()
	if now < due {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.list) && q.list[n].free(now) {
		n++
	}
	out := q.list[:n:n]
	q.list = q.list[n:]
	q.dueLocked()
	return out
}

// takeOver returns the entries that time has freed.
func (q *queue) takeOver() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.over
	q.over = nil
	return out
}

// expire frees what time frees. The records stay for a while: an owner who
// comes back finds its value, and who gets the value replaces the record.
func (s *leases) expire(ctx context.Context) error {
	due := s.queue.take(s)
	if due == nil {
		return nil
	}
	for _, e := range due {
		s.freeOne(e)
	}
	s.queue.mu.Lock()
	many := len(s.queue.over) >= sweepAt
	s.queue.mu.Unlock()
	if !many {
		return nil
	}
	return s.sweep(ctx)
}

// freeOne frees a value whose quarantine is over, later if its owner is busy or
// may have got it back.
func (s *leases) freeOne(e *entry) {
	owners := s.ownerShard(e)
	lock(&owners.mu)
	defer owners.mu.Unlock()
	if owners.busyLocked(e.owner) != nil || owners.gate != nil || s.doubts.count.Load() > 0 {
		s.queue.add(e)
		return
	}
	s.endLocked(e)
}

// endLocked ends a quarantine, if it is not over and the entry not replaced.
func (s *leases) endLocked(e *entry) {
	values := s.valueShard(e.valueHash)
	lock(&values.mu)
	defer values.mu.Unlock()
	if values.records.get(e.valueHash, e.value) == e && !e.over {
		e.over = true
		s.give(e.value)
		s.queue.add(e)
	}
}

// end is endLocked for who has the space alone.
func (s *leases) end(e *entry) {
	owners := s.ownerShard(e)
	lock(&owners.mu)
	defer owners.mu.Unlock()
	s.endLocked(e)
}

// expireAlone is expire for who has the space alone; nothing is swept.
func (s *leases) expireAlone() {
	for _, e := range s.queue.take(s) {
		s.end(e)
	}
}

// sweeper is the owner that is busy during a sweep.
const sweeper = ""

// sweep deletes the records that time has freed and that nobody wants.
func (s *leases) sweep(ctx context.Context) error {
	sh := s.place(sweeper)
	if err := s.enter(ctx, sh, sweeper); err != nil {
		return err
	}
	defer sh.mu.Unlock()
	return sh.workLocked(sweeper, func() error { return s.sweepAlone(ctx) })
}

// sweepAlone is sweep for who has the space, or the sweeper, to himself. It
// goes on while something goes: what is left may have overlapped that.
func (s *leases) sweepAlone(ctx context.Context) (err error) {
	for list := s.queue.takeOver(); len(list) > 0; {
		var left []*entry
		for chunk := range slices.Chunk(list, MaxChanges) {
			if err == nil {
				err = s.sweepSome(ctx, chunk)
			}
			left = append(left, s.stillThere(chunk)...)
		}
		if err != nil || len(left) == len(list) {
			for _, e := range left {
				s.queue.add(e)
			}
			return err
		}
		list = left
	}
	return nil
}

// stillThere returns the entries that are not replaced.
func (s *leases) stillThere(list []*entry) (there []*entry) {
	for _, e := range list {
		if s.of(e.value) == e {
			there = append(there, e)
		}
	}
	return there
}

func (s *leases) sweepSome(ctx context.Context, list []*entry) error {
	var changes []Change
	var taken []*entry
	for _, e := range list {
		if s.takeFree(e) {
			taken = append(taken, e)
			changes = append(changes, s.changeOf(e, nil))
		}
	}
	if len(changes) == 0 {
		return nil
	}
	err := s.commit(ctx, changes)
	switch {
	case errors.Is(err, errLost):
		return s.askLost(ctx, changes)
	case errors.Is(err, errDoubt):
		return err
	}
	for _, e := range taken {
		if err == nil {
			s.hear(e.value, e, nil, true)
		} else {
			s.giveUp(e.value)
		}
	}
	return err
}

// takeFree takes a value in the core whose entry is over, if it is still free.
func (s *leases) takeFree(e *entry) bool {
	if err := s.take(e.value); err != nil && !errors.Is(err, ErrOutOfRange) {
		return false
	}
	if s.of(e.value) == e {
		return true
	}
	s.giveUp(e.value)
	return false
}
