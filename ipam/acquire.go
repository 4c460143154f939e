package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A wish is what an owner asks for.
type wish struct {
	// accept takes a value that the owner has already, or tells what is wrong with it.
	accept func(value string) error
	// guess appends what pick will take, probably, or nothing; it may be nil.
	guess func(c core, to []byte) []byte
	// pick takes a value from the core, and appends it, or returns what was
	// guessed if that is it.
	pick func(c core, to []byte) ([]byte, error)
}

// maxLost is how often a call tries again because another process was faster;
// reloadAfter is after how many of these it looks what else has changed.
const (
	maxLost     = 64
	reloadAfter = 8
)

// acquire leases the owner a value: what it has, or had last and can have
// again, if accept takes it, and else what is picked. The last that was
// accepted or picked is it. The value is set if no other will do.
func (s *leases) acquire(ctx context.Context, owner, value string, want wish) error {
	sh := s.place(owner)
	sh.owners.ahead(sh.hash) // it comes while all is done until currentLocked
	if err := checkName("owner", owner); err != nil {
		return fmt.Errorf("ipam: acquire in %q: %w", s.name, err)
	}
	err := s.retry(ctx, func() error { return s.acquireOnce(ctx, sh, owner, value, want) })
	if err != nil {
		return fmt.Errorf("ipam: acquire in %q for %q: %w", s.name, owner, err)
	}
	return nil
}

// errInFlight says that a value is on its way to somebody, or back.
var errInFlight = fmt.Errorf("%w: its lease is being written", ErrInUse)

// retry calls f again while another process is faster, and once when there may
// be more to give than is known.
func (s *leases) retry(ctx context.Context, f func() error) error {
	asked := false
	for lost := 1; ; lost++ {
		err := f()
		if err == nil {
			return nil
		}
		reload := false
		switch {
		case errors.Is(err, errLost) && lost < maxLost:
			reload = lost%reloadAfter == 0 || s.overlaps()
		case errors.Is(err, errInFlight) && lost < maxLost:
			err = s.enterAlone(ctx) // when everybody is out, it is known
			if err != nil {
				return err
			}
			s.leaveAlone()
		case !asked && s.hearsay(err):
			reload, asked = true, true
		default:
			return err
		}
		if reload {
			if err := s.reload(ctx); err != nil {
				return err
			}
		}
	}
}

// hearsay reports whether an error is of what is known here, while others may be
// about to give something back, or time has freed it.
func (s *leases) hearsay(err error) bool {
	if errors.Is(err, ErrExhausted) {
		return true
	}
	_, overlap := errors.AsType[*overlapError](err)
	held, ok := errors.AsType[*HeldError](err)
	return overlap || ok && held.Record.Free(s.registry.now())
}

func (s *leases) acquireOnce(ctx context.Context, sh ownerPlace, owner, value string, want wish) error {
	if err := s.expire(ctx); err != nil {
		return err
	}
	if err := s.enter(ctx, sh, owner); err != nil {
		return err
	}
	prior, err := s.acquireLocked(ctx, sh, owner, value, want)
	sh.mu.Unlock()
	if prior != nil && prior.owner != owner {
		s.unindex(prior)
	}
	return err
}

// acquireLocked returns the entry that a new one replaces.
func (s *leases) acquireLocked(ctx context.Context, sh ownerPlace, owner, value string, want wish) (prior *entry, err error) {
	next := released.Get().(*entry) // while what is needed next is read ahead
	*next = entry{owner: owner, since: s.registry.since(), ownerHash: sh.hash}
	if c := s.coreNow(); c != nil && want.guess != nil {
		s.setValueAhead(next, want.guess(c, next.text[:0]))
	}
	mine, said, err := s.currentLocked(ctx, sh, owner, value)
	if err == nil {
		err = s.checkRecovered()
	}
	if err != nil {
		return nil, err
	}
	mine = s.hadLocked(owner, value, mine, said)
	if mine != nil && mine.held() {
		released.Put(next)
		if err := want.accept(mine.value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConflict, err)
		}
		if mine.suspect {
			return nil, s.clearLocked(ctx, sh, mine)
		}
		return nil, nil
	}
	if s.registry.shared && s.overlaps() {
		if err := sh.workLocked(owner, func() error { return s.claim(ctx, s.turn.granting) }); err != nil {
			return nil, err
		}
		defer func() { <-s.turn.granting }()
	}
	return s.grantLocked(ctx, sh, mine, said, next, value, want)
}

