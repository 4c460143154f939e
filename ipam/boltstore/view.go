package boltstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

// A view is the records as they are at one moment: those of the database, and
// over them what is only in the journal.
type view struct {
	tx       *bbolt.Tx
	records  *bbolt.Bucket
	over     []changes // the later first
	revision uint64
}

// openView returns a view for who has the turn, as recent is written to. It is
// made while no move can end, so that it misses nothing.
func (s *Store) openView() (*view, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return &view{tx: tx, records: tx.Bucket(recordsBucket), over: []changes{s.recent, s.frozen}, revision: s.revision}, nil
}

func (v *view) close() { _ = v.tx.Rollback() }

// view calls f with a view that stays as it is. What a failed write may have
// left in the journal is cut off before.
func (s *Store) view(f func(*view) error) error {
	s.turn.Lock()
	err := s.journal.mend()
	var v *view
	if err == nil {
		v, err = s.openView()
	}
	if err == nil {
		v.over[0] = maps.Clone(v.over[0])
	}
	s.turn.Unlock()
	if err != nil {
		return err
	}
	defer v.close()
	return f(v)
}

// raw returns what there is of a key, as it is encoded.
func (v *view) raw(key []byte) []byte {
	for _, c := range v.over {
		if record, ok := c[string(key)]; ok {
			return record
		}
	}
	return v.records.Get(key)
}

func (v *view) get(space, value string) (ipam.Record, bool, error) {
	k := key(space, value)
	raw := v.raw(k)
	if len(raw) == 0 {
		return ipam.Record{}, false, nil
	}
	r, err := decode(k, raw)
	return r, err == nil, err
}

// scan passes the records of a space, or of all for "".
func (v *view) scan(ctx context.Context, space string, each func(ipam.Record) error) error {
	var prefix []byte
	if space != "" {
		prefix = key(space, "")
	}
	pass := func(k, raw []byte) error {
		r, err := decode(k, raw)
		if err == nil {
			err = each(r)
		}
		if err == nil {
			err = ctx.Err()
		}
		return err
	}
	c := v.records.Cursor()
	for k, raw := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = c.Next() {
		if hides(v.over, string(k)) {
			continue
		}
		if err := pass(k, raw); err != nil {
			return err
		}
	}
	for i, c := range v.over {
		for k, raw := range c {
			if len(raw) == 0 || !strings.HasPrefix(k, string(prefix)) || hides(v.over[:i], k) {
				continue
			}
			if err := pass([]byte(k), raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// hides reports whether there is something later of a key.
func hides(over []changes, key string) bool {
	for _, c := range over {
		if _, ok := c[key]; ok {
			return true
		}
	}
	return false
}

// errFound ends a scan.
var errFound = errors.New("found")

// ownedBy looks for what an owner owns, at all records of the space: it is for
// when that is seldom asked.
func (v *view) ownedBy(ctx context.Context, space, owner string) (rec ipam.Record, ok bool, err error) {
	if owner == "" {
		return ipam.Record{}, false, nil
	}
	err = v.scan(ctx, space, func(r ipam.Record) error {
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
