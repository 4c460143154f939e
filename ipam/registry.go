package ipam

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config holds what a [Registry] may be told. The zero value is good.
type Config struct {
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Quarantine is how long a released value is held back for other owners.
	Quarantine time.Duration
}

// A Lease is a value that an owner holds.
type Lease struct{ Space, Owner, Value string }

// A Registry holds the leases of a [Store]. It must be the only one that
// writes to the store: a change by another is found, not merged. Make one with
// [Open]. It may be used concurrently.
type Registry struct {
	store  Store
	cfg    Config
	writes atomic.Uint64

	mu     sync.Mutex // protects spaces; a space's own lock is taken after it
	spaces map[string]*leases
}

// Open loads every lease of the store.
func Open(ctx context.Context, store Store, cfg Config) (*Registry, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	records, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("ipam: load leases: %w: %w", ErrUnavailable, err)
	}
	r := &Registry{store: store, cfg: cfg, spaces: map[string]*leases{}}
	for _, rec := range records {
		s := r.spaceLocked(rec.Space)
		s.records[rec.Owner] = rec
	}
	return r, nil
}

// Writes returns how many changes of leases were made durable since Open.
func (r *Registry) Writes() uint64 { return r.writes.Load() }

// spaceLocked returns a space, made empty if it is new. Before a registry is
// shared, no lock is needed.
func (r *Registry) spaceLocked(name string) *leases {
	s := r.spaces[name]
	if s == nil {
		s = &leases{name: name, registry: r, records: map[string]Record{}, busy: map[string]chan struct{}{}}
		r.spaces[name] = s
	}
	return s
}

func (r *Registry) space(name string) *leases {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spaceLocked(name)
}

