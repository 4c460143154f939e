// Package boltstore keeps the leases of package ipam in one bbolt file.
//
// A commit is durable when it returns. Callers that commit at the same time
// share one transaction and so one wait for the disk.
package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

// bucket has the records, and as its sequence the last revision.
var bucket = []byte("records")

// A Store is an ipam.Store over a file. Make one with [Open]; it may be used
// concurrently.
type Store struct {
	db    *bbolt.DB
	group group
	seed  maphash.Seed
	// owned counts the records that owners own, by a hash of space and owner:
	// an owner that is not there owns nothing, and others are looked for in the
	// file. It is written by who commits; see group.
	owned map[uint64]int
}

// Open opens the file, made if missing. A file that another process has open
// is an error after a second.
func Open(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s := &Store{db: db, seed: maphash.MakeSeed(), owned: map[uint64]int{}}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err == nil {
		_, err = s.Load(context.Background(), "", func(r ipam.Record) error {
			s.count(r, 1)
			return nil
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), db.Close())
	}
	return s, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Exclusive reports that no other process can have the file open.
func (s *Store) Exclusive() bool { return true }

// count adds n to the records that the owner of r owns, if r is one.
func (s *Store) count(r ipam.Record, n int) {
	if !r.Owned() {
		return
	}
	h := s.hash(r.Space, r.Owner)
	if s.owned[h] += n; s.owned[h] == 0 {
		delete(s.owned, h)
	}
}

func (s *Store) hash(space, owner string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(space)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(owner)
	return h.Sum64()
}

// Load implements ipam.Store.
func (s *Store) Load(ctx context.Context, space string, each func(ipam.Record) error) (generation uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		generation = b.Sequence()
		return scan(ctx, b, space, each)
	})
	if err != nil {
		return 0, fmt.Errorf("boltstore: load: %w", err)
	}
	return generation, nil
}

// scan passes the records of a space, or of all for "".
func scan(ctx context.Context, b *bbolt.Bucket, space string, each func(ipam.Record) error) error {
	var prefix []byte
	if space != "" {
		prefix = key(space, "")
	}
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		r, err := decode(k, v)
		if err == nil {
			err = each(r)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Find implements ipam.Store.
func (s *Store) Find(ctx context.Context, space, owner string, values ...string) (out []ipam.Record, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		owned, ok, err := ownedBy(ctx, b, space, owner)
		if err != nil {
			return err
		}
		if ok {
			out = append(out, owned)
		}
		for _, value := range values {
			r, found, err := get(b, space, value)
			if err != nil {
				return err
			}
			if found && !(ok && owned.Value == value) {
				out = append(out, r)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: find: %w", err)
	}
	return out, nil
}

// errFound ends a scan.
var errFound = errors.New("found")

// ownedBy looks for what an owner owns, at all records of the space: it is for
// when that is seldom asked.
func ownedBy(ctx context.Context, b *bbolt.Bucket, space, owner string) (rec ipam.Record, ok bool, err error) {
	if owner == "" {
		return ipam.Record{}, false, nil
	}
	err = scan(ctx, b, space, func(r ipam.Record) error {
		if r.Space == space && r.Owner == owner && r.Owned() {
			rec, ok = r, true
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return rec, ok, err
}

func get(b *bbolt.Bucket, space, value string) (ipam.Record, bool, error) {
	k := key(space, value)
	raw := b.Get(k)
	if raw == nil {
		return ipam.Record{}, false, nil
	}
	r, err := decode(k, raw)
	return r, err == nil, err
}

// Commit implements ipam.Store. The context ends the wait only before the
// changes are on their way to the disk.
func (s *Store) Commit(ctx context.Context, changes []ipam.Change) error {
	if err := ipam.ValidateChanges(changes); err != nil {
		return fmt.Errorf("boltstore: commit: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.group.do(changes, s.write); err != nil {
		return fmt.Errorf("boltstore: commit: %w", err)
	}
	return nil
}

// write makes the changes of several callers in one transaction, and gives
// each its error. Only one runs at a time.
func (s *Store) write(calls []*call) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		revision := b.Sequence()
		for _, c := range calls {
			next, err := s.apply(b, c, revision)
			if c.err = err; err == nil {
				revision = next
			} else if !errors.Is(err, ipam.ErrConflict) {
				return err
			}
		}
		return b.SetSequence(revision)
	})
	if err == nil {
		return
	}
	for _, c := range calls {
		if c.counted {
			s.countAll(c, -1)
		}
		c.err = err
	}
}

// countAll follows the changes of a call, or takes that back for n = -1.
func (s *Store) countAll(c *call, n int) {
	c.counted = n > 0
	for i, change := range c.changes {
		if c.old[i].Revision != 0 {
			s.count(c.old[i], -n)
		}
		if !change.Delete() {
			s.count(change.After, n)
		}
	}
}

// apply makes the changes of one call, or none with ErrConflict.
func (s *Store) apply(b *bbolt.Bucket, c *call, revision uint64) (uint64, error) {
	c.old = make([]ipam.Record, len(c.changes))
	for i, change := range c.changes {
		space, value := change.Key()
		r, _, err := get(b, space, value)
		if err != nil {
			return 0, err
		}
		if r.Revision != change.Before.Revision {
			return 0, ipam.ConflictError(change, r.Revision)
		}
		c.old[i] = r
		revision = max(revision, change.After.Generation)
	}
	s.countAll(c, 1)
	if err := s.checkOwners(b, c); err != nil {
		s.countAll(c, -1)
		return 0, err
	}
	revision++
	for i := range c.changes {
		change := &c.changes[i]
		space, value := change.Key()
		if change.Delete() {
			if err := b.Delete(key(space, value)); err != nil {
				return 0, err
			}
			continue
		}
		change.After.Revision = revision
		if change.After.Generation == 0 {
			change.After.Generation = revision
		}
		if err := b.Put(key(space, value), encode(change.After)); err != nil {
			return 0, err
		}
	}
	return revision, nil
}

// checkOwners refuses an owner who would own two values, when the changes are
// counted but not yet made.
func (s *Store) checkOwners(b *bbolt.Bucket, c *call) error {
	owners := map[string]string{}
	for i, change := range c.changes {
		if change.Delete() || !change.After.Owned() || s.owned[s.hash(change.After.Space, change.After.Owner)] == 1 {
			continue
		}
		id := string(key(change.After.Space, change.After.Owner))
		if has, ok := owners[id]; ok {
			return ipam.OwnerConflictError(c.changes[i], has)
		}
		owners[id] = change.After.Value
		has, ok, err := ownedBy(context.Background(), b, change.After.Space, change.After.Owner)
		if err != nil {
			return err
		}
		if ok && !c.changed(has) {
			return ipam.OwnerConflictError(change, has.Value)
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
