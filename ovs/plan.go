package ovs

import (
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

// A Share is what one program has of a bridge: flows by cookie, groups by id.
type Share struct {
	// Cookie and Mask say which cookies are its own.
	Cookie, Mask uint64
	// GroupMin to GroupMax, both inclusive, are its group ids. Where GroupMax
	// is less it has none.
	GroupMin, GroupMax uint32
}

func (s Share) hasFlow(f *Flow) bool    { return f.Cookie&s.Mask == s.Cookie&s.Mask }
func (s Share) hasGroup(id uint32) bool { return s.GroupMin <= id && id <= s.GroupMax }

// A part is what one owner wants: the slots in which it has a claim.
type part struct {
	owner  string
	flows  []*slot[Flow]
	groups []*slot[Group]
	loose  int // how many of flows are there no more, or once too often
}

// A plan is all that owners want and the switch has.
type plan struct {
	share  Share
	parts  map[string]*part
	flows  *ledger[Flow]
	groups *ledger[Group]
}

func newPlan(share Share) *plan {
	return &plan{
		share: share, parts: map[string]*part{},
		flows:  newLedger(flowKind(maphash.MakeSeed())),
		groups: newLedger(groupKind),
	}
}

func flowKind(seed maphash.Seed) kind[Flow] {
	return kind[Flow]{
		hash:   func(f *Flow) uint64 { return hashFlow(seed, f) },
		same:   func(a, b *Flow) bool { return a.Table == b.Table && a.Priority == b.Priority && a.Match.Equal(b.Match) },
		equal:  func(a, b *Flow) bool { return a == b || sameEffect(*a, *b) },
		text:   func(f *Flow) string { return "flow " + f.String() },
		groups: func(f *Flow, fn func(uint32)) { groupsOf(f.Actions, fn) },
	}
}

var groupKind = kind[Group]{
	hash:  func(g *Group) uint64 { return uint64(g.ID) },
	same:  func(a, b *Group) bool { return a.ID == b.ID },
	equal: func(a, b *Group) bool { return a == b || sameGroup(*a, *b) },
	text:  func(g *Group) string { return "group " + g.String() },
	groups: func(g *Group, fn func(uint32)) {
		for i := range g.Buckets {
			groupsOf(g.Buckets[i].Actions, fn)
		}
	},
}

func groupsOf(list []Action, fn func(uint32)) {
	for _, a := range list {
		switch a := a.(type) {
		case GroupAction:
			fn(a.ID)
		case CloneAction:
			groupsOf(a.Actions, fn)
		case WriteActionsAction:
			groupsOf(a.Actions, fn)
		}
	}
}

func hashFlow(seed maphash.Seed, f *Flow) uint64 {
	type key struct {
		table    uint8
		priority uint16
		match    Match
	}
	return maphash.Comparable(seed, key{f.Table, f.Priority, f.Match})
}

// set replaces what an owner wants, or with an error leaves it.
func (p *plan) set(owner string, flows []Flow, groups []Group) error {
	fail := func(err error) error { return fmt.Errorf("ovs: owner %q: %w", owner, err) }
	p.tidy(p.parts[owner])
	flowSlots, err := p.flows.admit(flows, p.checkFlow, flowTwice)
	if err != nil {
		return fail(err)
	}
	groupSlots, err := p.groups.admit(groups, p.checkGroup, groupTwice)
	if err != nil {
		p.flows.dismiss(flowSlots)
		return fail(err)
	}
	o := p.parts[owner]
	if o == nil {
		o = &part{owner: owner}
		p.parts[owner] = o
	}
	p.flows.replace(o, o.flows, flowSlots, flows)
	p.groups.replace(o, o.groups, groupSlots, groups)
	o.flows, o.groups = flowSlots, groupSlots
	if len(flows)+len(groups) == 0 {
		delete(p.parts, owner)
	}
	return nil
}

// update changes some of what an owner wants, or with an error nothing.
func (p *plan) update(owner string, put, gone []Flow) error {
	slots, err := p.flows.admit(put, p.checkFlow, flowTwice)
	if err != nil {
		return fmt.Errorf("ovs: owner %q: %w", owner, err)
	}
	o := p.parts[owner]
	if o == nil {
		o = &part{owner: owner}
	}
	left, err := p.flows.leaving(gone, o)
	if err != nil {
		p.flows.dismiss(slots)
		return fmt.Errorf("ovs: owner %q: %w", owner, err)
	}
	for _, s := range left {
		p.flows.release(s, o)
	}
	o.loose += len(left)
	for i, s := range slots {
		if !p.flows.claims(s, o) {
			o.flows = append(o.flows, s)
		}
		p.flows.claim(s, o, &put[i])
	}
	if o.loose > len(o.flows)/2 {
		p.tidy(o)
	}
	p.parts[owner] = o
	if len(o.flows)+len(o.groups) == 0 {
		delete(p.parts, owner)
	}
	return nil
}

// tidy forgets the slots of flows that updates have left behind. It begins a
// generation.
func (p *plan) tidy(o *part) {
	if o == nil || o.loose == 0 {
		return
	}
	o.loose = 0
	mark := p.flows.begin()
	o.flows = slices.DeleteFunc(o.flows, func(s *slot[Flow]) bool {
		if s.mark == mark || !p.flows.claims(s, o) {
			return true
		}
		s.mark = mark
		return false
	})
}

func (p *plan) checkFlow(f *Flow) error {
	if !p.share.hasFlow(f) {
		return fmt.Errorf("flow %s: %w: cookie is not the share's %#x/%#x", f, ErrInvalid, p.share.Cookie, p.share.Mask)
	}
	return f.Validate()
}

func flowTwice(a, b *Flow) error {
	return fmt.Errorf("flow %s: %w: same table, priority and match as %s", a, ErrInvalid, b)
}

func (p *plan) checkGroup(g *Group) error {
	if !p.share.hasGroup(g.ID) {
		return fmt.Errorf("group %d: %w: id is not among the share's %d to %d", g.ID, ErrInvalid, p.share.GroupMin, p.share.GroupMax)
	}
	return g.Validate()
}

func groupTwice(a, _ *Group) error { return fmt.Errorf("group %d: %w: given twice", a.ID, ErrInvalid) }

// owners returns the owners in order.
func (p *plan) owners() []string { return slices.Sorted(maps.Keys(p.parts)) }

// load takes what the switch has of the share, and returns what of it is
// neither as it was last known to be nor as it should be.
func (p *plan) load(flows []Flow, groups []Group) []Repair {
	for _, o := range p.parts {
		p.tidy(o)
	}
	return append(p.groups.load(groups, slotsOf(p, func(o *part) []*slot[Group] { return o.groups })),
		p.flows.load(flows, slotsOf(p, func(o *part) []*slot[Flow] { return o.flows }))...)
}

// slotsOf are the slots in which owners have claims, in order of the owners.
func slotsOf[T any](p *plan, of func(*part) []*slot[T]) iter.Seq[*slot[T]] {
	return func(yield func(*slot[T]) bool) {
		for _, owner := range p.owners() {
			for _, s := range of(p.parts[owner]) {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// forget makes it unknown what the switch has, until load.
func (p *plan) forget() {
	p.flows.forget()
	p.groups.forget()
}

// changes returns what turns what the switch has into what is wanted, and
// counts it.
func (p *plan) changes(r *Report) Changes {
	var c Changes
	for _, s := range p.groups.changes() {
		switch {
		case s.want == nil:
			c.GroupDelete = append(c.GroupDelete, s.have.ID)
		case s.have == nil:
			c.GroupAdd = append(c.GroupAdd, *s.want)
		default:
			c.GroupModify = append(c.GroupModify, *s.want)
		}
	}
	flows := p.flows.changes()
	c.FlowAdd = make([]Flow, 0, len(flows))
	for _, s := range flows {
		if s.want == nil {
			c.FlowDelete = append(c.FlowDelete, *s.have)
			continue
		}
		if s.have != nil {
			r.Modified++
		}
		c.FlowAdd = append(c.FlowAdd, *s.want)
	}
	r.Added, r.Deleted = len(c.FlowAdd)-r.Modified, len(c.FlowDelete)
	r.GroupsAdded, r.GroupsModified, r.GroupsDeleted = len(c.GroupAdd), len(c.GroupModify), len(c.GroupDelete)
	return c
}

// sent notes that the switch has made the changes.
func (p *plan) sent(c Changes) {
	for _, list := range [][]Group{c.GroupAdd, c.GroupModify} {
		for i := range list {
			p.groups.sent(&list[i], false)
		}
	}
	for i := range c.FlowAdd {
		p.flows.sent(&c.FlowAdd[i], false)
	}
	for i := range c.FlowDelete {
		p.flows.sent(&c.FlowDelete[i], true)
	}
	for _, id := range c.GroupDelete {
		p.groups.sent(&Group{ID: id}, true)
	}
}
