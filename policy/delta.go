package policy

import (
	"slices"
	"strings"
)

// A Delta is what one change of an object did to groups and to rules at ports.
type Delta struct {
	// Generation counts the changes, from 1.
	Generation uint64
	Groups     []GroupDelta // sorted by id
	Ports      []PortDelta  // sorted by id
}

// A GroupDelta is who entered or left a group. A member whose addresses
// changed did both.
type GroupDelta struct {
	Group        string
	Joined, Left []string // ids of members, sorted
}

// A PortDelta is which rules began or ceased to apply to a port, in order. The
// rules of a section that was replaced do both.
type PortDelta struct {
	Port           string // id of a member; Any for rules without scope
	Added, Removed []RuleID
}

// A RuleID names a rule.
type RuleID struct{ Section, Rule string }

// report tells what changed, if somebody listens.
func (e *Engine) report(d Delta) {
	e.generation++
	for _, p := range d.Ports {
		e.touchRules(p)
	}
	if e.cfg.Changed == nil {
		return
	}
	d.Generation = e.generation
	slices.SortFunc(d.Groups, func(a, b GroupDelta) int { return strings.Compare(a.Group, b.Group) })
	slices.SortFunc(d.Ports, func(a, b PortDelta) int { return strings.Compare(a.Port, b.Port) })
	e.cfg.Changed(d)
}

// heard reports whether anybody wants to know what changes.
func (e *Engine) heard() bool { return e.cfg.Changed != nil || len(e.views) > 0 }

// moved is the delta of a member that went from one profile to another, or had
// its addresses changed; nil is none.
func (e *Engine) moved(id string, from, to *profile, readdressed bool) Delta {
	var d Delta
	if !e.heard() {
		return d
	}
	var before, after []*group
	var old, now []*rule
	if from != nil {
		before = e.groupsOf(make([]*group, 0, 16), from)
		old = e.rulesLocked(from)
	}
	if to != nil {
		after = e.groupsOf(make([]*group, 0, 16), to)
		now = e.rulesLocked(to)
	}
	self := []string{id}
	d.Groups = make([]GroupDelta, 0, len(before)+len(after))
	mark := e.nextMark()
	for _, g := range after {
		g.mark = mark
	}
	for _, g := range before {
		switch {
		case g.mark != mark:
			d.Groups = append(d.Groups, GroupDelta{Group: g.id, Left: self})
		case readdressed:
			d.Groups = append(d.Groups, GroupDelta{Group: g.id, Joined: self, Left: self})
		}
	}
	mark = e.nextMark()
	for _, g := range before {
		g.mark = mark
	}
	for _, g := range after {
		if g.mark != mark {
			d.Groups = append(d.Groups, GroupDelta{Group: g.id, Joined: self})
		}
	}
	if p := portDelta(id, old, now); len(p.Added)+len(p.Removed) > 0 {
		d.Ports = []PortDelta{p}
	}
	return d
}

// portDelta compares lists of rules in order.
func portDelta(id string, old, now []*rule) PortDelta {
	d := PortDelta{Port: id}
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(old) > 0 && len(now) > 0 && old[0] == now[0]:
			old, now = old[1:], now[1:]
		case len(now) == 0 || len(old) > 0 && old[0].compare(now[0]) <= 0:
			d.Removed = append(d.Removed, old[0].ref())
			old = old[1:]
		default:
			d.Added = append(d.Added, now[0].ref())
			now = now[1:]
		}
	}
	return d
}

func (r *rule) ref() RuleID { return RuleID{r.section.id, r.id} }

// A census is who was in some groups, and under which rules, before a change.
type census struct {
	groups   []*group
	members  [][]*profile
	profiles []*profile
	rules    [][]*rule
}

// censusLocked counts a group and those that it is nested in, and the rules of
// all that are in it or will be: in the selector and groups to come.
func (e *Engine) censusLocked(g *group, sel *selector, nested []*group) *census {
	if !e.heard() {
		return nil
	}
	c := &census{groups: above(nil, []*group{g}, e.nextMark())}
	for _, g := range c.groups {
		c.members = append(c.members, e.profilesIn(nil, []*group{g}))
	}
	c.profiles = e.profilesIn(nil, append([]*group{g, {sel: sel}}, nested...))
	for _, p := range c.profiles {
		c.rules = append(c.rules, slices.Clone(e.rulesLocked(p)))
	}
	return c
}

// since is the delta of a group that was counted before.
func (e *Engine) since(c *census) Delta {
	var d Delta
	if c == nil {
		return d
	}
	for i, g := range c.groups {
		x := GroupDelta{Group: g.id}
		now := e.profilesIn(nil, []*group{g})
		x.Left = missing(c.members[i], now)
		x.Joined = missing(now, c.members[i])
		if len(x.Left)+len(x.Joined) > 0 {
			d.Groups = append(d.Groups, x)
		}
	}
	for i, p := range c.profiles {
		x := portDelta("", c.rules[i], e.rulesLocked(p))
		if len(x.Added)+len(x.Removed) == 0 {
			continue
		}
		for _, m := range p.members {
			x.Port = m.id
			d.Ports = append(d.Ports, x)
		}
	}
	return d
}

// replaced is the delta of a section in the place of another; nil is none.
func (e *Engine) replaced(old, now *section) Delta {
	var d Delta
	if !e.heard() {
		return d
	}
	at := map[*profile]*PortDelta{}
	everywhere := PortDelta{Port: Any}
	note := func(s *section, to func(*PortDelta) *[]RuleID) {
		if s == nil {
			return
		}
		for i := range s.blocks {
			b := &s.blocks[i]
			refs := make([]RuleID, len(b.rules))
			for i, r := range b.rules {
				refs[i] = r.ref()
			}
			add := func(x *PortDelta) { *to(x) = append((*to(x))[:len(*to(x)):len(*to(x))], refs...) }
			if b.scope == nil {
				add(&everywhere)
			}
			for _, p := range e.profilesIn(nil, b.scope) {
				if at[p] == nil {
					at[p] = &PortDelta{}
				}
				add(at[p])
			}
		}
	}
	note(old, func(x *PortDelta) *[]RuleID { return &x.Removed })
	note(now, func(x *PortDelta) *[]RuleID { return &x.Added })
	if len(everywhere.Added)+len(everywhere.Removed) > 0 {
		d.Ports = append(d.Ports, everywhere)
	}
	for p, x := range at {
		for _, m := range p.members {
			x.Port = m.id
			d.Ports = append(d.Ports, *x)
		}
	}
	return d
}

// missing returns the sorted ids of the members of profiles that another list lacks.
func missing(list, other []*profile) []string {
	in := make(map[*profile]bool, len(other))
	for _, p := range other {
		in[p] = true
	}
	var ids []string
	for _, p := range list {
		if !in[p] {
			for _, m := range p.members {
				ids = append(ids, m.id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}
