package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// A section is a Section in an Engine.
type section struct {
	id, name    string
	tags        []Tag
	category    Category
	rank        int
	priority    int
	appliedTo   []string
	stateless   bool
	established Established
	rules       []*rule // in the order in which they are tried
	blocks      []*block
}

// A block is the rules of a section that have the same scope.
type block struct {
	scope []*group // nil: everywhere
	rules []*rule
}

// A rule is a Rule in an Engine. It is never changed.
type rule struct {
	Rule     // without lists that are below
	section  *section
	pos      int // place in the section
	applied  []string
	src, dst ends
	services []Service
}

// An ends is sources or destinations.
type ends struct {
	any      bool
	excluded bool
	groups   []*group
	literal  []netip.Prefix // aggregated
	names    []string       // as given
}

// compare orders rules as they are tried.
func (r *rule) compare(o *rule) int {
	if r.section == o.section {
		return cmp.Compare(r.pos, o.pos)
	}
	return r.section.compare(o.section)
}

func (s *section) compare(o *section) int {
	switch {
	case s.rank != o.rank:
		return cmp.Compare(s.rank, o.rank)
	case s.priority != o.priority:
		return cmp.Compare(s.priority, o.priority)
	}
	return strings.Compare(s.id, o.id)
}

// newSectionLocked makes a section of a valid Section, and counts what it names.
func (e *Engine) newSectionLocked(o *Section) *section {
	s := &section{
		id: o.ID, name: o.DisplayName, tags: slices.Clone(o.Tags), category: cmp.Or(o.Category, Application), rank: o.Category.Rank(), priority: o.Priority,
		appliedTo: slices.Clone(o.AppliedTo), stateless: o.Stateless, established: o.Established,
	}
	rules := make([]rule, len(o.Rules))
	s.rules = make([]*rule, len(o.Rules))
	for i := range o.Rules {
		r, from := &rules[i], &o.Rules[i]
		r.Rule, r.section, r.pos = *from, s, i
		r.applied, r.services = slices.Clone(from.AppliedTo), cloneServices(from.Services)
		r.Rule.Sources, r.Rule.Destinations, r.Rule.AppliedTo, r.Rule.Services = nil, nil, nil, nil
		r.src = e.endsLocked(from.Sources, from.SourcesExcluded)
		r.dst = e.endsLocked(from.Destinations, from.DestinationsExcluded)
		s.rules[i] = r
	}
	inOrder := func(a, b *rule) int { return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.pos, b.pos)) }
	if !slices.IsSortedFunc(s.rules, inOrder) {
		slices.SortFunc(s.rules, inOrder)
		for i, r := range s.rules {
			r.pos = i
		}
	}
	e.blocksLocked(s)
	return s
}

// blocksLocked parts the rules of a section by scope.
func (e *Engine) blocksLocked(s *section) {
	var scopes [][]string // of each block
	for _, r := range s.rules {
		scope := r.applied
		if len(scope) == 0 {
			scope = s.appliedTo
		}
		i := slices.IndexFunc(scopes, func(x []string) bool { return slices.Equal(x, scope) })
		if i < 0 {
			i = len(scopes)
			scopes = append(scopes, scope)
			b := &block{}
			if !anyOf(scope) {
				b.scope = e.groupsLocked(scope)
				for _, g := range b.scope {
					g.users++
				}
			}
			s.blocks = append(s.blocks, b)
		}
		s.blocks[i].rules = append(s.blocks[i].rules, r)
	}
}

