package policy

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// A section is a Section in an Engine. Most have one rule, with one group of
// ports and one of peers: for these there is room in what holds them.
type section struct {
	id, name    string
	head        uint64 // the first bytes of id, in the order of ids
	tags        []Tag
	category    Category
	rank        int
	priority    int
	stateless   bool
	established Established
	rules       []rule // in the order in which they are tried
	blocks      []block
	oneRule     [1]rule
	oneBlock    [1]block
}

// A block is the rules of a section that have the same scope.
type block struct {
	scope    []*group // nil: everywhere
	rules    []*rule
	oneGroup [1]*group
	oneRule  [1]*rule
}

// A rule is a Rule in an Engine. It is never changed.
type rule struct {
	id, name  string
	section   *section
	sequence  int
	pos       int   // place in the section
	src, dst  *ends // nil: any
	services  []Service
	logLabel  string
	action    Action
	direction Direction
	logged    bool
}

// An ends is sources or destinations; nil is any.
type ends struct {
	excluded bool
	groups   []*group
	literal  []netip.Prefix // aggregated
	oneGroup [1]*group
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
	case s.head != o.head:
		return cmp.Compare(s.head, o.head)
	}
	return strings.Compare(s.id, o.id)
}

// newSectionLocked makes a section of a valid Section, and counts what it names.
func (e *Engine) newSectionLocked(o *Section) *section {
	s := &section{
		id: o.ID, name: o.DisplayName, tags: slices.Clone(o.Tags), category: cmp.Or(o.Category, Application), rank: o.Category.Rank(), priority: o.Priority,
		stateless: o.Stateless, established: o.Established,
	}
	var head [8]byte
	copy(head[:], o.ID)
	s.head = binary.BigEndian.Uint64(head[:])
	rules := o.Rules
	if bySequence := func(a, b Rule) int { return cmp.Compare(a.Sequence, b.Sequence) }; !slices.IsSortedFunc(rules, bySequence) {
		rules = slices.Clone(rules)
		slices.SortStableFunc(rules, bySequence)
	}
	s.rules = sized(s.oneRule[:0], len(rules))
	for i := range rules {
		r := &rules[i]
		s.rules = append(s.rules, rule{
			id: r.ID, name: r.DisplayName, section: s, sequence: r.Sequence, pos: i, services: cloneServices(r.Services), logLabel: r.LogLabel,
			action: r.Action, direction: r.Direction, logged: r.Logged,
			src: e.endsLocked(r.Sources, r.SourcesExcluded), dst: e.endsLocked(r.Destinations, r.DestinationsExcluded),
		})
	}
	e.blocksLocked(s, rules, o.AppliedTo)
	return s
}

// sized returns an empty list for n elements: room, if it suffices.
func sized[T any](room []T, n int) []T {
	if n <= cap(room) {
		return room
	}
	return make([]T, 0, n)
}

// blocksLocked parts the rules of a section by scope, which is that of the
// section where a rule has none.
func (e *Engine) blocksLocked(s *section, rules []Rule, applied []string) {
	scope := func(i int) []string { return orList(rules[i].AppliedTo, applied) }
	// first returns the first rule with the scope of another.
	first := func(i int) int {
		j := 0
		for !slices.Equal(scope(j), scope(i)) {
			j++
		}
		return j
	}
	n := 0
	for i := range rules {
		if first(i) == i {
			n++
		}
	}
	s.blocks = sized(s.oneBlock[:0], n)
	for i := range rules {
		j := first(i)
		if j == i {
			s.blocks = append(s.blocks, block{})
			b := &s.blocks[len(s.blocks)-1]
			b.rules = b.oneRule[:0]
			if names := scope(i); !anyOf(names) {
				b.scope = e.groupsLocked(b.oneGroup[:0], names)
			}
			for _, g := range b.scope {
				g.users++
			}
		}
		at := slices.IndexFunc(s.blocks, func(b block) bool { return len(b.rules) == 0 || b.rules[0] == &s.rules[j] })
		b := &s.blocks[at]
		b.rules = append(b.rules, &s.rules[i])
	}
}

