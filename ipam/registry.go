package ipam

import (
	"cmp"
	"context"
	"errors"
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
		r.spaceLocked(rec.Space).rememberLocked(rec)
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
	r.mu.Lock()
	s := r.spaces[space]
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.release(ctx, owner)
}

// open gives a space a core, and makes it if it is new.
func (r *Registry) open(space string, c core) (*leases, error) {
	for {
		s := r.space(space)
		if err := s.open(c); err == nil {
			return s, nil
		} else if !errors.Is(err, errForgotten) {
			return nil, err
		}
		r.drop(space, s)
	}
}

// drop removes a forgotten space, unless there is a new one of its name.
func (r *Registry) drop(space string, s *leases) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spaces[space] == s {
		delete(r.spaces, space)
	}
}

// Forget drops a space that has neither leases nor values in quarantine; one
// that has is [ErrInUse], with how many. What was opened of it gives nothing
// any more. A space that the registry does not have is no error.
func (r *Registry) Forget(ctx context.Context, space string) error {
	r.mu.Lock()
	s := r.spaces[space]
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := s.forget(ctx); err != nil && !errors.Is(err, errForgotten) {
		return fmt.Errorf("ipam: forget %q: %w", space, err)
	}
	r.drop(space, s)
	return nil
}