// groupsLocked returns the groups of distinct names.
func (e *Engine) groupsLocked(names []string) []*group {
	out := make([]*group, 0, len(names))
	for _, id := range names {
		if g := e.groupLocked(id); !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func (e *Engine) endsLocked(list []string, excluded bool) ends {
	x := ends{any: anyOf(list), excluded: excluded, names: slices.Clone(list)}
	if x.any {
		return x
	}
	for _, id := range list {
		if p, ok := parsePrefix(id); ok {
			x.literal = append(x.literal, p)
		} else if g := e.groupLocked(id); !slices.Contains(x.groups, g) {
			x.groups = append(x.groups, g)
			g.users++
		}
	}
	x.literal = Aggregate(x.literal)
	return x
}

func (e *Engine) releaseEndsLocked(x *ends) {
	for _, g := range x.groups {
		g.users--
		e.forgetLocked(g)
	}
}

// attachLocked gives a section's rules to the profiles that they apply to.
func (e *Engine) attachLocked(s *section) {
	for _, b := range s.blocks {
		if b.scope == nil {
			e.everywhere = insertRules(e.everywhere, b.rules)
			continue
		}
		for _, g := range b.scope {
			g.scopes = append(g.scopes, b)
		}
		e.profilesOf(b.scope, func(p *profile) {
			if p.known {
				p.rules = insertRules(p.rules, b.rules)
			}
		})
	}
}

// detachLocked is the inverse of attachLocked and newSectionLocked.
func (e *Engine) detachLocked(s *section) {
	for _, b := range s.blocks {
		if b.scope == nil {
			e.everywhere = removeRules(e.everywhere, b.rules)
			continue
		}
		e.profilesOf(b.scope, func(p *profile) {
			if p.known {
				p.rules = removeRules(p.rules, b.rules)
			}
		})
		for _, g := range b.scope {
			g.scopes = without1(g.scopes, b)
			g.users--
			e.forgetLocked(g)
		}
	}
	for _, r := range s.rules {
		e.releaseEndsLocked(&r.src)
		e.releaseEndsLocked(&r.dst)
	}
}

// insertRules adds rules to a list in order. The rules are in order themselves.
func insertRules(list, rules []*rule) []*rule {
	for _, r := range rules {
		i, _ := slices.BinarySearchFunc(list, r, (*rule).compare)
		list = slices.Insert(list, i, r)
	}
	return list
}

func removeRules(list, rules []*rule) []*rule {
	for _, r := range rules {
		if i, ok := slices.BinarySearchFunc(list, r, (*rule).compare); ok {
			list = slices.Delete(list, i, i+1)
		}
	}
	return list
}

// profilesOf calls f once for each profile whose members belong to one of some groups.
func (e *Engine) profilesOf(list []*group, f func(*profile)) {
	e.epoch++
	epoch := e.epoch
	closure(list, epoch, func(g *group) {
		if g.sel == nil {
			return
		}
		for _, b := range g.sel.profiles {
			if b.p.mark != epoch {
				b.p.mark = epoch
				f(b.p)
			}
		}
	})
}

// rulesLocked returns the rules that apply to a profile by its groups, in order.
func (e *Engine) rulesLocked(p *profile) []*rule {
	if p.known {
		return p.rules
	}
	list := make([]*rule, 0, 8)
	e.groupsOf(p, func(g *group) {
		for _, b := range g.scopes {
			list = append(list, b.rules...)
		}
	})
	slices.SortFunc(list, (*rule).compare)
	p.rules, p.known = slices.Compact(list), true
	return p.rules
}

// groupsOf calls f once for each group that a profile's members belong to.
func (e *Engine) groupsOf(p *profile, f func(*group)) {
	e.epoch++
	for i := range p.edges {
		above(p.edges[i].sel.groups, e.epoch, f)
	}
}

// object is the section as it was given, rules in order.
func (s *section) object() Section {
	o := Section{
		ID: s.id, DisplayName: s.name, Tags: slices.Clone(s.tags), Category: s.category, Priority: s.priority,
		AppliedTo: slices.Clone(s.appliedTo), Stateless: s.stateless, Established: s.established,
	}
	for _, r := range s.rules {
		x := r.Rule
		x.Sources, x.Destinations = slices.Clone(r.src.names), slices.Clone(r.dst.names)
		x.AppliedTo, x.Services = slices.Clone(r.applied), cloneServices(r.services)
		o.Rules = append(o.Rules, x)
	}
	return o
}
