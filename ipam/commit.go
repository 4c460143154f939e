package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// errDoubt says that a commit may have been made although it failed.
var errDoubt = errors.New("outcome unknown")

// errLost says that another process changed what was to be changed; asking
// again tells how.
var errLost = fmt.Errorf("%w: another process was faster", ErrConflict)

// doubts are commits that failed, and that the store may have made or not.
// What they are about stays taken until the store has told.
type doubts struct {
	count    atomic.Int32
	mu       sync.Mutex // protects list
	list     [][]Change
	settling chan struct{} // claimed by who asks the store
}

func (d *doubts) add(changes []Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, changes)
	d.count.Add(1)
}

// first returns the first doubt, nil if there is none.
func (d *doubts) first() []Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == 0 {
		return nil
	}
	return d.list[0]
}

func (d *doubts) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = d.list[1:]
	d.count.Add(-1)
}

// changeOf is the change from one entry to another, nil for none.
func (s *leases) changeOf(before, after *entry) (c Change) {
	if before != nil {
		c.Before = s.record(before)
	}
	if after != nil {
		c.After = s.record(after)
		c.After.Revision = 0
	}
	return c
}

// putLocked makes a change in the store, and fills in after what the store
// gives; the lock is released while the store works. With errDoubt the change may
// have been made; with another error it was not.
func (s *leases) putLocked(ctx context.Context, sh ownerPlace, owner string, before, after *entry) error {
	if s.registry.store == nil { // without a Change, which is large
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if after != nil {
			after.revision = 0 // learn gives one
		}
		return nil
	}
	one := ones.Get().(*[1]Change)
	one[0] = s.changeOf(before, after)
	changes := one[:]
	err := sh.workLocked(owner, func() error { return s.grantInTurn(ctx, changes) })
	if err != nil {
		return err // somebody may still be asked about the change
	}
	if after != nil {
		after.revision, after.generation = one[0].After.Revision, one[0].After.Generation
	}
	ones.Put(one)
	return nil
}

// ones are changes that nobody has any more: one is large.
var ones = sync.Pool{New: func() any { return new([1]Change) }}

// commit makes changes in the store. The caller has no shard's lock.
func (s *leases) commit(ctx context.Context, changes []Change) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.registry.store == nil {
		generation := s.registry.raise(changes)
		for i := range changes {
			if !changes[i].Delete() {
				changes[i].After.stamp(generation)
			}
		}
		return nil
	}
	seen, fresh := s.registry.generation.Load(), freshIn(changes)
	err := s.registry.store.Commit(ctx, changes)
	if err == nil && fresh >= 0 && changes[fresh].After.Generation <= seen {
		err = s.registry.foundRolledBack(seen, changes[fresh].After.Generation)
	}
	switch {
	case errors.Is(err, ErrConflict):
		return fmt.Errorf("%w: %w", errLost, err)
	case errors.Is(err, ErrInvalid):
		return err
	case err != nil:
		s.doubts.add(changes)
		return fmt.Errorf("%w: %w", errDoubt, s.registry.storeError(err))
	}
	s.registry.writes.Add(uint64(len(changes)))
	s.registry.raise(changes)
	return nil
}

// raise makes the generation at least that of the changes, and one more
// without a store.
func (r *Registry) raise(changes []Change) uint64 {
	for {
		have := r.generation.Load()
		next := have
		for i := range changes {
			next = max(next, changes[i].After.Generation, changes[i].After.Revision)
		}
		if r.store == nil {
			next++
		}
		if r.generation.CompareAndSwap(have, next) {
			if r.store == nil {
				r.raised.Store(next)
			}
			return next
		}
	}
}

// settle asks the store about the commits that may have been made.
func (s *leases) settle(ctx context.Context) error {
	if err := s.claim(ctx, s.doubts.settling); err != nil {
		return err
	}
	defer func() { <-s.doubts.settling }()
	for changes := s.doubts.first(); changes != nil; changes = s.doubts.first() {
		if err := s.askAbout(ctx, changes); err != nil {
			return err
		}
		s.doubts.drop()
	}
	return nil
}

// askLost is askAbout for changes that another process was faster with. If the
// store cannot be asked, that is done before anything else.
func (s *leases) askLost(ctx context.Context, changes []Change) error {
	err := s.askAbout(ctx, changes)
	if err != nil {
		s.doubts.add(changes)
	}
	return err
}

// askAbout learns from the store what it has of the values of changes, which
// are taken in the core, and gives up those that are free.
func (s *leases) askAbout(ctx context.Context, changes []Change) error {
	values := make([]string, 0, len(changes))
	for _, c := range changes {
		if space, value := c.Key(); space == s.name {
			values = append(values, value)
		}
	}
	known, found, err := s.ask(ctx, "", values)
	if err != nil {
		return err
	}
	for i, value := range values {
		s.hear(value, known[i], found[value], true)
	}
	return nil
}

