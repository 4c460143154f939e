package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A core allocates values of one kind, as text.
type core interface {
	// reserve takes a specific value; release frees one. A value that the
	// core does not give is ErrOutOfRange for reserve and nothing for release.
	reserve(value string) error
	release(value string)
}

// leases is a space: its records and, once it is opened, the core that they
// are taken from. A value is taken in the core for as long as the store may
// have a record of it.
type leases struct {
	name     string
	registry *Registry

	mu      sync.Mutex // protects what follows; not held while the store works
	records map[string]Record
	core    core
	// expiring has what is in quarantine, the next to expire first.
	expiring []expiry
	// busy owners wait for the store; the channel is closed when it is done.
	busy map[string]chan struct{}
	// doubtful commits failed, and the store may have made them or not.
	doubtful [][]Change
	// settling, reaping and alone are closed when that is done; nil if nobody
	// does it. While somebody has the space alone, no owner becomes busy.
	settling, reaping, alone chan struct{}
	// forgotten spaces are no longer the registry's, and give nothing.
	forgotten bool
}

// An expiry is when a record's quarantine ends, unless the record has since
// another revision.
type expiry struct {
	until    time.Time
	owner    string
	revision uint64
}

// of reports whether it is when the quarantine of rec ends.
func (e expiry) of(rec Record) bool { return rec.Revision == e.revision && rec.Until.Equal(e.until) }

// errForgotten says that the registry has no such space any more.
var errForgotten = fmt.Errorf("%w: the space was forgotten; open it again", ErrInvalid)

// errDoubt says that a commit may have been made although it failed.
var errDoubt = errors.New("outcome unknown")

// parked separates the owner from the value in the key of a record that keeps
// a value in quarantine although its owner has another by now.
const parked = "\x00"

func parkedKey(rec Record) string { return rec.Owner + parked + rec.Value }

func (s *leases) held() []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Lease
	for _, rec := range s.records {
		if rec.Until.IsZero() {
			out = append(out, Lease{s.name, rec.Owner, rec.Value})
		}
	}
	slices.SortFunc(out, func(a, b Lease) int { return cmp.Compare(a.Owner, b.Owner) })
	return out
}

// open gives the space a core, in which everything that is leased or in
// quarantine is taken. Leases that the core does not have are an error.
func (s *leases) open(c core) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is about to be written is taken in the old core alone.
	if err := s.enterAloneLocked(context.Background()); err != nil {
		return fmt.Errorf("ipam: open %q: %w", s.name, err)
	}
	defer s.leaveAloneLocked()
	var live, resting []Record
	for _, rec := range s.records {
		if rec.Until.IsZero() {
			live = append(live, rec)
		} else {
			resting = append(resting, rec)
		}
	}
	slices.SortFunc(live, func(a, b Record) int { return cmp.Compare(a.Owner, b.Owner) })
	var errs []error
	for _, rec := range live {
		if err := c.reserve(rec.Value); err != nil {
			errs = append(errs, fmt.Errorf("ipam: open %q: lease of %q: %w", s.name, rec.Owner, err))
		}
	}
	if n := len(errs); n > maxNamed {
		errs = append(errs[:maxNamed], fmt.Errorf("ipam: open %q: %d of %d leases cannot be kept", s.name, n, len(live)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, rec := range resting {
		_ = c.reserve(rec.Value) // what the core does not have it cannot give to another
	}
	s.core = c
	return nil
}

// maxNamed is how many leases the error of open names.
const maxNamed = 8

// waitLocked releases the lock until wait is closed or the context ends.
func (s *leases) waitLocked(ctx context.Context, wait <-chan struct{}) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ipam: wait in %q: %w", s.name, context.Cause(ctx))
	}
}

// enterAloneLocked waits until nobody works for any owner, with nobody new let
// in, and until the store has told what it did before; then the caller has the
// space alone, and calls leaveAloneLocked. The lock is released while it waits.
func (s *leases) enterAloneLocked(ctx context.Context) error {
	for s.alone != nil {
		if err := s.waitLocked(ctx, s.alone); err != nil {
			return err
		}
	}
	if s.forgotten {
		return errForgotten
	}
	s.alone = make(chan struct{})
	for len(s.busy) > 0 || len(s.doubtful) > 0 {
		err := s.settleLocked(ctx)
		for _, wait := range s.busy {
			if err == nil {
				err = s.waitLocked(ctx, wait)
			}
			break
		}
		if err != nil {
			s.leaveAloneLocked()
			return err
		}
	}
	return nil
}

