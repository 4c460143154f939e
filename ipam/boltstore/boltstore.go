// Package boltstore keeps the leases of package ipam in a bbolt file.
//
// A commit is durable when it returns. Callers that commit at the same time
// share one append to a journal, and so one wait for the disk. The journal is
// a file beside the database, with ".journal" after its name, that is there
// while the store is open: what it has is moved to the database now and then,
// when the store is closed, or, after a crash, from when it is opened again.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
)

// A Store is an ipam.Store over a file and its journal. Make one with [Open];
// it may be used concurrently.
type Store struct {
	path               string
	db                 *bbolt.DB
	keySeed, ownerSeed maphash.Seed

	// moving is held by who moves edits to the database, and taken first.
	moving sync.Mutex

	// writing is held by who writes to the journal, and taken before the turn.
	// It protects what follows.
	writing sync.Mutex
	journal *journal
	// took is how long the last write took.
	took time.Duration
	// moveAt is how long the journal is when it is moved, and leastMove how long
	// it is then at least.
	moveAt, leastMove int64
	inMove            bool           // there is a move in the background
	background        sync.WaitGroup // of moves

	// views are those that are open.
	views sync.WaitGroup

	// turn is held for some reads of memory or of the file at most. It protects
	// what follows.
	turn   sync.Mutex
	closed bool
	torn   bool   // the journal may have the rest of a failed write
	next   *round // that calls join, or nil
	last   *round // the last that was made, nil if none was
	// callers is how many are expected to come at the same time, and lastSize
	// how large the last batch was.
	callers, lastSize int
	// given is the highest revision or generation that was given.
	given  uint64
	counts tally // see count.go
	// recent is what the journal has since the last move began and, after
	// durable.edits of them, what is staged. Frozen is what a move moves.
	recent, frozen *edits
	durable        durable
	record         []byte // the last that was encoded
}

// durable says how far what is durable goes: how many edits of those that are
// recent, and the number and the revision of the last batch.
type durable struct {
	edits            int
	number, revision uint64
}

// mapped is how many bytes of address space a file has from the first: as long
// as it is smaller, a move need not wait for readers to map more.
const mapped = 256 << 20

// Open opens the file, made if missing, and its journal. A file that another
// process has open is an error after a second, and so is a journal that is
// missing after a crash, damaged, or of another database.
func Open(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: mapped,
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s := &Store{
		path: path, db: db, keySeed: maphash.MakeSeed(), ownerSeed: maphash.MakeSeed(),
		recent: &edits{}, frozen: &edits{}, leastMove: leastMove,
	}
	if err := s.openJournal(); err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), db.Close())
	}
	s.given = s.durable.revision
	s.moveAt = s.worthMoving()
	_, err = s.Load(context.Background(), "", func(r ipam.Record) error {
		s.countRecord(r)
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), s.journal.file.Close(), db.Close())
	}
	return s, nil
}

func (s *Store) journalPath() string { return s.path + ".journal" }

// openJournal opens the journal that the database names, or makes one.
func (s *Store) openJournal() error {
	state, err := readState(s.db)
	if err != nil {
		return err
	}
	s.durable.revision = state.revision
	if !state.named {
		if s.journal, err = makeJournal(s.journalPath()); err != nil {
			return err
		}
		if err = nameJournal(s.db, s.journal.id); err != nil {
			err = errors.Join(err, s.journal.file.Close())
		}
		return err
	}
	j, batches, err := openJournal(s.journalPath(), state.journal, state.applied)
	if err != nil {
		return err
	}
	for _, b := range batches {
		s.durable.revision = max(s.durable.revision, b.revision)
		err := b.each(func(key, record []byte) { s.recent.put(s.keyHash(key), key, record) })
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.journalPath(), err), j.file.Close())
		}
	}
	s.durable.edits, s.durable.number = s.recent.count, j.number
	s.journal = j
	return nil
}

// Close moves the journal to the database, removes it and closes the file. An
// error loses nothing: the journal stays then, for the next [Open].
func (s *Store) Close() error {
	if !s.stop() {
		return nil
	}
	err := s.move()
	if err == nil {
		err = unnameJournal(s.db)
	}
	if err == nil {
		err = os.Remove(s.journalPath())
	}
	if err = errors.Join(err, s.journal.file.Close(), s.db.Close()); err != nil {
		return fmt.Errorf("boltstore: close %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// stop waits for what others read and write, with nobody new let in. It reports
// whether that was not done before.
func (s *Store) stop() bool {
	s.turn.Lock()
	closed, last := s.closed, s.last
	s.closed = true
	s.turn.Unlock()
	if closed {
		return false
	}
	if last != nil {
		<-last.done
	}
	s.background.Wait()
	s.views.Wait()
	return true
}

// Exclusive reports that no other process can have the file open.
func (s *Store) Exclusive() bool { return true }

// Load implements ipam.Store.
func (s *Store) Load(ctx context.Context, space string, each func(ipam.Record) error) (generation uint64, err error) {
	err = s.view(func(v *view) error {
		generation = v.revision
		return v.scan(ctx, space, each)
	})
	if err != nil {
		return 0, fmt.Errorf("boltstore: load: %w", err)
	}
	return generation, nil
}

// Find implements ipam.Store.
func (s *Store) Find(ctx context.Context, space, owner string, values ...string) (out []ipam.Record, err error) {
	err = s.view(func(v *view) error {
		owned, ok, err := v.ownedBy(ctx, space, owner)
		if err != nil {
			return err
		}
		if ok {
			out = append(out, owned)
		}
		for _, value := range values {
			r, found, err := v.get(space, value)
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

// Commit implements ipam.Store. A context that ends after the call began does
// not end it: it lasts as long as the disk takes.
func (s *Store) Commit(ctx context.Context, changes []ipam.Change) error {
	if err := ipam.ValidateChanges(changes); err != nil {
		return fmt.Errorf("boltstore: commit: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.commit(changes); err != nil {
		return fmt.Errorf("boltstore: commit: %w", err)
	}
	return nil
}