// grantLocked makes next, which has an owner, the entry of a value that it
// chooses. It is acquireLocked for who holds nothing; mine is what the owner
// had last, or nil, and said what the store said of the value.
func (s *leases) grantLocked(ctx context.Context, sh ownerPlace, mine, said, next *entry, value string, want wish) (prior *entry, err error) {
	owner := next.owner
	text, before, err := s.chooseLocked(sh, mine, said, value, want)
	if err != nil {
		return nil, err
	}
	if string(text) != next.value {
		s.setValueAhead(next, text)
	}
	value = next.value
	next.pinned = before != nil && before.owner == owner && before.pinned
	err = s.putLocked(ctx, sh, owner, before, next)
	switch {
	case err == nil:
		prior = s.learn(value, next, true)
		if mine == nil && s.registry.store == nil {
			sh.owners.add(next)
		} else {
			sh.indexLocked(next) // something may have been heard of meanwhile
		}
		return prior, s.checkRecovered()
	case errors.Is(err, errDoubt):
	case errors.Is(err, errLost):
		change := []Change{{Before: Record{Space: s.name, Value: value}}}
		if ask := sh.workLocked(owner, func() error { return s.askLost(ctx, change) }); ask != nil {
			err = ask
		}
	default:
		s.giveUp(value)
	}
	return nil, err
}

// clearLocked tells a collection that the owner is there.
func (s *leases) clearLocked(ctx context.Context, sh ownerPlace, mine *entry) error {
	next := *mine
	next.setValue([]byte(mine.value))
	next.suspect = false
	return s.replaceLocked(ctx, sh, mine, &next)
}

// chooseLocked takes a value in the core, the one that the owner had if it
// will do; said is what the store said of the value asked for. It returns the
// value, whose text is the shard's, or that of what was guessed, and the entry
// that there is of it, of another owner only if there is a store.
func (s *leases) chooseLocked(sh ownerPlace, mine, said *entry, asked string, want wish) (value []byte, before *entry, err error) {
	if mine != nil {
		err := s.comeBackLocked(mine, want)
		if err == nil {
			return []byte(mine.value), mine, nil
		}
		if mine.pinned {
			return nil, nil, fmt.Errorf("%w: %s is pinned to it: %w", ErrConflict, mine.value, err)
		}
	}
	c := s.coreNow()
	if c == nil {
		return nil, nil, errForgotten
	}
	if value, err = want.pick(c, sh.text[:0]); err == nil {
		kept := false
		if s.registry.store != nil { // which must be told
			s.look(string(value), func(e *entry) { before, kept = e, e.kept() })
		}
		if kept {
			return nil, nil, errInFlight // it was heard of since it was picked, and stays taken for that
		}
		return value, before, nil
	}
	if errors.Is(err, ErrInUse) {
		err = s.inUse(asked, said)
	}
	return nil, nil, err
}

// inUse says who has a value that the core did not give, or what overlaps it:
// perhaps somebody whose lease is being written.
func (s *leases) inUse(asked string, said *entry) error {
	err := errInFlight
	s.told(asked, said, func(holder *entry) {
		if holder.kept() {
			err = &HeldError{s.record(holder)}
		}
	})
	want, notSubnet := netip.ParsePrefix(asked)
	if err != errInFlight || notSubnet != nil {
		return err
	}
	var first netip.Prefix
	s.each(func(e *entry) {
		p, invalid := netip.ParsePrefix(e.value)
		if invalid == nil && e.kept() && p.Overlaps(want) && (!first.IsValid() || p.Compare(first) < 0) {
			first, err = p, &overlapError{asked, HeldError{s.record(e)}}
		}
	})
	return err
}

// An overlapError says who has a value that overlaps the one asked for, as it
// is known here.
type overlapError struct {
	asked string
	held  HeldError
}

func (e *overlapError) Error() string { return e.asked + " overlaps " + e.held.Error() }
func (e *overlapError) Unwrap() error { return &e.held }

// comeBackLocked takes the value that an owner had, and says why not.
func (s *leases) comeBackLocked(mine *entry, want wish) error {
	if err := want.accept(mine.value); err != nil {
		return err
	}
	if len(mine.ending().contested) > 0 {
		return &HeldError{s.record(mine)}
	}
	err := s.take(mine.value)
	if errors.Is(err, ErrInUse) && !mine.over {
		return nil // still kept from others, by its record
	}
	return err
}

// An outcome is what becomes of a record.
type outcome int

const (
	unchanged outcome = iota
	changed
	deleted
)

