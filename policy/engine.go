package policy

import (
	"cmp"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// Config of an Engine.
type Config struct {
	// Default is what becomes of a packet that no rule matches; zero drops.
	Default Action
	// Changed is told of each change before the call that made it returns,
	// in order. It may not call the Engine, nor change what it is given; nil
	// costs nothing.
	Changed func(Delta) `json:"-"`
}

// An Engine holds members, groups and sections, and keeps the members of each
// group and the rules of each port. Make one with NewEngine. It may be used by
// many goroutines.
type Engine struct {
	cfg  Config
	hash hasher

	mu         sync.Mutex // protects all below
	generation uint64
	members    map[string]*member
	groups     map[string]*group
	sections   map[string]*section
	everywhere []*rule                  // rules without scope, in order
	profiles   map[uint64]*profile      // by hash
	selectors  map[uint64]*selector     // by hash
	postings   map[uint64]*posting      // by key
	named      map[string]int           // selectors that name a member
	owners     map[netip.Addr][]*member // by address; nil until asked for
	views      map[*View]bool
	watchers   map[string][]*View // by port
	needs      map[need]map[dependent]bool
	byPort     map[portKey][]*profile // by named port
	mark       uint64                 // the last that a search left on what it had seen

	// For reuse by one method each.
	keys    []uint64
	below   []*group
	belongs []*group
	touched []*profile
	rules   []*rule
}

// A portKey is a port name of a protocol.
type portKey struct {
	name  string
	proto Protocol
}

// NewEngine returns an Engine without objects.
func NewEngine(cfg Config) *Engine {
	if cfg.Default != Allow {
		cfg.Default = Drop
	}
	return &Engine{
		cfg: cfg, hash: hasher{maphash.MakeSeed()},
		members: map[string]*member{}, groups: map[string]*group{}, sections: map[string]*section{},
		profiles: map[uint64]*profile{}, selectors: map[uint64]*selector{}, postings: map[uint64]*posting{},
		views: map[*View]bool{}, watchers: map[string][]*View{}, needs: map[need]map[dependent]bool{},
		named: map[string]int{}, byPort: map[portKey][]*profile{},
	}
}

// SetMember adds or replaces a member.
func (e *Engine) SetMember(o Member) error {
	if err := o.validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.members[o.ID]
	to := e.profileLocked(&o)
	if m == nil {
		m = &member{id: o.ID}
		m.address(o.IPs)
		e.members[o.ID] = m
		to.add(m)
		e.changed(m, nil, to, nil)
		return nil
	}
	from, had := m.profile, m.ips
	if m.hasAddresses(o.IPs) {
		if from == to {
			return nil
		}
	} else {
		had = slices.Clone(had)
		m.address(o.IPs)
	}
	if from != to {
		from.remove(m)
		to.add(m)
	}
	e.changed(m, from, to, had)
	e.dropLocked(from)
	return nil
}

// DeleteMember removes a member; it need not be there.
func (e *Engine) DeleteMember(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.members[id]
	if m == nil {
		return
	}
	delete(e.members, id)
	from, had := m.profile, slices.Clone(m.ips)
	from.remove(m)
	m.ips = nil
	e.changed(m, from, nil, had)
	e.dropLocked(from)
}

// changed tells of a member that went from one profile to another, nil being
// none, and the addresses that it had.
func (e *Engine) changed(m *member, from, to *profile, had []netip.Addr) {
	e.readdress(m, from, to, had, m.ips)
	e.touchMember(m, from, to, had)
	e.report(e.moved(m.id, from, to, !slices.Equal(had, m.ips)))
}

// SetGroup adds or replaces a group. A cycle of nested groups is refused.
func (e *Engine) SetGroup(o Group) error {
	if err := o.validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.cycleLocked(&o); err != nil {
		return err
	}
	var sel *selector
	if x := o.criteria(); !x.IsZero() {
		sel = e.selectorLocked(x)
	}
	e.changeGroupLocked(e.groupLocked(o.ID), &o, sel, e.groupsLocked(o.Groups))
	return nil
}

// DeleteGroup removes a group; it need not be there.
func (e *Engine) DeleteGroup(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if g := e.groups[id]; g != nil && g.there {
		e.changeGroupLocked(g, nil, nil, nil)
	}
}

func (e *Engine) changeGroupLocked(g *group, o *Group, sel *selector, nested []*group) {
	c := e.censusLocked(g, sel, nested)
	e.touchGroup(g)
	e.unknowLocked(g)
	oldSel, oldNested := e.setGroupLocked(g, o, sel, nested)
	e.unknowLocked(g)
	e.report(e.since(c))
	if oldSel != nil {
		e.releaseLocked(oldSel)
	}
	for _, n := range oldNested {
		e.forgetLocked(n)
	}
	e.forgetLocked(g)
}

// SetSection adds or replaces a section.
func (e *Engine) SetSection(o Section) error {
	if err := o.validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	old, s := e.sections[o.ID], e.newSectionLocked(&o)
	if old != nil {
		e.detachLocked(old)
	}
	e.sections[o.ID] = s
	e.attachLocked(s)
	e.report(e.replaced(old, s))
	return nil
}

// DeleteSection removes a section; it need not be there.
func (e *Engine) DeleteSection(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sections[id]
	if s == nil {
		return
	}
	e.report(e.replaced(s, nil))
	e.detachLocked(s)
	delete(e.sections, id)
}

// Generation counts the changes that the Engine has seen.
func (e *Engine) Generation() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generation
}