func (s *leases) leaveAloneLocked() {
	close(s.alone)
	s.alone = nil
}

// enterLocked waits until nobody works for the owner or has the space alone,
// and until the store has told what it did before; then the caller works, and
// calls leaveLocked. The lock is released while it waits.
func (s *leases) enterLocked(ctx context.Context, owner string) error {
	for s.busy[owner] != nil || s.alone != nil {
		wait := s.busy[owner]
		if wait == nil {
			wait = s.alone
		}
		if err := s.waitLocked(ctx, wait); err != nil {
			return err
		}
	}
	if s.forgotten {
		return errForgotten
	}
	s.busy[owner] = make(chan struct{})
	if err := s.settleLocked(ctx); err != nil {
		s.leaveLocked(owner)
		return err
	}
	return nil
}

func (s *leases) leaveLocked(owner string) {
	close(s.busy[owner])
	delete(s.busy, owner)
}

// acquire returns the owner's value. Pick takes a new one from the core; a
// value that the owner already has must pass accept.
func (s *leases) acquire(ctx context.Context, owner string, accept func(value string) error, pick func(core) (string, error)) (string, error) {
	if owner == "" || strings.Contains(owner, parked) {
		return "", fmt.Errorf("ipam: acquire in %q: owner %q: %w", s.name, owner, ErrInvalid)
	}
	value, err := s.acquireNamed(ctx, owner, accept, pick)
	if err != nil {
		return "", fmt.Errorf("ipam: acquire in %q for %q: %w", s.name, owner, err)
	}
	return value, nil
}

func (s *leases) acquireNamed(ctx context.Context, owner string, accept func(value string) error, pick func(core) (string, error)) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enterLocked(ctx, owner); err != nil {
		return "", err
	}
	defer s.leaveLocked(owner)
	old := s.records[owner]
	next := Record{Space: s.name, Owner: owner, Revision: old.Revision + 1}
	var changes []Change
	if old.Revision != 0 {
		err := accept(old.Value)
		if old.Until.IsZero() {
			if err != nil {
				return "", fmt.Errorf("%w: %w", ErrConflict, err)
			}
			return old.Value, nil
		}
		// A released value may come back, if the space still gives it.
		if err == nil {
			if err = s.core.reserve(old.Value); err == nil || errors.Is(err, ErrInUse) {
				next.Value = old.Value
				return next.Value, s.commitLocked(ctx, []Change{{Record: next, Expect: old.Revision}})
			}
		}
		rest := old
		rest.Owner = parkedKey(old)
		rest.Revision = s.records[rest.Owner].Revision + 1
		changes = append(changes, Change{Record: rest, Expect: rest.Revision - 1})
	}
	if err := s.reapLocked(ctx); err != nil {
		return "", err
	}
	value, err := pick(s.core)
	if err != nil {
		return "", err
	}
	next.Value = value
	err = s.commitLocked(ctx, append(changes, Change{Record: next, Expect: old.Revision}))
	if err != nil && !errors.Is(err, errDoubt) {
		s.core.release(value)
	}
	return value, err
}

// release puts the owner's value into quarantine.
func (s *leases) release(ctx context.Context, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.enterLocked(ctx, owner)
	if errors.Is(err, errForgotten) {
		return nil // only a space without leases is forgotten
	}
	if err == nil {
		defer s.leaveLocked(owner)
		old, ok := s.records[owner]
		if !ok || !old.Until.IsZero() {
			return nil
		}
		change := Change{Record: old, Delete: true, Expect: old.Revision}
		if q := s.registry.cfg.Quarantine; q > 0 {
			change.Delete = false
			change.Record.Revision++
			change.Record.Until = s.registry.cfg.Now().Add(q)
		}
		err = s.commitLocked(ctx, []Change{change})
	}
	if err != nil {
		return fmt.Errorf("ipam: release in %q of %q: %w", s.name, owner, err)
	}
	return nil
}

