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
	path  string
	db    *bbolt.DB
	group group
	seed  maphash.Seed

	// moving is held by who moves batches to the database, and taken first.
	moving sync.Mutex
	// turn is held by who appends to the journal or changes what is recent. It
	// protects what follows.
	turn    sync.Mutex
	journal *journal
	closed  bool
	// long is how many bytes of a journal are worth moving, and moveAt how many
	// there are when it is next tried.
	long, moveAt int64
	background   sync.WaitGroup // moves
	inMove       bool           // there is one
	// owned counts the records that owners own, by a hash of space and owner:
	// an owner that is not there owns nothing, and others are looked for in the
	// file.
	owned map[uint64]int
	// recent is what the journal has since the last move began.
	recent   changes
	lastBody int // the size of what was written last

	// mu protects what follows; who writes it has the turn, too, but for who
	// ends a move.
	mu       sync.RWMutex
	revision uint64
	// frozen is what a move moves, and not written to.
	frozen changes
}

// changes are records by their keys as they are encoded, empty for deleted ones.
type changes map[string][]byte

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
	s := &Store{path: path, db: db, seed: maphash.MakeSeed(), owned: map[uint64]int{}, recent: changes{}, long: longJournal, moveAt: longJournal}
	if err := s.openJournal(); err != nil {
		return nil, errors.Join(fmt.Errorf("boltstore: open %s: %w", path, err), db.Close())
	}
	_, err = s.Load(context.Background(), "", func(r ipam.Record) error {
		s.count(&r, 1)
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
	s.revision = state.revision
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
		s.revision = max(s.revision, b.revision)
		err := b.each(func(key, record []byte) { s.recent[string(key)] = record })
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.journalPath(), err), j.file.Close())
		}
	}
	s.journal = j
	return nil
}

// Close moves the journal to the database, removes it and closes the file. An
// error loses nothing: the journal stays then, for the next [Open].
func (s *Store) Close() error {
	s.turn.Lock()
	closed := s.closed
	s.closed = true
	s.turn.Unlock()
	if closed {
		return nil
	}
	s.background.Wait()
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