// Members returns the sorted ids of the members of a group.
func (e *Engine) Members(groupID string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groups[groupID]
	if g == nil || !g.there {
		return nil
	}
	ids := []string{}
	for _, p := range e.profilesIn(nil, []*group{g}) {
		for _, m := range p.members {
			ids = append(ids, m.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Groups returns the sorted ids of the groups that a member belongs to.
func (e *Engine) Groups(memberID string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.members[memberID]
	if m == nil {
		return nil
	}
	ids := idsOf(e.groupsOf(nil, m.profile))
	slices.Sort(ids)
	return ids
}

// Addresses returns what a group is as a source or destination, in the fewest
// prefixes, sorted.
func (e *Engine) Addresses(groupID string) []netip.Prefix {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groups[groupID]
	if g == nil {
		return nil
	}
	var list []netip.Prefix
	for _, g := range below(nil, []*group{g}, e.nextMark()) {
		list = append(list, g.ips...)
		if g.sel != nil {
			list = append(list, e.addressesOf(g.sel)...)
		}
	}
	return Aggregate(list)
}

// Rules returns the rules that apply to a port, in the order in which they are
// tried: those whose scope has it, and those without scope. What they say
// of sources and destinations is not looked at.
func (e *Engine) Rules(memberID string) []RuleID {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.members[memberID]
	if m == nil {
		return nil
	}
	return refs(e.appliedLocked(m.profile))
}

// Order returns all rules in the order in which they are tried, whichever ports
// they apply to.
func (e *Engine) Order() []RuleID {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*rule
	for _, s := range slices.SortedFunc(maps.Values(e.sections), (*section).compare) {
		for i := range s.rules {
			all = append(all, &s.rules[i])
		}
	}
	return refs(all)
}

// A Class is ports that the same rules apply to.
type Class struct {
	Ports []string // ids of members, sorted
	Rules []RuleID // in the order in which they are tried
}

// Classes parts all ports by what [Engine.Rules] returns for them, once for
// each kind of port. Several classes may have the same rules. They come in the
// order of their first ports.
func (e *Engine) Classes() []Class {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Class, 0, len(e.profiles))
	for _, first := range e.profiles {
		for p := first; p != nil; p = p.next {
			c := Class{Ports: make([]string, len(p.members)), Rules: refs(e.appliedLocked(p))}
			for i, m := range p.members {
				c.Ports[i] = m.id
			}
			slices.Sort(c.Ports)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Class) int { return cmp.Compare(a.Ports[0], b.Ports[0]) })
	return out
}

func refs(list []*rule) []RuleID {
	out := make([]RuleID, len(list))
	for i, r := range list {
		out[i] = r.ref()
	}
	return out
}

// appliedLocked returns all rules that apply to a profile, in order.
func (e *Engine) appliedLocked(p *profile) []*rule {
	own := e.rulesLocked(p)
	if len(e.everywhere) == 0 {
		return own
	}
	all := append(slices.Clip(own), e.everywhere...)
	slices.SortFunc(all, (*rule).compare)
	return all
}

// Missing returns the sorted ids of groups that are not there, and that a group
// or a rule needs.
func (e *Engine) Missing() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := []string{}
	for id, g := range e.groups {
		if !g.there {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Objects returns all that the Engine holds, in other words where they mean
// the same: each rule has its own scope, and no more excluded addresses are there.
func (e *Engine) Objects() Objects {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := Objects{Default: e.cfg.Default}
	for _, id := range slices.Sorted(maps.Keys(e.members)) {
		o.Members = append(o.Members, e.members[id].object())
	}
	for _, id := range slices.Sorted(maps.Keys(e.groups)) {
		if g := e.groups[id]; g.there {
			o.Groups = append(o.Groups, g.object())
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.sections)) {
		o.Sections = append(o.Sections, e.sections[id].object())
	}
	return o
}

func distinct(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