// Leases yields all leases that are held, by space and owner.
func (r *Registry) Leases() iter.Seq[Lease] {
	r.mu.Lock()
	spaces := make([]*leases, 0, len(r.spaces))
	for _, s := range r.spaces {
		spaces = append(spaces, s)
	}
	r.mu.Unlock()
	slices.SortFunc(spaces, func(a, b *leases) int { return cmp.Compare(a.name, b.name) })
	return func(yield func(Lease) bool) {
		for _, s := range spaces {
			for _, l := range s.held() {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// Release gives back what an owner holds in a space, opened or not. An owner
// that holds nothing is no error.
func (r *Registry) Release(ctx context.Context, space, owner string) error {
	return r.space(space).release(ctx, owner)
}

// A core allocates values of one kind, as text.
type core interface {
	// reserve takes a specific value; release frees one.
	reserve(value string) error
	release(value string)
}

// leases is a space: its records and, once it is opened, the core that they
// are taken from.
type leases struct {
	name     string
	registry *Registry

	mu      sync.Mutex // protects what follows; not held while the store works
	records map[string]Record
	core    core
	// busy owners wait for the store; the channel is closed when it is done.
	busy map[string]chan struct{}
}

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
// quarantine is taken. A lease that the core does not have is an error.
func (s *leases) open(c core) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.busy) > 0 { // what is about to be written is in the old core alone
		for _, wait := range s.busy {
			s.mu.Unlock()
			<-wait
			s.mu.Lock()
			break
		}
	}
	owners := make([]string, 0, len(s.records))
	for owner := range s.records {
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	for _, owner := range owners {
		rec := s.records[owner]
		if err := c.reserve(rec.Value); err != nil && rec.Until.IsZero() {
			return fmt.Errorf("ipam: open %q: lease of %q: %w", s.name, owner, err)
		}
	}
	s.core = c
	return nil
}

// enterLocked waits until nobody works for the owner, and then does. The
// caller holds the lock, which is released while it waits, and calls leave.
func (s *leases) enterLocked(ctx context.Context, owner string) error {
	for {
		wait, ok := s.busy[owner]
		if !ok {
			s.busy[owner] = make(chan struct{})
			return nil
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("ipam: %q in %q: %w", owner, s.name, context.Cause(ctx))
		}
	}
}

func (s *leases) leaveLocked(owner string) {
	close(s.busy[owner])
	delete(s.busy, owner)
}

// acquire returns the owner's value. Pick takes a new one from the core c,
// which must still be the space's; a value that the owner already has must
// pass accept.
func (s *leases) acquire(ctx context.Context, c core, owner string, accept func(value string) error, pick func() (string, error)) (string, error) {
	if owner == "" {
		return "", fmt.Errorf("ipam: acquire in %q: %w: no owner", s.name, ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enterLocked(ctx, owner); err != nil {
		return "", err
	}
	defer s.leaveLocked(owner)
	if s.core != c {
		return "", fmt.Errorf("ipam: acquire in %q for %q: %w: the space was opened again", s.name, owner, ErrConflict)
	}
	old := s.records[owner]
	if old.Revision != 0 {
		err := accept(old.Value)
		if err == nil && old.Until.IsZero() {
			return old.Value, nil
		}
		if err != nil && old.Until.IsZero() {
			return "", fmt.Errorf("ipam: acquire in %q for %q: %w: %w", s.name, owner, ErrConflict, err)
		}
		if err == nil {
			return old.Value, s.putLocked(ctx, old, Record{Value: old.Value}, nil)
		}
	}
	expired := s.expireLocked(owner)
	value, err := pick()
	if err != nil {
		s.takeLocked(expired)
		return "", fmt.Errorf("ipam: acquire in %q for %q: %w", s.name, owner, err)
	}
	if err := s.putLocked(ctx, Record{Space: s.name, Owner: owner, Revision: old.Revision}, Record{Value: value}, expired); err != nil {
		s.core.release(value)
		s.takeLocked(expired)
		return "", err
	}
	if old.Revision != 0 && old.Value != value {
		s.core.release(old.Value)
	}
	return value, nil
}

// expireLocked frees the values whose quarantine is over, but not that of the
// owner itself, and returns their records, which must be deleted with the
// next write. Owners that are busy are left alone.
func (s *leases) expireLocked(except string) []Record {
	now := s.registry.cfg.Now()
	var out []Record
	for owner, rec := range s.records {
		if _, busy := s.busy[owner]; busy || owner == except || rec.Until.IsZero() || now.Before(rec.Until) {
			continue
		}
		s.core.release(rec.Value)
		delete(s.records, owner)
		out = append(out, rec)
	}
	return out
}

// takeLocked undoes expireLocked.
func (s *leases) takeLocked(expired []Record) {
	for _, rec := range expired {
		if s.core.reserve(rec.Value) == nil {
			s.records[rec.Owner] = rec
		}
	}
}

// putLocked writes a record over old and deletes expired ones, in one commit.
// The lock is released while the store works.
func (s *leases) putLocked(ctx context.Context, old, rec Record, expired []Record) error {
	rec.Space, rec.Owner, rec.Revision = s.name, old.Owner, old.Revision+1
	changes := []Change{{Record: rec, Expect: old.Revision}}
	for _, e := range expired {
		changes = append(changes, Change{Record: e, Delete: true, Expect: e.Revision})
	}
	if err := s.commitLocked(ctx, rec.Owner, changes); err != nil {
		return err
	}
	s.records[rec.Owner] = rec
	return nil
}

func (s *leases) commitLocked(ctx context.Context, owner string, changes []Change) error {
	s.mu.Unlock()
	err := s.registry.store.Commit(ctx, changes)
	s.mu.Lock()
	if err != nil {
		return fmt.Errorf("ipam: %q in %q: %w: %w", owner, s.name, ErrUnavailable, err)
	}
	s.registry.writes.Add(uint64(len(changes)))
	return nil
}

// release puts the owner's value into quarantine.
func (s *leases) release(ctx context.Context, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enterLocked(ctx, owner); err != nil {
		return err
	}
	defer s.leaveLocked(owner)
	old, ok := s.records[owner]
	if !ok || !old.Until.IsZero() {
		return nil
	}
	if q := s.registry.cfg.Quarantine; q > 0 {
		return s.putLocked(ctx, old, Record{Value: old.Value, Until: s.registry.cfg.Now().Add(q)}, nil)
	}
	if err := s.commitLocked(ctx, owner, []Change{{Record: old, Delete: true, Expect: old.Revision}}); err != nil {
		return err
	}
	delete(s.records, owner)
	if s.core != nil {
		s.core.release(old.Value)
	}
	return nil
}

// lookup returns what the owner holds.
func (s *leases) lookup(owner string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.records[owner]
	return rec.Value, ok && rec.Until.IsZero()
}

// holder names who has a value, for errors.
func (s *leases) holder(value string) string {
	for owner, rec := range s.records {
		if rec.Value != value {
			continue
		}
		if rec.Until.IsZero() {
			return fmt.Sprintf("leased to %q", owner)
		}
		return fmt.Sprintf("in quarantine until %s after %q", rec.Until.Format(time.RFC3339), owner)
	}
	return "not leased"
}
