package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
)

// A View follows what has to be enforced at some ports, such as those of one
// host. [View.Change] costs what has changed for these ports, whatever else
// the Engine holds. It may be used by many goroutines.
type View struct {
	e *Engine
	// All below is protected by the Engine's mutex.
	ports map[string]bool
	dirty map[RuleID]bool // to be compiled again
	rules map[RuleID]*viewRule
	sets  map[string]*viewSet
	// told is that the default has been told.
	told bool
}

// A viewRule is what a rule means for the ports of a View.
type viewRule struct {
	out   []ProgramRule
	sets  []string // names of sets in out
	needs []need   // what out depends on beside the ports and the content of sets
}

// A need is a reason to compile a rule again: a group that changes; an address
// of a port of the View, that a selector's members begin or cease to have; or,
// if named, the addresses and named ports of a selector's members, or of any.
type need struct {
	group *group
	sel   *selector
	named bool
}

// A viewSet is a set that rules of a View name.
type viewSet struct {
	sel   *selector // of a set of members
	group *group    // of a set of prefixes
	uses  int       // rules that name it
	fresh bool      // it has not been told
	// since are addresses that joined (true) or left since the set was told.
	since map[netip.Prefix]bool
	// before is what was told, if since does not say what became of it.
	before []netip.Prefix
	frozen bool
}

// note tells that an address joined or left.
func (s *viewSet) note(a netip.Prefix, joined bool) {
	switch before, ok := s.since[a]; {
	case s.fresh || s.frozen:
	case ok && before != joined:
		delete(s.since, a)
	default:
		if s.since == nil {
			s.since = map[netip.Prefix]bool{}
		}
		s.since[a] = joined
	}
}

// freeze keeps what was told, as the set is about to become another.
func (s *viewSet) freeze(e *Engine) {
	if !s.fresh && !s.frozen {
		s.before, s.frozen = s.wasTold(e), true
	}
}

func (s *viewSet) content(e *Engine) []netip.Prefix {
	if s.sel != nil {
		return e.addressesOf(s.sel)
	}
	return s.group.ips
}

