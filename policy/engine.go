package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// Config of an Engine.
type Config struct {
	// Default is what becomes of a packet that no rule matches; zero drops.
	Default Action
}

// An Engine holds members, groups and sections, and keeps the members of each
// group. Make one with NewEngine. It may be used by many goroutines.
type Engine struct {
	cfg Config

	mu       sync.Mutex // protects all below
	members  map[string]*member
	groups   map[string]*group
	sections map[string]*Section
	order    []*Section // sorted; nil if to be sorted again
	byKey    index[*member]
	groupsBy index[*group]        // by a key that each member of the group must have
	unkeyed  map[*group]bool      // groups without such a key
	explicit map[string][]*group  // by member id in Group.Members
	byPort   map[portKey]memberIn // by named port
}

type (
	memberIn map[*member]bool
	portKey  struct {
		name  string
		proto Protocol
	}
	member struct {
		Member
		keys   []key
		groups map[*group]bool
	}
	group struct {
		Group
		keys     []key
		members  memberIn
		prefixes []netip.Prefix // aggregated; valid if resolved
		resolved bool
	}
)

// NewEngine returns an Engine without objects.
func NewEngine(cfg Config) *Engine {
	if cfg.Default != Allow {
		cfg.Default = Drop
	}
	return &Engine{
		cfg: cfg, members: map[string]*member{}, groups: map[string]*group{}, sections: map[string]*Section{},
		byKey: index[*member]{}, groupsBy: index[*group]{}, unkeyed: map[*group]bool{}, explicit: map[string][]*group{}, byPort: map[portKey]memberIn{},
	}
}

// SetMember adds or replaces a member.
func (e *Engine) SetMember(m Member) error {
	if err := m.Validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &member{Member: m.clone(), keys: memberKeys(m), groups: map[*group]bool{}}
	old := e.members[m.ID]
	candidates := maps.Clone(e.unkeyed)
	for _, g := range e.explicit[m.ID] {
		candidates[g] = true
	}
	for _, k := range x.keys {
		for g := range e.groupsBy[k] {
			candidates[g] = true
		}
	}
	same := old != nil && slices.Equal(old.IPs, x.IPs)
	joined := map[*group]bool{}
	for g := range candidates {
		if g.has(&x.Member) {
			joined[g] = true
		}
	}
	if old != nil {
		for g := range old.groups {
			delete(g.members, old)
			if !same || !joined[g] {
				g.resolved = false
			}
		}
		e.forgetLocked(old)
	}
	for g := range joined {
		g.members[x], x.groups[g] = true, true
		if !same || !old.groups[g] {
			g.resolved = false
		}
	}
	e.members[m.ID] = x
	for _, k := range x.keys {
		e.byKey.add(k, x)
	}
	for _, k := range x.portKeys() {
		if e.byPort[k] == nil {
			e.byPort[k] = memberIn{}
		}
		e.byPort[k][x] = true
	}
	return nil
}

// DeleteMember removes a member; it need not be there.
func (e *Engine) DeleteMember(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.members[id]
	if x == nil {
		return
	}
	for g := range x.groups {
		delete(g.members, x)
		g.resolved = false
	}
	e.forgetLocked(x)
	delete(e.members, id)
}

// forgetLocked takes a member out of the indexes.
func (e *Engine) forgetLocked(x *member) {
	for _, k := range x.keys {
		e.byKey.remove(k, x)
	}
	for _, k := range x.portKeys() {
		delete(e.byPort[k], x)
		if len(e.byPort[k]) == 0 {
			delete(e.byPort, k)
		}
	}
}

func (m *member) portKeys() []portKey {
	var out []portKey
	for name, p := range m.Ports {
		for _, proto := range []Protocol{TCP, UDP, SCTP} {
			if p.Number(proto) != 0 {
				out = append(out, portKey{name, proto})
			}
		}
	}
	return out
}

// SetGroup adds or replaces a group.
func (e *Engine) SetGroup(g Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deleteGroupLocked(g.ID)
	x := &group{Group: g.clone(), members: memberIn{}}
	join := func(m *member) {
		if x.has(&m.Member) {
			x.members[m], m.groups[x] = true, true
		}
	}
	keys, keyed := x.Criteria.keys()
	if keyed {
		x.keys = keys
		for _, k := range keys {
			e.groupsBy.add(k, x)
			for m := range e.byKey[k] {
				join(m)
			}
		}
	} else {
		e.unkeyed[x] = true
		for _, m := range e.members {
			join(m)
		}
	}
	for _, id := range distinct(x.Members) {
		e.explicit[id] = append(e.explicit[id], x)
		if m := e.members[id]; m != nil {
			join(m)
		}
	}
	e.groups[g.ID] = x
	return nil
}

// DeleteGroup removes a group; it need not be there.
func (e *Engine) DeleteGroup(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deleteGroupLocked(id)
}

func (e *Engine) deleteGroupLocked(id string) {
	x := e.groups[id]
	if x == nil {
		return
	}
	for m := range x.members {
		delete(m.groups, x)
	}
	for _, k := range x.keys {
		e.groupsBy.remove(k, x)
	}
	for _, m := range distinct(x.Members) {
		e.explicit[m] = slices.DeleteFunc(e.explicit[m], func(g *group) bool { return g == x })
		if len(e.explicit[m]) == 0 {
			delete(e.explicit, m)
		}
	}
	delete(e.unkeyed, x)
	delete(e.groups, id)
}

// SetSection adds or replaces a section.
func (e *Engine) SetSection(s Section) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s = s.clone()
	if s.Category == "" {
		s.Category = Application
	}
	slices.SortStableFunc(s.Rules, func(a, b Rule) int { return cmp.Compare(a.Sequence, b.Sequence) })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sections[s.ID], e.order = &s, nil
	return nil
}

// DeleteSection removes a section; it need not be there.
func (e *Engine) DeleteSection(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sections, id)
	e.order = nil
}

// Members returns the sorted ids of the members of a group.
func (e *Engine) Members(groupID string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.groups[groupID]
	if g == nil {
		return nil
	}
	ids := make([]string, 0, len(g.members))
	for m := range g.members {
		ids = append(ids, m.ID)
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
	ids := make([]string, 0, len(m.groups))
	for g := range m.groups {
		ids = append(ids, g.ID)
	}
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
	return slices.Clone(g.addressesLocked())
}

// Missing returns the sorted ids of groups that sections name and that are not there.
func (e *Engine) Missing() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	missing := map[string]bool{}
	note := func(list []string) {
		for _, id := range list {
			if _, literal := parsePrefix(id); !literal && id != Any && e.groups[id] == nil {
				missing[id] = true
			}
		}
	}
	for _, s := range e.sections {
		note(s.AppliedTo)
		for _, r := range s.Rules {
			note(r.Sources)
			note(r.Destinations)
			note(r.AppliedTo)
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

func (g *group) addressesLocked() []netip.Prefix {
	if !g.resolved {
		list := Subtract(g.IPs, g.ExcludedIPs)
		for m := range g.members {
			for _, a := range m.IPs {
				list = append(list, hostPrefix(a))
			}
		}
		g.prefixes, g.resolved = Aggregate(list), true
	}
	return g.prefixes
}

// sortedLocked returns the sections in the order in which they are tried.
func (e *Engine) sortedLocked() []*Section {
	if e.order == nil {
		e.order = slices.Collect(maps.Values(e.sections))
		slices.SortFunc(e.order, func(a, b *Section) int {
			return cmp.Or(cmp.Compare(a.Category.Rank(), b.Category.Rank()), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
		})
	}
	return e.order
}

func distinct(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
