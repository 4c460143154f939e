package boltstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

// A view is the records as they are at one moment: those of the database, and
// over them what is only in the journal.
type view struct {
	store    *Store
	tx       *bbolt.Tx
	records  *bbolt.Bucket
	edits    [2]edits          // the later last
	over     map[string][]byte // what they made, by key, empty for what was deleted
	revision uint64
}

// openView returns a view with the first n of what is recent, to be laid over
// before it is used. The caller has the turn, so that no move ends meanwhile and
// the view misses nothing.
func (s *Store) openView(n int) (*view, error) {
	if s.closed {
		return nil, os.ErrClosed
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, err
	}
	s.views.Add(1)
	return &view{
		store: s, tx: tx, records: tx.Bucket(recordsBucket), revision: s.durable.revision,
		edits: [2]edits{s.frozen.first(s.frozen.count), s.recent.first(n)},
	}, nil
}

func (v *view) layOver() {
	v.over = map[string][]byte{}
	for i := range v.edits {
		for at := range v.edits[i].count {
			e := v.edits[i].at(at)
			v.over[string(e.key)] = e.record
		}
	}
}

func (v *view) close() {
	_ = v.tx.Rollback()
	v.store.views.Done()
}

// view calls f with a view of what is durable.
func (s *Store) view(f func(*view) error) error {
	if err := s.mend(); err != nil {
		return err
	}
	s.turn.Lock()
	v, err := s.openView(s.durable.edits)
	s.turn.Unlock()
	if err != nil {
		return err
	}
	defer v.close()
	v.layOver()
	return f(v)
}

// mend cuts off what a failed write may have left in the journal, before
// anybody is told that it is not there.
func (s *Store) mend() error {
	s.turn.Lock()
	torn := s.torn
	s.turn.Unlock()
	if !torn {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.journal.mend()
	s.turn.Lock()
	defer s.turn.Unlock()
	s.torn = s.journal.torn
	return err
}

// raw returns what there is of a key, as it is encoded.
func (v *view) raw(key []byte) []byte {
	if record, ok := v.over[string(key)]; ok {
		return record
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
		if _, hidden := v.over[string(k)]; hidden {
			continue
		}
		if err := pass(k, raw); err != nil {
			return err
		}
	}
	for k, raw := range v.over {
		if len(raw) == 0 || !strings.HasPrefix(k, string(prefix)) {
			continue
		}
		if err := pass([]byte(k), raw); err != nil {
			return err
		}
	}
	return nil
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