// change edits the record of what the owner has, or of a value that it has or
// had; the record is zero if there is none.
func (s *leases) change(ctx context.Context, verb, owner, value string, edit func(Record) (Record, outcome, error)) error {
	sh := s.place(owner)
	err := s.retry(ctx, func() error {
		if err := s.enter(ctx, sh, owner); err != nil {
			return err
		}
		defer sh.mu.Unlock()
		before, said, err := s.currentLocked(ctx, sh, owner, value)
		if err != nil {
			return err
		}
		var rec Record // stays zero if what there is is free, and no more the owner's to change
		if value != "" {
			before = nil
			s.told(value, said, func(e *entry) {
				if before = e; !e.over {
					rec = s.record(e)
				}
			})
		} else if before != nil && !before.over {
			rec = s.recordLocked(before)
		}
		rec, what, err := edit(rec)
		if err != nil || what == unchanged {
			return err
		}
		var after *entry
		if what == changed {
			after = s.entry(rec)
		}
		return s.replaceLocked(ctx, sh, before, after)
	})
	if err != nil {
		return fmt.Errorf("ipam: %s in %q of %q: %w", verb, s.name, owner, err)
	}
	return nil
}

// replaceLocked replaces an entry by another of its owner and value, or by none.
func (s *leases) replaceLocked(ctx context.Context, sh ownerPlace, before, after *entry) error {
	if err := s.putLocked(ctx, sh, before.owner, before, after); err != nil {
		return err
	}
	s.learn(before.value, after, false)
	sh.owners.drop(before)
	if after != nil {
		sh.indexLocked(after)
	} else {
		s.reuse(before)
	}
	return nil
}

// Release gives back what the owner holds; it may hold nothing. The value is
// held back for others as [Config] and its pin say.
func (s *leases) Release(ctx context.Context, owner string) error {
	err := s.change(ctx, "release", owner, "", func(r Record) (Record, outcome, error) {
		r, what := s.release(r)
		return r, what, nil
	})
	if errors.Is(err, errForgotten) {
		return nil // only a space without leases is forgotten
	}
	return err
}

// ReleaseLease is Release for who must not give back a lease that was given
// since: a lease of another generation, or by now another's, is [ErrNotOwner].
// One that was released already is no error.
func (s *leases) ReleaseLease(ctx context.Context, l Lease) error {
	return s.change(ctx, "release", l.Owner, l.Value, func(r Record) (Record, outcome, error) {
		if err := mustBe(r, l); err != nil {
			return r, unchanged, err
		}
		r, what := s.release(r)
		return r, what, nil
	})
}

// mustBe checks that a record is of a lease, or that there is none.
func mustBe(r Record, l Lease) error {
	if r.Value != "" && (r.Owner != l.Owner || r.Generation != l.Generation) {
		return fmt.Errorf("%w of generation %d: %s, generation %d", ErrNotOwner, l.Generation, r.Why(), r.Generation)
	}
	return nil
}

// release makes of a held record what it becomes when it is released.
func (s *leases) release(r Record) (Record, outcome) {
	if r.Value == "" || !r.Held() {
		return r, unchanged
	}
	cfg := &s.registry.cfg
	if r.Suspect = false; cfg.Quarantine <= 0 && !cfg.Acknowledge && !r.Pinned && len(r.Contested) == 0 {
		return r, deleted // whatever the time
	}
	r.Released = s.registry.now()
	r.Until = r.Released.Add(cfg.Quarantine)
	r.Unacknowledged = r.Unacknowledged || cfg.Acknowledge
	return r, keep(r, r.Released)
}

// keep tells whether a record that was changed is worth keeping.
func keep(r Record, now time.Time) outcome {
	if r.Free(now) {
		return deleted
	}
	return changed
}

// Acknowledge is [Registry.Acknowledge] for a lease of the space.
func (s *leases) Acknowledge(ctx context.Context, l Lease) error {
	return s.change(ctx, "acknowledge", l.Owner, l.Value, func(r Record) (Record, outcome, error) {
		if err := mustBe(r, l); err != nil || r.Value == "" {
			return r, unchanged, err
		}
		if !r.Unacknowledged && len(r.Contested) == 0 {
			if r.Held() {
				return r, unchanged, fmt.Errorf("%w: it is %s", ErrInUse, r.Why())
			}
			return r, unchanged, nil
		}
		r.Unacknowledged, r.Contested = false, nil
		return r, keep(r, s.registry.now()), nil
	})
}

