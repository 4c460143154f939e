package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
)

// A core allocates values of one kind, as text.
type core interface {
	// reserve takes a specific value; release frees one. A value that the
	// core does not give is ErrOutOfRange for reserve and nothing for release.
	reserve(value string) error
	release(value string)
	// canonical returns a value as it is written here.
	canonical(value string) (string, error)
}

// leases is a space: its records and, once it is opened, the core that they
// are taken from. A value is taken in the core while its record says that it is
// not free, and while somebody is about to write it. Where others write to the
// store, it may be heard of while somebody here is about to write it, too: then it
// stays taken for its record, and who was about to write it gives way.
//
// Whoever changes a record has either its owner to himself (enter), or its
// value, by having taken it in the core when it was free.
type leases struct {
	owners [shardCount]ownerShard // first, so that each is a line of memory
	values [shardCount]valueShard

	name     string
	registry *Registry

	core atomic.Pointer[core] // changed by who has the space alone
	// highest is the highest revision that was learned from a store that others
	// write to.
	highest atomic.Uint64
	// recovered is how many of the registry's rollbacks a recovery has made good.
	recovered atomic.Uint64

	queue  queue
	doubts doubts
	turn   turn
	// alone is claimed by who wants the space to himself.
	alone chan struct{}
	// forgotten spaces are no longer the registry's, and give nothing.
	forgotten atomic.Bool
}

func newLeases(name string, r *Registry) *leases {
	s := &leases{
		name: name, registry: r, alone: make(chan struct{}, 1),
		doubts: doubts{settling: make(chan struct{}, 1)}, turn: turn{granting: make(chan struct{}, 1)},
	}
	for i := range s.values {
		s.values[i].records.byValue = true
	}
	return s
}

// errForgotten says that the registry has no such space any more.
var errForgotten = fmt.Errorf("%w: the space was forgotten; open it again", ErrInvalid)

// coreNow returns the core, nil before the space is opened and after it is forgotten.
func (s *leases) coreNow() core {
	if c := s.core.Load(); c != nil {
		return *c
	}
	return nil
}

func (s *leases) lease(e *entry) Lease { return Lease{s.name, e.owner, s.valueOf(e), e.generation} }

// Leases yields what is held in the space, by owner.
func (s *leases) Leases() iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for _, rec := range s.sorted(func(a, b Record) int { return cmp.Compare(a.Owner, b.Owner) }) {
			if rec.Held() && !yield(leaseOf(rec)) {
				return
			}
		}
	}
}

// Lease returns what the owner holds.
func (s *leases) Lease(owner string) (Lease, bool) {
	sh := s.place(owner)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	if e := sh.owners.get(sh.hash, owner); e != nil && e.held() {
		return s.lease(e), true
	}
	return Lease{}, false
}

// wait waits until a channel is closed or the context ends.
func (s *leases) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ipam: wait in %q: %w", s.name, context.Cause(ctx))
	}
}

// claim waits until a place with room for one is free, or the context ends; who
// has claimed it receives from it to leave it.
func (s *leases) claim(ctx context.Context, place chan struct{}) error {
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ipam: wait in %q: %w", s.name, context.Cause(ctx))
	}
}

// enter waits until nobody works for the owner or has the space alone, and
// until the store has told what it did before. It returns with the owner's
// shard locked, unless with an error.
func (s *leases) enter(ctx context.Context, sh ownerPlace, owner string) error {
	return s.enterFrom(ctx, sh, owner, false)
}

