package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// A Claim is what something alive says about a value: a port of the dataplane,
// a pod.
type Claim struct {
	Owner, Value string
	// Generation is that of the lease, 0 if it is not known.
	Generation uint64
	// Source is what says so, for reports.
	Source string
}

// stray reports whether no lease can be what a claim says.
func (c Claim) stray() bool { return checkName("owner", c.Owner) != nil || c.Generation >= maxBrought }

// A Recovery is what [Registry.Recover] found and did.
type Recovery struct {
	// RolledBack says that something alive, or seen before, is newer than the
	// store: an old copy of it was put back.
	RolledBack bool
	// Adopted are the leases that the store had not, or as they were before.
	Adopted []Record
	// Conflicts are claims that the leases contradict.
	Conflicts []Conflict
	// Strays are claims of values that the space does not give, by names that
	// no owner can have, or of a generation that no lease can have.
	Strays []Claim
}

// A Conflict is a claim and the record that stands against it, of the same value
// or of a subnet that overlaps. That is held back until [Registry.Acknowledge].
type Conflict struct {
	Claim  Claim
	Record Record
}

// String names both sides.
func (c Conflict) String() string {
	return fmt.Sprintf("%s is used by %q (%s), but is %s", c.Claim.Value, c.Claim.Owner, c.Claim.Source, c.Record.Why())
}

// Recover makes the leases of a space, which is open, the union of what the
// store has and of what is alive. A claim that nothing contradicts becomes a
// lease, with its generation; of two the newer generation counts. A value with
// two owners stays with one and is contested by the other; one whose owner has
// released it, or has another, is held back: neither is given to anybody until
// [Registry.Acknowledge]. Recover may be repeated, and must be after an error.
func (r *Registry) Recover(ctx context.Context, space string, claims []Claim) (Recovery, error) {
	s, err := r.known(space)
	var out Recovery
	switch {
	case err == nil && s == nil:
		err = errNotOpen
	case err == nil:
		out, err = s.recover(ctx, claims)
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("ipam: recover %q: %w", space, err)
	}
	return out, nil
}

var errNotOpen = fmt.Errorf("%w: the space is not open", ErrInvalid)

func (s *leases) recover(ctx context.Context, claims []Claim) (Recovery, error) {
	if err := s.enterAlone(ctx); err != nil {
		return Recovery{}, err
	}
	defer s.leaveAlone()
	core := s.coreNow()
	if core == nil {
		return Recovery{}, errNotOpen
	}
	for lost := 1; ; lost++ {
		rollbacks := s.registry.rollbacks.Load()
		has := s.registry.generation.Load()
		if s.registry.shared {
			seen := has
			all, err := s.loadAlone(ctx)
			if err != nil {
				return Recovery{}, err
			}
			if has = all.generation; has < seen {
				_ = s.registry.foundRolledBack(seen, has)
				rollbacks++
			}
			s.highest.Store(0)
			s.learnAlone(all)
		}
		s.expireAlone()
		p := newPlan(s, core, claims, has)
		p.out.RolledBack = p.out.RolledBack || rollbacks != s.recovered.Load()
		err := p.commit(ctx)
		if err == nil {
			s.recovered.Store(rollbacks)
		}
		if !errors.Is(err, errLost) || lost == maxLost {
			return p.out, err
		}
	}
}

// A plan is what a recovery is about to do.
type plan struct {
	space   *leases
	core    core
	records map[string]*Record // what will be, by value; without owner what is free
	owned   map[string]string  // the value that an owner will own
	touched map[string]bool    // values whose record is another by now
	taken   map[string]bool    // values taken in the core for records to come
	out     Recovery
}

func newPlan(s *leases, c core, claims []Claim, generation uint64) *plan {
	p := &plan{
		space: s, core: c, records: map[string]*Record{}, owned: map[string]string{},
		touched: map[string]bool{}, taken: map[string]bool{},
	}
	s.each(func(e *entry) {
		r := s.record(e)
		p.records[r.Value] = &r
		if r.Owned() {
			p.owned[r.Owner] = r.Value
		}
		if e.over {
			r.Owner = "" // nobody's, and to be replaced
		}
	})
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(b.Generation, a.Generation), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Value, b.Value))
	})
	for i, c := range claims {
		if value, err := p.core.canonical(c.Value); err == nil {
			claims[i].Value = value
		}
	}
	for _, c := range claims {
		p.out.RolledBack = p.out.RolledBack || c.Generation > generation && !c.stray()
		p.hear(c)
	}
	return p
}

// hear decides about one claim; newer ones were heard before.
func (p *plan) hear(c Claim) {
	have := p.records[c.Value]
	switch {
	case c.stray():
		p.out.Strays = append(p.out.Strays, c)
	case have == nil || have.Owner == "":
		p.hearOfFree(c)
	case have.Owner == c.Owner && have.Held():
		if c.Generation > have.Generation {
			p.adopt(c)
		}
	case c.Generation > have.Generation && p.mayOwn(c):
		p.adopt(c)
	case have.Owner == c.Owner:
		p.hold(have, func() { have.Unacknowledged, have.Generation = true, max(have.Generation, c.Generation) })
		p.conflict(c)
	default:
		p.hold(have, func() { have.contest(c.Owner) })
		p.conflict(c)
	}
}

