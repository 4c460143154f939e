package ovs

import (
	"fmt"
	"iter"
	"slices"
)

// A kind says how a ledger tells its things apart: flows, or groups.
type kind[T any] struct {
	hash  func(*T) uint64    // of the key; equal keys have equal hashes
	same  func(a, b *T) bool // the same key
	equal func(a, b *T) bool // the same effect, given the same key
	text  func(*T) string
	// groups calls fn with each group that the thing hands packets to.
	groups func(v *T, fn func(id uint32))
}

// A slot is one key: what the switch has of it and what its owner wants. The
// things are pointed at and never written.
type slot[T any] struct {
	next  *slot[T] // another key with the same hash
	key   *T       // any thing with the key
	have  *T       // what the switch last acknowledged; nil is nothing
	want  *T       // nil is nothing
	owner *part    // who wants it; the first, if several do
	mark  uint32   // the last generation that saw it
	dirty bool     // is in ledger.dirty
}

// A claim is that a further owner wants a thing which another wants already.
type claim[T any] struct {
	owner *part
	want  *T
}

// A ledger holds, for all things of a kind, what owners want and what the
// switch has, and which of them may differ: a sync looks at nothing else. It
// is indexed by a hash of the key, so that no key is stored beside its thing.
type ledger[T any] struct {
	kind[T]
	slots map[uint64]*slot[T]
	dirty []*slot[T]
	mark  uint32 // the last generation
	// users counts the wanted things that refer to a group.
	users map[uint32]int
	// shared are the claims beyond the first; disputed are the slots with
	// two that have not the same effect.
	shared   map[*slot[T]][]claim[T]
	disputed map[*slot[T]]bool
}

func newLedger[T any](k kind[T]) *ledger[T] {
	return &ledger[T]{
		kind: k, slots: map[uint64]*slot[T]{}, users: map[uint32]int{},
		shared: map[*slot[T]][]claim[T]{}, disputed: map[*slot[T]]bool{},
	}
}

// find returns the slot with the thing's key, or nil.
func (l *ledger[T]) find(v *T) *slot[T] { return l.findHashed(l.hash(v), v) }

func (l *ledger[T]) findHashed(hash uint64, v *T) *slot[T] {
	s := l.slots[hash]
	for s != nil && !l.same(s.key, v) {
		s = s.next
	}
	return s
}

// slot returns the slot with the thing's key, which it makes if need be.
func (l *ledger[T]) slot(v *T) *slot[T] {
	hash := l.hash(v)
	s := l.findHashed(hash, v)
	if s == nil {
		s = &slot[T]{key: v, next: l.slots[hash]}
		l.slots[hash] = s
	}
	return s
}

// all calls fn for every slot; fn may drop the slot that it is given.
func (l *ledger[T]) all(fn func(*slot[T])) {
	for _, s := range l.slots {
		for s != nil {
			next := s.next
			fn(s)
			s = next
		}
	}
}

// begin begins a generation, which no slot has seen, and returns it.
func (l *ledger[T]) begin() uint32 {
	if l.mark++; l.mark == 0 { // once in four billion
		l.all(func(s *slot[T]) { s.mark = 0 })
		l.mark = 1
	}
	return l.mark
}

