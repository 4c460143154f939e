// Package boltstore keeps the leases of package ipam in one bbolt file.
//
// A commit is durable when it returns. Callers that commit at the same time
// share one transaction and so one fsync.
package boltstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

var bucket = []byte("leases")

// A Store is an ipam.Store over a file. Make one with [Open]; it may be used
// concurrently.
type Store struct{ db *bbolt.DB }

// Open opens the file, made if missing. A file that another process has open
// is an error after a second.
func Open(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	// Batch waits this long for company at most; a lone caller is not made to wait longer than a disk does.
	db.MaxBatchDelay = 500 * time.Microsecond
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), db.Close())
	}
	return &Store{db}, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load implements ipam.Store.
func (s *Store) Load(ctx context.Context) ([]ipam.Record, error) {
	var out []ipam.Record
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			var r ipam.Record
			if err := json.Unmarshal(v, &r); err != nil {
				return fmt.Errorf("record %q: %w", k, err)
			}
			out = append(out, r)
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: load: %w", err)
	}
	return out, nil
}

// key joins space and owner so that no two pairs share one.
func key(r ipam.Record) []byte { return fmt.Appendf(nil, "%d:%s%s", len(r.Space), r.Space, r.Owner) }

// Commit implements ipam.Store. The context ends the wait only before the
// transaction starts.
func (s *Store) Commit(ctx context.Context, changes []ipam.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, c := range changes {
			if err := apply(b, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("boltstore: commit: %w", err)
	}
	return nil
}

func apply(b *bbolt.Bucket, c ipam.Change) error {
	k := key(c.Record)
	var have ipam.Record
	if raw := b.Get(k); raw != nil {
		if err := json.Unmarshal(raw, &have); err != nil {
			return fmt.Errorf("record %q: %w", k, err)
		}
	}
	if have.Revision != c.Expect {
		return ipam.ConflictError(c, have.Revision)
	}
	if c.Delete {
		return b.Delete(k)
	}
	raw, err := json.Marshal(c.Record)
	if err != nil {
		return err
	}
	return b.Put(k, raw)
}