// reapLocked deletes the records whose quarantine is over and then frees
// their values: in this order, so that a crash does not leave a value with
// two owners. Owners that are busy are left alone.
func (s *leases) reapLocked(ctx context.Context) error {
	for s.reaping != nil {
		if err := s.waitLocked(ctx, s.reaping); err != nil {
			return err
		}
	}
	s.reaping = make(chan struct{})
	defer func() { close(s.reaping); s.reaping = nil }()
	now := s.registry.cfg.Now()
	var changes []Change
	n := 0
	for ; n < len(s.expiring) && !now.Before(s.expiring[n].until); n++ {
		e := s.expiring[n]
		if rec := s.records[e.owner]; e.of(rec) && s.busy[e.owner] == nil {
			s.busy[e.owner] = make(chan struct{})
			changes = append(changes, Change{Record: rec, Delete: true, Expect: rec.Revision})
		}
	}
	if n == 0 {
		return nil
	}
	due := s.expiring[:n:n]
	s.expiring = s.expiring[n:]
	var err error
	if len(changes) > 0 {
		err = s.commitLocked(ctx, changes)
	}
	for _, c := range changes {
		s.leaveLocked(c.Record.Owner)
	}
	for _, e := range due { // what was due and is still there waits for the next time
		if e.of(s.records[e.owner]) {
			s.expireLocked(e)
		}
	}
	return err
}

func (s *leases) expireLocked(e expiry) {
	i, _ := slices.BinarySearchFunc(s.expiring, e, func(a, b expiry) int { return a.until.Compare(b.until) })
	s.expiring = slices.Insert(s.expiring, i, e)
}

// rememberLocked takes note of a record that the store has.
func (s *leases) rememberLocked(rec Record) {
	s.records[rec.Owner] = rec
	if !rec.Until.IsZero() {
		s.expireLocked(expiry{rec.Until, rec.Owner, rec.Revision})
	}
}

// commitLocked makes the changes in the store, and then here. With errDoubt
// they may have been made; with another error they were not. The lock is
// released while the store works.
func (s *leases) commitLocked(ctx context.Context, changes []Change) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Unlock()
	err := s.registry.store.Commit(ctx, changes)
	s.mu.Lock()
	switch {
	case errors.Is(err, ErrConflict):
		return err
	case err != nil:
		s.doubtful = append(s.doubtful, changes)
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, errDoubt, err)
	}
	s.madeLocked(changes)
	return nil
}

// settleLocked makes the commits again that may not have been made. As nobody
// else writes to the store, a conflict says that they were.
func (s *leases) settleLocked(ctx context.Context) error {
	for len(s.doubtful) > 0 {
		if s.settling != nil {
			if err := s.waitLocked(ctx, s.settling); err != nil {
				return err
			}
			continue
		}
		s.settling = make(chan struct{})
		changes := s.doubtful[0]
		s.mu.Unlock()
		err := s.registry.store.Commit(ctx, changes)
		s.mu.Lock()
		close(s.settling)
		s.settling = nil
		if err != nil && !errors.Is(err, ErrConflict) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		s.doubtful = s.doubtful[1:]
		s.madeLocked(changes)
	}
	return nil
}

// madeLocked follows changes that the store has made: values that no record
// has any more are free.
func (s *leases) madeLocked(changes []Change) {
	kept, gone := map[string]bool{}, []string(nil)
	for _, c := range changes {
		if prev := s.records[c.Record.Owner]; prev.Revision != 0 {
			gone = append(gone, prev.Value)
		}
		if c.Delete {
			delete(s.records, c.Record.Owner)
			continue
		}
		kept[c.Record.Value] = true
		s.rememberLocked(c.Record)
	}
	for _, value := range gone {
		if !kept[value] && s.core != nil {
			s.core.release(value)
		}
	}
	s.registry.writes.Add(uint64(len(changes)))
}

// lookup returns what the owner holds.
func (s *leases) lookup(owner string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.records[owner]
	return rec.Value, ok && rec.Until.IsZero()
}

// holderLocked names who has a value, for errors.
func (s *leases) holderLocked(value string) string {
	for key, rec := range s.records {
		if rec.Value != value {
			continue
		}
		if rec.Until.IsZero() {
			return fmt.Sprintf("leased to %q", key)
		}
		owner, _, _ := strings.Cut(key, parked)
		return fmt.Sprintf("in quarantine until %s after %q", rec.Until.Format(time.RFC3339), owner)
	}
	return "its lease is being written"
}

// forget marks a space that is empty once what is over has been deleted.
func (s *leases) forget(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enterAloneLocked(ctx); err != nil {
		return err
	}
	defer s.leaveAloneLocked()
	if err := s.reapLocked(ctx); err != nil {
		return err
	}
	held := 0
	for _, rec := range s.records {
		if rec.Until.IsZero() {
			held++
		}
	}
	if n := len(s.records); n > 0 {
		return fmt.Errorf("%w: %d leases, %d values in quarantine", ErrInUse, held, n-held)
	}
	s.forgotten, s.core = true, nil
	return nil
}
