package boltstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"os"
	"slices"

	"github.com/tierloom/tierloom/ipam"
)

// write makes the changes of several callers in one batch of the journal, and
// gives each its error. Only one runs at a time.
func (s *Store) write(calls iter.Seq[*call]) {
	err := s.makeRoom()
	if err == nil {
		err = s.writeBatch(calls)
	}
	if err == nil {
		return
	}
	for c := range calls {
		if c.err == nil {
			c.err = err
		}
	}
}

func (s *Store) writeBatch(calls iter.Seq[*call]) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	v, err := s.openView()
	if err != nil {
		return err
	}
	defer v.close()
	p := &pending{view: v, recent: s.recent, batch: batch{revision: v.revision, body: make([]byte, 0, s.lastBody)}}
	for c := range calls {
		c.err = s.stage(p, c)
	}
	s.lastBody = len(p.batch.body)
	if len(p.batch.body) == 0 {
		return nil
	}
	if err := s.journal.append(&p.batch); err != nil {
		p.undo()
		for c := range calls {
			if c.counted {
				s.countAll(c, -1)
			}
		}
		return err
	}
	s.mu.Lock()
	s.revision = p.batch.revision
	s.mu.Unlock()
	s.moveLater()
	return nil
}

// pending is what a write is about to make, which is among what is recent
// already: nobody looks at that before the write has ended.
type pending struct {
	view   *view
	recent changes
	before []made // what was recent of the keys that are put
	batch  batch
	record []byte // the last that was encoded
}

// made is a key that was put, and what was recent of it.
type made struct {
	key    string
	record []byte
	recent bool
}

// put adds one change.
func (p *pending) put(key, record []byte) {
	k := string(key)
	before, recent := p.recent[k]
	p.before = append(p.before, made{k, before, recent})
	p.recent[k] = record
}

// undo takes back what was put.
func (p *pending) undo() {
	for _, m := range slices.Backward(p.before) {
		if m.recent {
			p.recent[m.key] = m.record
		} else {
			delete(p.recent, m.key)
		}
	}
}

// stage adds the changes of one call to what is pending, or with an error none.
func (s *Store) stage(p *pending, c *call) error {
	revision, err := s.check(p.view, c, p.batch.revision)
	if err != nil {
		return err
	}
	revision++
	before := len(p.batch.body)
	for i := range c.changes {
		change := &c.changes[i]
		p.record = p.record[:0]
		if !change.Delete() {
			change.After.Revision = revision
			if change.After.Generation == 0 {
				change.After.Generation = revision
			}
			p.record = encode(p.record, &change.After)
		}
		p.batch.put(key(change.Key()), p.record)
	}
	if size := len(p.batch.body); size > maxBody {
		p.batch.body = p.batch.body[:before]
		s.countAll(c, -1)
		return fmt.Errorf("%w: %d bytes are written at once, %d at most", ipam.ErrInvalid, size, maxBody)
	}
	added := batch{body: p.batch.body[before:]}
	p.batch.revision = revision
	return added.each(p.put)
}

// check looks whether the changes of a call can be made, and returns the highest
// revision or generation by then. It counts the changes if they can.
func (s *Store) check(v *view, c *call, revision uint64) (uint64, error) {
	for i := range c.changes {
		change := &c.changes[i]
		r, found, err := v.get(change.Key())
		if err != nil {
			return 0, err
		}
		if r.Revision != change.Before.Revision {
			return 0, ipam.ConflictError(*change, r.Revision)
		}
		if found {
			c.old = append(c.old, r)
		}
		revision = max(revision, change.After.Generation)
	}
	if s.countAll(c, 1) > 1 {
		if err := s.checkOwners(v, c); err != nil {
			s.countAll(c, -1)
			return 0, err
		}
	}
	return revision, nil
}

// checkOwners refuses an owner who would own two values, when the changes are
// counted but not yet made.
func (s *Store) checkOwners(v *view, c *call) error {
	owners := map[string]string{}
	for i := range c.changes {
		change := &c.changes[i]
		if change.Delete() || s.count(&change.After, 0) < 2 {
			continue
		}
		id := string(key(change.After.Space, change.After.Owner))
		if has, ok := owners[id]; ok {
			return ipam.OwnerConflictError(*change, has)
		}
		owners[id] = change.After.Value
		has, ok, err := v.ownedBy(context.Background(), change.After.Space, change.After.Owner)
		if err != nil {
			return err
		}
		if ok && !c.changed(has) {
			return ipam.OwnerConflictError(*change, has.Value)
		}
	}
	return nil
}

// changed reports whether the call changes a record.
func (c *call) changed(r ipam.Record) bool {
	for _, change := range c.changes {
		if space, value := change.Key(); space == r.Space && value == r.Value {
			return true
		}
	}
	return false
}

// countAll follows the changes of a call, or takes that back for n = -1. It
// returns the most that an owner of theirs may own then.
func (s *Store) countAll(c *call, n int) (most int) {
	c.counted = n > 0
	for i := range c.old {
		s.count(&c.old[i], -n)
	}
	for i := range c.changes {
		if !c.changes[i].Delete() {
			most = max(most, s.count(&c.changes[i].After, n))
		}
	}
	return most
}

// count adds n to the records that the owner of r owns, if r is one, and
// returns how many there are.
func (s *Store) count(r *ipam.Record, n int) int {
	if !r.Owned() {
		return 0
	}
	h := maphash.Comparable(s.seed, [2]string{r.Space, r.Owner})
	if n += s.owned[h]; n == 0 {
		delete(s.owned, h)
	} else {
		s.owned[h] = n
	}
	return n
}