// enterFrom is enter; inside says that the caller has another owner busy. Who
// wants the space alone waits for that one, and so must not be waited for.
func (s *leases) enterFrom(ctx context.Context, sh ownerPlace, owner string, inside bool) error {
	for {
		lock(&sh.mu)
		wait := sh.busyLocked(owner).wait()
		if wait == nil && !inside {
			wait = sh.gate
		}
		switch {
		case wait == nil && s.forgotten.Load():
			sh.mu.Unlock()
			return errForgotten
		case wait == nil && s.doubts.count.Load() == 0:
			return nil
		}
		sh.mu.Unlock()
		var err error
		if wait != nil {
			err = s.wait(ctx, wait)
		} else {
			err = s.settle(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// busyLocked returns the owner's work, nil if it is not busy.
func (sh *ownerShard) busyLocked(owner string) *work {
	for w := sh.busy; w != nil; w = w.next {
		if w.owner == owner {
			return w
		}
	}
	return nil
}

// wait returns what is closed when the work is done, nil if there is none. The
// caller has the shard locked.
func (w *work) wait() chan struct{} {
	if w == nil {
		return nil
	}
	if w.done == nil {
		w.done = make(chan struct{})
	}
	return w.done
}

// workLocked does something with the owner busy and the lock released.
func (sh *ownerShard) workLocked(owner string, f func() error) error {
	w := &work{owner: owner, next: sh.busy}
	sh.busy = w
	sh.mu.Unlock()
	defer func() {
		lock(&sh.mu)
		at := &sh.busy
		for *at != w {
			at = &(*at).next
		}
		*at = w.next
		if w.done != nil {
			close(w.done)
		}
	}()
	return f()
}

// enterAlone waits until nobody works for any owner, with nobody new let in,
// and until the store has told what it did before; then the caller has the
// space alone, and calls leaveAlone.
func (s *leases) enterAlone(ctx context.Context) error {
	if err := s.claim(ctx, s.alone); err != nil {
		return err
	}
	gate := make(chan struct{})
	for i := range s.owners {
		lock(&s.owners[i].mu)
		s.owners[i].gate = gate
		s.owners[i].mu.Unlock()
	}
	err := s.emptied(ctx)
	if err == nil {
		err = s.settle(ctx)
	}
	if err == nil && s.forgotten.Load() {
		err = errForgotten
	}
	if err != nil {
		s.leaveAlone()
	}
	return err
}

// emptied waits until no owner is busy.
func (s *leases) emptied(ctx context.Context) error {
	for i := range s.owners {
		for sh := &s.owners[i]; ; {
			lock(&sh.mu)
			wait := sh.busy.wait()
			sh.mu.Unlock()
			if wait == nil {
				break
			}
			if err := s.wait(ctx, wait); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *leases) leaveAlone() {
	gate := s.owners[0].gate
	for i := range s.owners {
		lock(&s.owners[i].mu)
		s.owners[i].gate = nil
		s.owners[i].mu.Unlock()
	}
	close(gate)
	<-s.alone
}

// maxNamed is how many leases the error of open names.
const maxNamed = 8

// open gives the space a core, in which everything that is not free is taken.
// Leases that the core does not have are an error.
func (s *leases) open(c core) error {
	// What is about to be written is taken in the old core alone.
	if err := s.enterAlone(context.Background()); err != nil {
		return fmt.Errorf("ipam: open %q: %w", s.name, err)
	}
	defer s.leaveAlone()
	var lost []error
	var resting []*entry
	held := 0
	s.each(func(e *entry) {
		switch {
		case e.held():
			held++
			if err := c.reserve(e.value); err != nil {
				lost = append(lost, fmt.Errorf("ipam: open %q: lease of %q: %w", s.name, e.owner, err))
			}
		case e.heldBack():
			_ = c.reserve(e.value) // what the core does not have it cannot give to another
		case e.kept():
			resting = append(resting, e)
		}
	})
	slices.SortFunc(lost, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if n := len(lost); n > maxNamed {
		lost = append(lost[:maxNamed], fmt.Errorf("ipam: open %q: %d of %d leases cannot be kept", s.name, n, held))
	}
	if err := errors.Join(lost...); err != nil {
		return err
	}
	s.core.Store(&c)
	s.restAlone(resting)
	return nil
}

// forget marks a space that is empty once what is over has been deleted.
func (s *leases) forget(ctx context.Context) error {
	if err := s.expire(ctx); err != nil {
		return err
	}
	if err := s.enterAlone(ctx); err != nil {
		return err
	}
	defer s.leaveAlone()
	if s.registry.shared {
		all, err := s.loadAlone(ctx)
		if err != nil {
			return err
		}
		s.learnAlone(all)
	}
	if err := s.sweepAlone(ctx); err != nil {
		return err
	}
	held, left := 0, 0
	s.each(func(e *entry) {
		left++
		if e.held() {
			held++
		}
	})
	if left > 0 {
		return fmt.Errorf("%w: %d leases, %d values in quarantine", ErrInUse, held, left-held)
	}
	s.forgotten.Store(true)
	s.core.Store(nil)
	return nil
}
