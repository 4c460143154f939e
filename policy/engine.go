package policy

import (
	"cmp"
	"hash/maphash"
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
	members    hashtable[member]
	groups     hashtable[group]
	sections   hashtable[section]
	profiles   hashtable[profile]
	selectors  hashtable[selector]
	postings   hashtable[posting]
	everywhere []*rule                  // rules without scope, in order
	named      map[string]int           // selectors that name a member
	owners     map[netip.Addr][]*member // by address; nil until asked for
	views      map[*View]bool
	watchers   map[string][]*View // by port
	needs      map[need]map[dependent]bool
	byPort     map[portKey][]*profile // by named port
	mark       uint64                 // the last that a search left on what it had seen

	asked *group // the last that was asked for by id
	read  uint32 // what was read ahead, of no meaning

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
	_, named := e.named[o.ID]
	hash, profile := e.hash.id(o.ID), e.hash.profile(&o, named)
	e.read += e.members.ahead(hash) + e.profiles.ahead(profile)
	m := e.members.get(hash, func(m *member) bool { return m.id == o.ID })
	to := e.profileLocked(&o, named, profile)
	if m == nil {
		m = &member{id: o.ID}
		m.address(o.IPs)
		e.members.add(hash, m)
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
	m := e.memberLocked(id)
	if m == nil {
		return
	}
	e.members.remove(e.hash.id(id), m)
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
	e.read += e.groups.ahead(e.hash.id(o.ID))
	var sel *selector
	if x := o.criteria(); !x.IsZero() {
		sel = e.selectorLocked(x)
	}
	e.changeGroupLocked(e.nameGroupLocked(o.ID), &o, sel, e.groupsLocked(nil, o.Groups))
	return nil
}

// DeleteGroup removes a group; it need not be there.
func (e *Engine) DeleteGroup(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if g := e.groupLocked(id); g != nil && g.there {
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
	hash := e.hash.id(o.ID)
	e.read += e.sections.ahead(hash)
	s := e.newSectionLocked(&o)
	old := e.sections.get(hash, func(s *section) bool { return s.id == o.ID })
	if old != nil {
		e.detachLocked(old)
		e.sections.remove(hash, old)
	}
	e.sections.add(hash, s)
	e.attachLocked(s)
	e.report(e.replaced(old, s))
	return nil
}

// DeleteSection removes a section; it need not be there.
func (e *Engine) DeleteSection(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sectionLocked(id)
	if s == nil {
		return
	}
	e.report(e.replaced(s, nil))
	e.detachLocked(s)
	e.sections.remove(e.hash.id(id), s)
}

func (e *Engine) memberLocked(id string) *member {
	return e.members.get(e.hash.id(id), func(m *member) bool { return m.id == id })
}

func (e *Engine) sectionLocked(id string) *section {
	return e.sections.get(e.hash.id(id), func(s *section) bool { return s.id == id })
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
	g := e.groupLocked(groupID)
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
	m := e.memberLocked(memberID)
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
	g := e.groupLocked(groupID)
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
	m := e.memberLocked(memberID)
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
	for _, s := range slices.SortedFunc(e.sections.all(), (*section).compare) {
		for i := range s.rules {
			all = append(all, &s.rules[i])
		}
	}
	return refs(all)
}

// A Class is ports that the same rules apply to.
type Class struct {
	Ports []string // ids of members, in no order
	Rules []RuleID // in the order in which they are tried
}

// Classes parts all ports by what [Engine.Rules] returns for them, once for
// each kind of port, in no order. Several classes may have the same rules.
func (e *Engine) Classes() []Class {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids, rules := make([]string, 0, e.members.n), 0
	for p := range e.profiles.all() {
		rules += len(e.rulesLocked(p)) + len(e.everywhere)
	}
	out, all := make([]Class, 0, e.profiles.n), make([]RuleID, 0, rules)
	for p := range e.profiles.all() {
		port, first := len(ids), len(all)
		for _, m := range p.members {
			ids = append(ids, m.id)
		}
		for _, r := range e.appliedLocked(p) {
			all = append(all, r.ref())
		}
		out = append(out, Class{Ports: ids[port:len(ids):len(ids)], Rules: all[first:len(all):len(all)]})
	}
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
	for g := range e.groups.all() {
		if !g.there {
			ids = append(ids, g.id)
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
	for m := range e.members.all() {
		o.Members = append(o.Members, m.object())
	}
	for g := range e.groups.all() {
		if g.there {
			o.Groups = append(o.Groups, g.object())
		}
	}
	for s := range e.sections.all() {
		o.Sections = append(o.Sections, s.object())
	}
	slices.SortFunc(o.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(o.Groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(o.Sections, func(a, b Section) int { return cmp.Compare(a.ID, b.ID) })
	return o
}

func distinct(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