// groupsLocked returns the groups of distinct names; room is used if it suffices.
func (e *Engine) groupsLocked(room []*group, names []string) []*group {
	out := sized(room, len(names))
	for _, id := range names {
		if g := e.nameGroupLocked(id); !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func (e *Engine) endsLocked(list []string, excluded bool) *ends {
	if anyOf(list) {
		return nil
	}
	x := &ends{excluded: excluded}
	x.groups = x.oneGroup[:0]
	for _, id := range list {
		if p, ok := parsePrefix(id); ok {
			x.literal = append(x.literal, p)
		} else if g := e.nameGroupLocked(id); !slices.Contains(x.groups, g) {
			x.groups = append(x.groups, g)
			g.users++
		}
	}
	x.literal = Aggregate(x.literal)
	return x
}

func (e *Engine) releaseEndsLocked(x *ends) {
	if x == nil {
		return
	}
	for _, g := range x.groups {
		g.users--
		e.forgetLocked(g)
	}
}

// attachLocked gives a section's rules to the profiles that they apply to.
func (e *Engine) attachLocked(s *section) {
	for i := range s.blocks {
		b := &s.blocks[i]
		if b.scope == nil {
			e.everywhere = insertRules(e.everywhere, b.rules)
			continue
		}
		for _, g := range b.scope {
			g.scopes = append(g.scopes, b)
			g.lead()
		}
		e.touched = e.profilesIn(e.touched[:0], b.scope)
		for _, p := range e.touched {
			if p.known {
				p.rules = insertRules(p.rules, b.rules)
			}
		}
	}
}

// detachLocked is the inverse of attachLocked and newSectionLocked.
func (e *Engine) detachLocked(s *section) {
	for i := range s.blocks {
		b := &s.blocks[i]
		if b.scope == nil {
			e.everywhere = removeRules(e.everywhere, b.rules)
			continue
		}
		e.touched = e.profilesIn(e.touched[:0], b.scope)
		for _, p := range e.touched {
			if p.known {
				p.rules = removeRules(p.rules, b.rules)
			}
		}
		for _, g := range b.scope {
			g.scopes = without1(g.scopes, b)
			g.lead()
			g.users--
			e.forgetLocked(g)
		}
	}
	for i := range s.rules {
		e.releaseEndsLocked(s.rules[i].src)
		e.releaseEndsLocked(s.rules[i].dst)
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

// rulesLocked returns the rules that apply to a profile by its groups, in order.
func (e *Engine) rulesLocked(p *profile) []*rule {
	if p.known {
		return p.rules
	}
	mark := e.nextMark()
	e.belongs = e.belongs[:0]
	for i := range p.edges {
		e.belongs = above(e.belongs, p.edges[i].sel.leading, mark)
	}
	list := e.rules[:0]
	for _, g := range e.belongs {
		for _, b := range g.scopes {
			list = append(list, b.rules...)
		}
	}
	slices.SortFunc(list, (*rule).compare)
	e.rules = list
	p.rules, p.known = slices.Clone(slices.Compact(list)), true
	return p.rules
}

// object is a Section that means the same: each rule has its own scope.
func (s *section) object() Section {
	o := Section{
		ID: s.id, DisplayName: s.name, Tags: slices.Clone(s.tags), Category: s.category, Priority: s.priority,
		Stateless: s.stateless, Established: s.established, Rules: make([]Rule, len(s.rules)),
	}
	for i := range s.rules {
		r := &s.rules[i]
		x := &o.Rules[i]
		*x = Rule{ID: r.id, DisplayName: r.name, Sequence: r.sequence, Services: cloneServices(r.services), Action: r.action,
			Direction: r.direction, Logged: r.logged, LogLabel: r.logLabel}
		x.Sources, x.SourcesExcluded = r.src.list()
		x.Destinations, x.DestinationsExcluded = r.dst.list()
	}
	for _, b := range s.blocks {
		for _, r := range b.rules {
			o.Rules[r.pos].AppliedTo = idsOf(b.scope)
		}
	}
	return o
}

// list is the ends as a rule has them.
func (x *ends) list() (names []string, excluded bool) {
	if x == nil {
		return nil, false
	}
	names = idsOf(x.groups)
	for _, p := range x.literal {
		names = append(names, p.String())
	}
	return names, x.excluded
}

func idsOf(list []*group) []string {
	var out []string
	for _, g := range list {
		out = append(out, g.id)
	}
	return out
}
