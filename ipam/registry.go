package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
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
	// Acknowledge holds a released value back for other owners until
	// [Registry.Acknowledge] says that the dataplane has forgotten it, and the
	// quarantine is over.
	Acknowledge bool
}

// A Lease is a value that an owner holds.
type Lease struct {
	Space, Owner, Value string
	// Generation is higher each time that the value is given: who keeps it
	// can tell a lease from an earlier one of the same value.
	Generation uint64
}

func leaseOf(r Record) Lease { return Lease{r.Space, r.Owner, r.Value, r.Generation} }

// A Registry holds the leases of a [Store]. Other registries may use the same
// store, if it is not exclusive: then each answer is one that the store gives,
// while what is listed ([Registry.Leases], Lookup and the like) is as this
// registry saw it last. Make one with [Open]. It may be used concurrently.
type Registry struct {
	store  Store // nil for leases in memory alone
	shared bool  // others may write to the store
	cfg    Config
	seed   maphash.Seed
	wall   *wallClock // nil if the caller has a clock
	// raised is what revisions of leases in memory alone must be higher than.
	raised atomic.Uint64
	// rollbacks is how often the store was found to be rolled back.
	rollbacks atomic.Uint64

	_      [64]byte // what follows is written all the time, and what is around it mostly read
	writes atomic.Uint64
	// generation is the highest that was seen.
	generation atomic.Uint64
	_          [64]byte

	mu     sync.Mutex // protects spaces; a space's own locks are taken after it
	spaces map[string]*leases
}

// Open loads every lease of the store. A nil store keeps the leases in memory
// alone.
func Open(ctx context.Context, store Store, cfg Config) (*Registry, error) {
	r := &Registry{store: store, cfg: cfg, seed: maphash.MakeSeed(), spaces: map[string]*leases{}}
	if cfg.Now == nil {
		r.cfg.Now, r.wall = time.Now, &wallClock{}
	}
	if store == nil {
		return r, nil
	}
	alone, ok := store.(interface{ Exclusive() bool })
	r.shared = !ok || !alone.Exclusive()
	generation, err := store.Load(ctx, "", func(rec Record) error {
		if rec.Space != turnSpace {
			r.spaceLocked(rec.Space).load(rec)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ipam: load leases: %w", r.storeError(err))
	}
	r.generation.Store(generation)
	for _, s := range r.spaces {
		s.queue.sort()
	}
	return r, nil
}

// now returns the time as a store keeps it, nanos as an entry does.
func (r *Registry) now() time.Time { return timeOf(r.nanos()) }
func (r *Registry) nanos() int64   { return nanos(r.cfg.Now()) }

// since is nanos for who only wants to tell since when something is so.
func (r *Registry) since() int64 {
	if r.wall == nil {
		return r.nanos()
	}
	return r.wall.nanos()
}

// A wallClock tells the time at half the price: within a second after it read
// the wall clock it reads the monotonic one alone.
type wallClock struct{ last atomic.Pointer[wallTime] }

type wallTime struct {
	time  time.Time
	nanos int64
}

func (c *wallClock) nanos() int64 {
	if last := c.last.Load(); last != nil {
		if d := time.Since(last.time); d < time.Second {
			return last.nanos + int64(d)
		}
	}
	now := time.Now()
	c.last.Store(&wallTime{now, nanos(now)})
	return nanos(now)
}

// Writes returns how many changes of leases were made durable since Open, none
// without a store.
func (r *Registry) Writes() uint64 { return r.writes.Load() }

// spaceLocked returns a space, made empty if it is new. Before a registry is
// shared, no lock is needed.
func (r *Registry) spaceLocked(name string) *leases {
	s := r.spaces[name]
	if s == nil {
		s = newLeases(name, r)
		s.recovered.Store(r.rollbacks.Load())
		r.spaces[name] = s
	}
	return s
}

func (r *Registry) space(name string) *leases {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spaceLocked(name)
}

// known returns a space of leases, nil if there is none. Of a store that others
// write to there may be any.
func (r *Registry) known(name string) (*leases, error) {
	if err := checkSpace(name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shared {
		return r.spaceLocked(name), nil
	}
	return r.spaces[name], nil
}

// list returns the spaces by name.
func (r *Registry) list() []*leases {
	r.mu.Lock()
	defer r.mu.Unlock()
	var spaces []*leases
	for _, s := range r.spaces {
		spaces = append(spaces, s)
	}
	slices.SortFunc(spaces, func(a, b *leases) int { return cmp.Compare(a.name, b.name) })
	return spaces
}

// Records yields all that is known of values, by space and value: what is
// held, and what is held back and why.
func (r *Registry) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, s := range r.list() {
			for _, rec := range s.sorted(func(a, b Record) int { return cmp.Compare(a.Value, b.Value) }) {
				if !yield(rec) {
					return
				}
			}
		}
	}
}

// Leases yields all leases that are held, by space and owner.
func (r *Registry) Leases() iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for _, s := range r.list() {
			for l := range s.Leases() {
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
	s, err := r.known(space)
	if err != nil {
		return fmt.Errorf("ipam: release: %w", err)
	}
	if s == nil {
		return nil
	}
	return s.Release(ctx, owner)
}

// Acknowledge says that a released or contested value has left the dataplane:
// see [Config.Acknowledge]. A lease that is held, and not contested, is
// [ErrInUse], one that is another's or of another generation [ErrNotOwner]; a
// value that nobody had is no error.
func (r *Registry) Acknowledge(ctx context.Context, l Lease) error {
	s, err := r.known(l.Space)
	if err != nil {
		return fmt.Errorf("ipam: acknowledge: %w", err)
	}
	if s == nil {
		return nil
	}
	return s.Acknowledge(ctx, l)
}

// open gives a space a core, and makes it if it is new.
func (r *Registry) open(space string, c core) (*leases, error) {
	if err := checkSpace(space); err != nil {
		return nil, fmt.Errorf("ipam: open: %w", err)
	}
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

// Forget drops a space that has neither leases nor values that are held back;
// one that has is [ErrInUse], with how many. What was opened of it gives
// nothing any more. A space that the registry does not have is no error.
func (r *Registry) Forget(ctx context.Context, space string) error {
	s, err := r.known(space)
	if err != nil {
		return fmt.Errorf("ipam: forget: %w", err)
	}
	if s == nil {
		return nil
	}
	if err := s.forget(ctx); err != nil && !errors.Is(err, errForgotten) {
		return fmt.Errorf("ipam: forget %q: %w", space, err)
	}
	r.drop(space, s)
	return nil
}