// settle follows a change of want or have: it notes what a sync has to do, and
// forgets a slot that is about nothing.
func (l *ledger[T]) settle(s *slot[T]) {
	switch {
	case s.want == nil && s.have == nil:
		l.drop(s)
		return
	case s.want != nil && s.have != nil && l.equal(s.want, s.have):
		s.have = s.want // and nothing holds on to the other
	case !s.dirty:
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
	if s.key = s.want; s.want == nil {
		s.key = s.have
	}
}

// drop removes a slot; one that is gone stays so.
func (l *ledger[T]) drop(gone *slot[T]) {
	hash := l.hash(gone.key)
	first := l.slots[hash]
	for at := &first; *at != nil; at = &(*at).next {
		if *at == gone {
			*at = gone.next
			break
		}
	}
	if first == nil {
		delete(l.slots, hash)
	} else {
		l.slots[hash] = first
	}
}

// claim makes p want v in the slot of its key.
func (l *ledger[T]) claim(s *slot[T], p *part, v *T) {
	if s.owner == p && l.equal(s.want, v) { // all that is known of it stays true
		if s.have == s.want {
			s.have = v
		}
		s.want, s.key = v, v
		return
	}
	if s.owner == nil || s.owner == p {
		l.setWant(s, p, v)
	} else {
		others := l.shared[s]
		i := slices.IndexFunc(others, func(c claim[T]) bool { return c.owner == p })
		if i < 0 {
			others = append(others, claim[T]{owner: p})
			i = len(others) - 1
		}
		others[i].want = v
		l.shared[s] = others
	}
	l.judge(s)
	l.settle(s)
}

// release makes p want nothing in the slot. The next of further owners, if
// there are, is then the first.
func (l *ledger[T]) release(s *slot[T], p *part) {
	others := slices.DeleteFunc(l.shared[s], func(c claim[T]) bool { return c.owner == p })
	if s.owner == p {
		var next claim[T]
		if len(others) > 0 {
			next, others = others[0], others[1:]
		}
		l.setWant(s, next.owner, next.want)
	}
	if len(others) > 0 {
		l.shared[s] = others
	} else {
		delete(l.shared, s)
	}
	l.judge(s)
	l.settle(s)
}

func (l *ledger[T]) setWant(s *slot[T], p *part, v *T) {
	if s.want != nil {
		l.groups(s.want, func(id uint32) {
			if l.users[id]--; l.users[id] == 0 {
				delete(l.users, id)
			}
		})
	}
	if s.owner, s.want = p, v; v != nil {
		l.groups(v, func(id uint32) { l.users[id]++ })
	}
}

// judge notes whether the owners of a slot are at odds.
func (l *ledger[T]) judge(s *slot[T]) {
	if len(l.shared) == 0 && len(l.disputed) == 0 {
		return
	}
	for _, c := range l.shared[s] {
		if !l.equal(s.want, c.want) {
			l.disputed[s] = true
			return
		}
	}
	delete(l.disputed, s)
}

// replace makes p, which wants what is in old, want list. The slots of list
// are those that admit returned.
func (l *ledger[T]) replace(p *part, old, slots []*slot[T], list []T) {
	for _, s := range old {
		if s.mark != l.mark {
			l.release(s, p)
		}
	}
	for i, s := range slots {
		l.claim(s, p, &list[i])
	}
}

// admit finds the slots of a list in which every key is once, and marks them
// with a new generation. For each thing that nobody wants in this form yet, it
// asks check. With an error nothing is changed.
func (l *ledger[T]) admit(list []T, check func(*T) error, twice func(a, b *T) error) ([]*slot[T], error) {
	slots := make([]*slot[T], len(list))
	l.begin()
	var err error
	for i := range list {
		v := &list[i]
		s := l.slot(v)
		if s.mark == l.mark {
			err = twice(v, &list[slices.Index(slots, s)])
			break
		}
		slots[i], s.mark = s, l.mark
		if s.want == nil || !l.equal(s.want, v) {
			if err = check(v); err != nil {
				break
			}
		}
	}
	if err == nil {
		return slots, nil
	}
	l.dismiss(slots)
	return nil, err
}

// claims reports whether p wants something in a slot.
func (l *ledger[T]) claims(s *slot[T], p *part) bool {
	return s.owner == p || slices.ContainsFunc(l.shared[s], func(c claim[T]) bool { return c.owner == p })
}

// leaving finds the slots of things that p wants, and that are not in the
// list of the last admit.
func (l *ledger[T]) leaving(list []T, p *part) ([]*slot[T], error) {
	slots := make([]*slot[T], len(list))
	for i := range list {
		s := l.find(&list[i])
		if s == nil || s.mark == l.mark || !l.claims(s, p) {
			return nil, fmt.Errorf("%s: %w: gone, but not wanted, or given twice", l.text(&list[i]), ErrInvalid)
		}
		slots[i], s.mark = s, l.mark
	}
	return slots, nil
}

// dismiss forgets what admit made.
func (l *ledger[T]) dismiss(slots []*slot[T]) {
	for _, s := range slots {
		if s != nil && s.want == nil && s.have == nil {
			l.drop(s)
		}
	}
}

// forget makes it unknown what the switch has; load must follow before changes.
func (l *ledger[T]) forget() {
	l.dirty = nil
	l.all(func(s *slot[T]) {
		s.have, s.dirty = nil, false
		if s.want == nil {
			l.drop(s)
		}
	})
}

// load takes what the switch has. Where that is not what it last acknowledged,
// and not what is wanted either, it is something to repair. wanted are the
// slots with an owner in the order that missing things are to be sent in.
func (l *ledger[T]) load(list []T, wanted iter.Seq[*slot[T]]) []Repair {
	var out []Repair
	l.begin()
	found := func(s *slot[T], v *T) {
		s.mark = l.mark
		if !l.alike(s.have, v) && !l.alike(s.want, v) {
			out = append(out, l.repair(s, v))
		}
		s.have = v
		l.settle(s)
	}
	for i := range list {
		found(l.slot(&list[i]), &list[i])
	}
	for s := range wanted {
		if s.mark != l.mark {
			found(s, nil)
		}
	}
	for _, s := range slices.Clone(l.dirty) { // those to be deleted
		if s.mark != l.mark {
			found(s, nil)
		}
	}
	return out
}

func (l *ledger[T]) repair(s *slot[T], found *T) Repair {
	var r Repair
	if s.owner != nil {
		r.Owner, r.Want = s.owner.owner, l.text(s.want)
	}
	if found != nil {
		r.Found = l.text(found)
	}
	return r
}

// alike reports whether two things with one key, or none, have the same effect.
func (l *ledger[T]) alike(a, b *T) bool {
	return a == b || a != nil && b != nil && l.equal(a, b)
}

// changes returns the slots whose want is not what the switch has, and starts
// a new list of them.
func (l *ledger[T]) changes() []*slot[T] {
	out := l.dirty[:0]
	for _, s := range l.dirty {
		s.dirty = false
		if !l.alike(s.want, s.have) {
			out = append(out, s)
		}
	}
	l.dirty = nil
	return out
}

// sent notes that the switch has v now, or nothing with v's key.
func (l *ledger[T]) sent(v *T, deleted bool) {
	s := l.slot(v)
	if s.have = v; deleted {
		s.have = nil
	}
	l.settle(s)
}