// hearOfFree decides about a claim of a value that nobody has.
func (p *plan) hearOfFree(c Claim) {
	if !p.taken[c.Value] {
		switch err := p.core.reserve(c.Value); {
		case errors.Is(err, ErrInUse):
			p.hearOfOverlap(c)
			return
		case err != nil:
			p.out.Strays = append(p.out.Strays, c)
			return
		}
		p.taken[c.Value] = true
	}
	if p.mayOwn(c) {
		p.adopt(c)
		return
	}
	now := p.space.registry.now()
	r := p.put(Record{Owner: c.Owner, Value: c.Value, Since: now, Released: now, Unacknowledged: true, Generation: c.Generation})
	p.out.Conflicts = append(p.out.Conflicts, Conflict{Claim: c, Record: *r})
}

// hearOfOverlap decides about a claim of a subnet that overlaps others, which
// are in use.
func (p *plan) hearOfOverlap(c Claim) {
	want, err := netip.ParsePrefix(c.Value)
	for _, value := range slices.Sorted(maps.Keys(p.records)) {
		have := p.records[value]
		if got, other := netip.ParsePrefix(value); have.Owner == "" || err != nil || other != nil || !got.Overlaps(want) {
			continue
		}
		p.hold(have, func() { have.contest(c.Owner) })
		p.out.Conflicts = append(p.out.Conflicts, Conflict{Claim: c, Record: *have})
	}
}

// mayOwn reports whether the owner of a claim owns nothing else, or something
// of an earlier generation.
func (p *plan) mayOwn(c Claim) bool {
	value, owns := p.owned[c.Owner]
	return !owns || value == c.Value || c.Generation > p.records[value].Generation
}

// adopt makes a claim a lease.
func (p *plan) adopt(c Claim) {
	now := p.space.registry.now()
	if value, owns := p.owned[c.Owner]; owns && value != c.Value { // it had that before
		old := p.records[value]
		p.hold(old, func() { old.Released, old.Unacknowledged, old.Pinned = now, true, false })
	}
	next := Record{Owner: c.Owner, Value: c.Value, Since: now, Generation: c.Generation}
	if have := p.records[c.Value]; have != nil && have.Owner == c.Owner {
		next.Since, next.Pinned, next.Contested = have.Since, have.Pinned, have.Contested
	} else if have != nil && have.Owner != "" {
		next.Contested = have.Contested
		if p.owned[have.Owner] == c.Value { // if it lives, its claim is heard later and contests
			delete(p.owned, have.Owner)
		}
	}
	r := p.put(next)
	p.owned[c.Owner] = c.Value
	p.out.Adopted = append(p.out.Adopted, *r)
}

// put makes a record anew.
func (p *plan) put(r Record) *Record {
	r.Space = p.space.name
	p.records[r.Value], p.touched[r.Value] = &r, true
	return &r
}

// hold changes a record so that it is held back.
func (p *plan) hold(r *Record, change func()) {
	change()
	p.touched[r.Value] = true
}

func (p *plan) conflict(c Claim) {
	p.out.Conflicts = append(p.out.Conflicts, Conflict{Claim: c, Record: *p.records[c.Value]})
}

// contest adds another owner to those who use the value, if there is room.
func (r *Record) contest(owner string) {
	if i, found := slices.BinarySearch(r.Contested, owner); !found && len(r.Contested) < maxContested {
		r.Contested = slices.Insert(slices.Clone(r.Contested), i, owner)
	}
}

// commit puts what has changed: first what is taken from an owner, so that he
// may have another value, whose owner may have this.
func (p *plan) commit(ctx context.Context) error {
	defer func() {
		for value := range p.taken { // what was not made
			p.core.release(value)
		}
	}()
	if err := p.commitAs(ctx, p.takenFrom); err != nil {
		return err
	}
	return p.commitAs(ctx, func(_, after Record) Record { return after })
}

// takenFrom returns what a record is until another is in its place: what it was,
// unless that is taken from its owner.
func (p *plan) takenFrom(before, after Record) Record {
	if before.Value == "" || !before.Owned() || after.Owned() && after.Owner == before.Owner {
		return before
	}
	if !after.Owned() {
		return after
	}
	if before.Held() {
		before.Released = p.space.registry.now()
	}
	before.Unacknowledged, before.Pinned = true, false
	return before
}

// commitAs commits of each value that was touched what as makes of its record
// before and after, if that is another.
func (p *plan) commitAs(ctx context.Context, as func(before, after Record) Record) error {
	var changes []Change
	for _, value := range slices.Sorted(maps.Keys(p.touched)) {
		var c Change
		if before := p.space.of(value); before != nil {
			c.Before = p.space.record(before)
		}
		if c.After = as(c.Before, *p.records[value]); !sameRecord(c.Before, c.After) {
			c.After.Revision = 0
			changes = append(changes, c)
		}
	}
	for chunk := range chunks(changes, MaxChanges-1) { // and the turn
		if err := p.space.grantInTurn(ctx, chunk); err != nil {
			if errors.Is(err, errDoubt) {
				p.keep(chunk)
			}
			return err
		}
		for _, c := range chunk {
			p.space.relearn(c.After.Value, &c.After, p.taken[c.After.Value])
			delete(p.taken, c.After.Value)
		}
	}
	return nil
}

// keep leaves taken in the core what may have been made.
func (p *plan) keep(changes []Change) {
	for _, c := range changes {
		delete(p.taken, c.After.Value)
	}
}

// sameRecord reports whether two records differ in revision alone.
func sameRecord(a, b Record) bool {
	return a.Owner == b.Owner && a.Value == b.Value && a.Space == b.Space && a.Generation == b.Generation &&
		a.Since.Equal(b.Since) && a.Released.Equal(b.Released) && a.Until.Equal(b.Until) &&
		a.Unacknowledged == b.Unacknowledged && a.Pinned == b.Pinned && a.Suspect == b.Suspect &&
		slices.Equal(a.Contested, b.Contested)
}