// Pin keeps the value that the owner holds for it: when it is released, it is
// not given to another owner until it is unpinned, and this owner gets it
// again. An owner that holds nothing is [ErrNotFound].
func (s *leases) Pin(ctx context.Context, owner string) error {
	return s.change(ctx, "pin", owner, "", func(r Record) (Record, outcome, error) {
		switch {
		case r.Value == "" || !r.Owned():
			return r, unchanged, ErrNotFound
		case r.Pinned:
			return r, unchanged, nil
		}
		r.Pinned = true
		return r, changed, nil
	})
}

// Unpin undoes Pin. The value of an owner that has released it becomes free
// when its quarantine is over. An owner without is no error.
func (s *leases) Unpin(ctx context.Context, owner string) error {
	return s.change(ctx, "unpin", owner, "", func(r Record) (Record, outcome, error) {
		if !r.Pinned {
			return r, unchanged, nil
		}
		r.Pinned = false
		return r, keep(r, s.registry.now()), nil
	})
}

// Transfer gives a lease to another owner, who holds nothing in the space. The
// lease gets a new generation, which Transfer returns; the old one is not the
// owner's any more. A lease that was transferred to the same owner before is
// no error; one that is another's or of another generation is [ErrNotOwner].
func (s *leases) Transfer(ctx context.Context, l Lease, to string) (Lease, error) {
	var out Lease
	err := s.retry(ctx, func() (err error) {
		out, err = s.transferOnce(ctx, l, to)
		return err
	})
	if err != nil {
		return Lease{}, fmt.Errorf("ipam: transfer %s in %q from %q to %q: %w", l.Value, s.name, l.Owner, to, err)
	}
	return out, nil
}

func (s *leases) transferOnce(ctx context.Context, l Lease, to string) (out Lease, err error) {
	if err := checkName("owner", to); err != nil {
		return Lease{}, err
	}
	if to == l.Owner {
		return Lease{}, fmt.Errorf("owner %q: %w: it is the owner", to, ErrInvalid)
	}
	first, second := min(l.Owner, to), max(l.Owner, to)
	err = s.with(ctx, first, false, func() error {
		return s.with(ctx, second, true, func() error {
			out, err = s.transfer(ctx, l, to)
			return err
		})
	})
	return out, err
}

// with does something with an owner busy; inside says that the caller has
// another owner busy.
func (s *leases) with(ctx context.Context, owner string, inside bool, work func() error) error {
	sh := s.place(owner)
	if err := s.enterFrom(ctx, sh, owner, inside); err != nil {
		return err
	}
	defer sh.mu.Unlock()
	return sh.workLocked(owner, work)
}

// transfer is done with both owners busy.
func (s *leases) transfer(ctx context.Context, l Lease, to string) (Lease, error) {
	has, said, err := s.ownedBy(ctx, to, l.Value)
	if err != nil {
		return Lease{}, err
	}
	var before Record
	s.told(l.Value, said, func(e *entry) { before = s.record(e) })
	switch {
	case has != nil && has.value == l.Value && has.generation > l.Generation:
		return s.lease(has), nil
	case has != nil:
		return Lease{}, fmt.Errorf("%w: %q has %s", ErrConflict, to, has.value)
	case before.Value == "" || !before.Held():
		return Lease{}, fmt.Errorf("%w: nobody holds it", ErrNotFound)
	}
	if err := mustBe(before, l); err != nil {
		return Lease{}, err
	}
	if err := s.checkRecovered(); err != nil {
		return Lease{}, err
	}
	changes := []Change{{Before: before, After: before}}
	changes[0].After.Owner, changes[0].After.Generation, changes[0].After.Revision = to, 0, 0
	changes[0].After.Since = s.registry.now()
	if err := s.commit(ctx, changes); err != nil {
		return Lease{}, err
	}
	after := s.entry(changes[0].After)
	s.reindex(s.learn(l.Value, after, false), after)
	return s.lease(after), s.checkRecovered()
}

// ownedBy returns what a busy owner owns, and what a store that others write to
// says of a value.
func (s *leases) ownedBy(ctx context.Context, owner, value string) (has, said *entry, err error) {
	if s.registry.shared {
		var all map[string]*entry
		has, all, err = s.findOwner(ctx, owner, []string{value})
		said = all[value]
	} else {
		sh := s.place(owner)
		lock(&sh.mu)
		has = sh.owners.get(sh.hash, owner)
		sh.mu.Unlock()
	}
	if has != nil && !has.owned() {
		has = nil
	}
	return has, said, err
}