// ask returns the store's records of values, and what an owner owns, by value,
// and what was known of the values before. A record that is older than what was
// known says that the store was rolled back, which is noted.
func (s *leases) ask(ctx context.Context, owner string, values []string) (known []*entry, found map[string]*Record, err error) {
	known = s.known(values)
	before := s.highest.Load()
	records, err := s.registry.store.Find(ctx, s.name, owner, values...)
	if err != nil {
		return nil, nil, s.registry.storeError(err)
	}
	found = make(map[string]*Record, len(records))
	for i, rec := range records {
		found[rec.Value] = &records[i]
	}
	for value, rec := range found {
		have := s.of(value)
		if have != nil && rec.Revision < have.revision && have.revision <= before && s.checkRecovered() == nil {
			s.registry.rollbacks.Add(1)
		}
	}
	return known, found, nil
}

// known returns what there is here of values.
func (s *leases) known(values []string) []*entry {
	known := make([]*entry, len(values))
	for i, value := range values {
		known[i] = s.of(value)
	}
	return known
}

// findOwner asks the store what an owner has, or of the values had last, and
// learns what it says; said is that by value.
func (s *leases) findOwner(ctx context.Context, owner string, values []string) (mine *entry, said map[string]*entry, err error) {
	known, found, err := s.ask(ctx, owner, values)
	if err != nil {
		return nil, nil, err
	}
	said = map[string]*entry{}
	for i, value := range values {
		if found[value] == nil {
			s.hear(value, known[i], nil, false)
		}
	}
	for value, rec := range found {
		e := s.hear(value, nil, rec, false)
		said[value] = e
		if e.owner == owner && (mine == nil || e.owned() || !mine.owned() && e.revision > mine.revision) {
			mine = e
		}
	}
	return mine, said, nil
}

// currentLocked returns what the owner has, or had last: as it is here, or in
// a store that others write to as it is there. Of that the value is asked, too,
// and what it said of it is returned. The lock is released while the store works.
func (s *leases) currentLocked(ctx context.Context, sh ownerPlace, owner, value string) (mine, said *entry, err error) {
	mine = sh.owners.get(sh.hash, owner)
	if !s.registry.shared {
		return mine, nil, nil
	}
	var values []string
	if value != "" {
		values = append(values, value)
	}
	if mine != nil && mine.value != value {
		values = append(values, mine.value)
	}
	mine = nil
	err = sh.workLocked(owner, func() error {
		m, all, err := s.findOwner(ctx, owner, values)
		mine, said = m, all[value]
		return err
	})
	return mine, said, err
}

// hadLocked returns what the owner has, or of what it had the value, if that is
// one, and else the last.
func (s *leases) hadLocked(owner, value string, mine, said *entry) *entry {
	if value == "" || mine != nil && mine.owned() {
		return mine
	}
	s.told(value, said, func(e *entry) {
		if e.owner == owner {
			mine = e
		}
	})
	return mine
}

// A loaded space is all that a store has of it.
type loaded struct {
	records    map[string]*Record // by value
	turn       Record             // as it was before
	generation uint64
}

// loadAlone returns all that a store has that others write to.
func (s *leases) loadAlone(ctx context.Context) (all loaded, err error) {
	all.records = map[string]*Record{}
	if all.turn, err = s.turn.read(ctx, s); err == nil {
		all.generation, err = s.registry.store.Load(ctx, s.name, func(rec Record) error {
			all.records[rec.Value] = &rec
			return nil
		})
	}
	if err != nil {
		return loaded{}, s.registry.storeError(err)
	}
	return all, nil
}

// learnAlone has the space be what the store has.
func (s *leases) learnAlone(all loaded) {
	var gone []string
	s.each(func(e *entry) {
		if all.records[e.value] == nil {
			gone = append(gone, e.value)
		}
	})
	for _, value := range gone { // first, as what came may overlap it
		s.relearn(value, nil, false)
	}
	for value, rec := range all.records {
		s.relearn(value, rec, false)
	}
	s.takeAlone()
	s.turn.record = all.turn
}

// takeAlone takes in the core what records keep.
func (s *leases) takeAlone() {
	var resting []*entry
	s.each(func(e *entry) {
		if e.kept() && !e.heldBack() {
			resting = append(resting, e)
		}
	})
	for _, e := range resting {
		s.give(e.value)
	}
	s.each(func(e *entry) {
		if e.heldBack() {
			_ = s.take(e.value)
		}
	})
	s.restAlone(resting)
}

// restAlone takes in the core what only waits for time, after all else, and what
// was released last first. What has been given since, where the clock is ahead,
// may overlap it: then it is over here, too.
func (s *leases) restAlone(resting []*entry) {
	slices.SortFunc(resting, func(a, b *entry) int { return cmp.Compare(b.revision, a.revision) })
	for _, e := range resting {
		if err := s.take(e.value); errors.Is(err, ErrInUse) {
			s.end(e)
		}
	}
}

// reload waits until nothing is being written, and learns all that a store has
// that others write to. One that has less than it had is ErrRolledBack, and
// nothing is learned.
func (s *leases) reload(ctx context.Context) error {
	if err := s.enterAlone(ctx); err != nil {
		return err
	}
	defer s.leaveAlone()
	s.expireAlone()
	if !s.registry.shared {
		return nil
	}
	seen := s.registry.generation.Load()
	all, err := s.loadAlone(ctx)
	if err != nil {
		return err
	}
	if all.generation < seen {
		return s.registry.foundRolledBack(seen, all.generation)
	}
	s.learnAlone(all)
	return nil
}