// wasTold returns what the set was when it was told.
func (s *viewSet) wasTold(e *Engine) []netip.Prefix {
	if s.frozen {
		return s.before
	}
	list := slices.DeleteFunc(slices.Clone(s.content(e)), func(a netip.Prefix) bool { return s.since[a] })
	for a, joined := range s.since {
		if !joined {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, comparePrefix)
	return list
}

// change returns what became of the set since it was told.
func (s *viewSet) change(e *Engine, id string) SetChange {
	c := SetChange{ID: id}
	switch {
	case s.fresh:
		c.Added = copyOf(s.content(e))
	case s.uses == 0:
		c.Removed, c.Gone = s.wasTold(e), true
	case s.frozen:
		now := s.content(e)
		c.Added, c.Removed = without(now, s.before), without(s.before, now)
	default:
		for a, joined := range s.since {
			if joined {
				c.Added = append(c.Added, a)
			} else {
				c.Removed = append(c.Removed, a)
			}
		}
		slices.SortFunc(c.Added, comparePrefix)
		slices.SortFunc(c.Removed, comparePrefix)
	}
	return c
}

// View returns a view of ports, ids of members, which need not be there yet. It
// costs the Engine something until it is closed.
func (e *Engine) View(ports ...string) *View {
	v := &View{e: e, ports: map[string]bool{}, dirty: map[RuleID]bool{}, rules: map[RuleID]*viewRule{}, sets: map[string]*viewSet{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.views[v] = true
	v.touch(e.everywhere)
	v.setPortsLocked(ports)
	return v
}

// SetPorts changes which ports the View is of.
func (v *View) SetPorts(ports []string) {
	v.e.mu.Lock()
	defer v.e.mu.Unlock()
	v.setPortsLocked(ports)
}

func (v *View) setPortsLocked(ports []string) {
	want := map[string]bool{}
	for _, id := range ports {
		want[id] = true
		if !v.ports[id] {
			v.e.watchers[id] = append(v.e.watchers[id], v)
			v.touchPort(id)
		}
	}
	for id := range v.ports {
		if !want[id] {
			v.unwatch(id)
			v.touchPort(id)
		}
	}
	v.ports = want
}

func (v *View) unwatch(id string) {
	if v.e.watchers[id] = without1(v.e.watchers[id], v); len(v.e.watchers[id]) == 0 {
		delete(v.e.watchers, id)
	}
}

// Close ends the View. It may not be used any more.
func (v *View) Close() {
	v.e.mu.Lock()
	defer v.e.mu.Unlock()
	for id := range v.ports {
		v.unwatch(id)
	}
	for id := range v.rules {
		v.replace(id, nil)
	}
	for name, s := range v.sets {
		v.drop(name, s)
	}
	delete(v.e.views, v)
}

// touchPort has all rules at a port compiled again.
func (v *View) touchPort(id string) {
	if m := v.e.memberLocked(id); m != nil {
		v.touch(v.e.rulesLocked(m.profile))
	}
	v.touch(v.e.everywhere)
}

func (v *View) touch(list []*rule) {
	for _, r := range list {
		v.dirty[r.ref()] = true
	}
}

// Change returns what turns the program of the last call, or at first the one
// without rules that drops, into that of now.
func (v *View) Change() Change {
	e := v.e
	e.mu.Lock()
	defer e.mu.Unlock()
	var c Change
	if !v.told && e.cfg.Default != Drop {
		d := e.cfg.Default
		c.Default = &d
	}
	v.told = true
	for id := range v.dirty {
		old, now := v.rules[id], v.compile(id)
		c.compare(old, now)
		v.replace(id, now)
	}
	clear(v.dirty)
	for name, s := range v.sets {
		if s.uses > 0 || !s.fresh {
			if x := s.change(e, name); s.fresh || x.Gone || len(x.Added)+len(x.Removed) > 0 {
				c.Sets = append(c.Sets, x)
			}
		}
		s.fresh, s.frozen, s.since, s.before = false, false, nil, nil
		if s.uses == 0 {
			v.drop(name, s)
		}
	}
	slices.SortFunc(c.Rules, ProgramRule.Compare)
	slices.Sort(c.Gone)
	slices.SortFunc(c.Sets, func(a, b SetChange) int { return cmp.Compare(a.ID, b.ID) })
	return c
}

func (v *View) drop(name string, s *viewSet) {
	delete(v.sets, name)
	if s.sel != nil {
		s.sel.set.views = without1(s.sel.set.views, v)
	}
}

// compare adds to the change what became of one rule.
func (c *Change) compare(old, now *viewRule) {
	before := map[string]*ProgramRule{}
	if old != nil {
		for i := range old.out {
			before[old.out[i].ID] = &old.out[i]
		}
	}
	if now != nil {
		for _, r := range now.out {
			if o := before[r.ID]; o == nil || !reflect.DeepEqual(*o, r) {
				c.Rules = append(c.Rules, r)
			}
			delete(before, r.ID)
		}
	}
	c.Gone = append(c.Gone, slices.Collect(maps.Keys(before))...)
}

// compile makes of a rule what it means for the ports of the View; nil if nothing.
func (v *View) compile(id RuleID) *viewRule {
	r := v.e.ruleLocked(id)
	if r == nil {
		return nil
	}
	everywhere := slices.Contains(v.e.everywhere, r)
	var at []*member
	for port := range v.ports {
		m := v.e.memberLocked(port)
		if m == nil {
			continue
		}
		if !everywhere {
			if _, applies := slices.BinarySearchFunc(v.e.rulesLocked(m.profile), r, (*rule).compare); !applies {
				continue
			}
		}
		at = append(at, m)
	}
	if len(at) == 0 {
		return nil
	}
	slices.SortFunc(at, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	out := &viewRule{}
	c := compiler{e: v.e, p: &Program{}, use: func(name string, sel *selector, g *group) {
		if !slices.Contains(out.sets, name) {
			out.sets = append(out.sets, name)
			v.use(name, sel, g)
		}
	}}
	c.rule(r, at, everywhere)
	out.out, out.needs = c.p.Rules, v.e.needsLocked(r)
	return out
}

// needsLocked returns what the meaning of a rule depends on.
func (e *Engine) needsLocked(r *rule) []need {
	var out []need
	named := r.direction != Ingress && slices.ContainsFunc(r.services, func(s Service) bool { return s.NamedPort != "" })
	anybody := r.dst == nil || r.dst.excluded || len(r.dst.literal) > 0
	for _, x := range []*ends{r.src, r.dst} {
		own := x == r.src && r.direction != Ingress || x == r.dst && r.direction != Egress
		for _, g := range e.parts(x) {
			out = append(out, need{group: g})
			if g.sel != nil && own {
				out = append(out, need{sel: g.sel})
			}
			if g.sel != nil && named && x == r.dst {
				out = append(out, need{sel: g.sel, named: true})
			}
			anybody = anybody || x == r.dst && len(g.ips) > 0
		}
	}
	if named && anybody {
		out = append(out, need{named: true})
	}
	return out
}

// use counts a rule that names a set.
func (v *View) use(name string, sel *selector, g *group) {
	s := v.sets[name]
	if s == nil {
		s = &viewSet{fresh: true}
		v.sets[name] = s
	}
	s.uses++
	if sel != nil && s.sel != sel {
		v.e.addressesOf(sel)
		sel.set.views = append(sel.set.views, v)
	}
	s.sel, s.group = sel, g
}

// replace puts what a rule means now in the place of what it meant.
func (v *View) replace(id RuleID, now *viewRule) {
	if old := v.rules[id]; old != nil {
		for _, name := range old.sets {
			v.sets[name].uses--
		}
		for _, n := range old.needs {
			v.e.unneed(n, v, id)
		}
	}
	delete(v.rules, id)
	if now != nil {
		v.rules[id] = now
		for _, n := range now.needs {
			v.e.need(n, v, id)
		}
	}
}

// A dependent is a rule of a View.
type dependent struct {
	v  *View
	id RuleID
}

func (e *Engine) need(n need, v *View, id RuleID) {
	if n.sel != nil {
		e.addressesOf(n.sel) // from now on it is told of their changes
	}
	if e.needs[n] == nil {
		e.needs[n] = map[dependent]bool{}
	}
	e.needs[n][dependent{v, id}] = true
}

func (e *Engine) unneed(n need, v *View, id RuleID) {
	delete(e.needs[n], dependent{v, id})
	if len(e.needs[n]) == 0 {
		delete(e.needs, n)
	}
}

// touchNeeds has rules compiled again that depend on something.
func (e *Engine) touchNeeds(n need) {
	for d := range e.needs[n] {
		d.v.dirty[d.id] = true
	}
}

// touchMember has the rules at a member's port compiled again, by where it was
// and where it is; and those that its named ports have a part in.
func (e *Engine) touchMember(m *member, from, to *profile, had []netip.Addr) {
	if len(e.views) == 0 {
		return
	}
	for _, v := range e.watchers[m.id] {
		if from != nil {
			v.touch(e.rulesLocked(from))
		}
		if to != nil {
			v.touch(e.rulesLocked(to))
		}
		v.touch(e.everywhere)
	}
	e.touchNamed(m, from, to, had)
}

// touchNamed has rules compiled again that look up a port name at peers: if a
// member with named ports has others now, or other addresses. It counts for the
// groups that it is in, and for those of whoever has one of its addresses too.
func (e *Engine) touchNamed(m *member, from, to *profile, had []netip.Addr) {
	var before, after map[string]NamedPort
	profiles := make([]*profile, 0, 4)
	if from != nil {
		before, profiles = from.Ports, append(profiles, from)
	}
	if to != nil {
		after, profiles = to.Ports, append(profiles, to)
	}
	if len(e.needs) == 0 || len(before)+len(after) == 0 || maps.Equal(before, after) && slices.Equal(had, m.ips) {
		return
	}
	for _, list := range [][]netip.Addr{had, m.ips} {
		for _, a := range list {
			for _, o := range e.owners[a] {
				profiles = append(profiles, o.profile)
			}
		}
	}
	e.touchNeeds(need{named: true})
	for _, p := range profiles {
		for _, ed := range p.edges {
			e.touchNeeds(need{sel: ed.sel, named: true})
		}
	}
}

// touchRules has the rules compiled again that began or ceased to apply to a port.
func (e *Engine) touchRules(p PortDelta) {
	touch := func(v *View) {
		for _, list := range [][]RuleID{p.Added, p.Removed} {
			for _, id := range list {
				v.dirty[id] = true
			}
		}
	}
	if p.Port == Any {
		for v := range e.views {
			touch(v)
		}
	}
	for _, v := range e.watchers[p.Port] {
		touch(v)
	}
}

// touchGroup has the rules compiled again that name a group, or one that it is
// nested in, and keeps what was told of its prefixes. The group is about to change.
func (e *Engine) touchGroup(g *group) {
	if len(e.views) == 0 {
		return
	}
	for _, x := range above(nil, []*group{g}, e.nextMark()) {
		e.touchNeeds(need{group: x})
	}
	for v := range e.views {
		if s := v.sets[g.set()]; s != nil {
			s.freeze(e)
		}
	}
}

// ruleLocked returns a rule, nil if it is not there.
func (e *Engine) ruleLocked(id RuleID) *rule {
	s := e.sectionLocked(id.Section)
	if s == nil {
		return nil
	}
	for i := range s.rules {
		if s.rules[i].id == id.Rule {
			return &s.rules[i]
		}
	}
	return nil
}

// Program returns what has to be enforced at the ports of the View, as
// [Engine.Program] does.
func (v *View) Program() *Program {
	v.e.mu.Lock()
	ports := slices.Collect(maps.Keys(v.ports))
	v.e.mu.Unlock()
	return v.e.Program(ports)
}
