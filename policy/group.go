package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Group is a set of members, by criteria or by id, of literal prefixes, and
// of what other groups are.
type Group struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
	// Criteria selects members; zero selects none.
	Criteria Expr `json:"expression,omitzero"`
	// IPs are addresses beside those of members, without ExcludedIPs, which
	// take nothing from members.
	IPs         []netip.Prefix `json:"ip_addresses,omitempty"`
	ExcludedIPs []netip.Prefix `json:"excluded_ip_addresses,omitempty"`
	// Members are ids of members; they need not exist yet.
	Members []string `json:"members,omitempty"`
	// Groups are ids of groups whose members and addresses belong to this one
	// too. They need not exist yet; none may lead back to this one.
	Groups []string `json:"groups,omitempty"`
}

// Validate reports all faults of the group by itself.
func (g Group) Validate() error { return g.validate() }

func (g *Group) validate() error {
	f := faults{kind: "group", id: g.ID}
	if g.ID == "" {
		f.add("id", "empty")
	} else if isLiteral(g.ID) || g.ID == Any {
		f.add("id", "reads as an address")
	}
	if !g.Criteria.IsZero() {
		n := len(f.list)
		g.Criteria.validate(&f, 0)
		f.within(n, "expression")
	}
	checkPrefixes(&f, "ip_addresses", g.IPs)
	checkPrefixes(&f, "excluded_ip_addresses", g.ExcludedIPs)
	for i, id := range g.Members {
		if id == "" {
			f.add(fmt.Sprintf("members[%d]", i), "empty")
		}
	}
	for i, id := range g.Groups {
		if id == "" || isLiteral(id) || id == Any {
			f.add(fmt.Sprintf("groups[%d]", i), "%q is no group", id)
		}
	}
	return f.err()
}

func checkPrefixes(f *faults, field string, list []netip.Prefix) {
	for i, p := range list {
		if !validPrefix(p) {
			f.add(fmt.Sprintf("%s[%d]", field, i), "%q is not an IPv4 or IPv6 prefix", p)
		}
	}
}

// criteria is the expression of all members that the group names or selects itself.
func (g *Group) criteria() Expr {
	if len(g.Members) == 0 {
		return g.Criteria
	}
	named := When(Condition{Key: KeyName, Operator: In, Values: g.Members})
	if g.Criteria.IsZero() {
		return named
	}
	return Or(g.Criteria, named)
}

// A group is a Group in an Engine, or what is known of one that others name
// and that is not there.
type group struct {
	id      string
	there   bool
	name    string
	tags    []Tag
	members []string
	sel     *selector      // its own members; nil is none
	ips     []netip.Prefix // its own prefixes, aggregated
	nested  []*group
	parents []*group
	scopes  []*block // applied to it
	users   int      // of rules and scopes that name it
	mark    uint64
	leads   bool // it is in sel.leading

	twoScopes [2]*block // room for what most have
}

// lead lists the group with its selector if its members have rules by it, or may
// have by one that it is nested in.
func (g *group) lead() {
	leads := g.sel != nil && len(g.scopes)+len(g.parents) > 0
	switch {
	case leads && !g.leads:
		g.sel.leading = append(g.sel.leading, g)
	case !leads && g.leads:
		g.sel.leading = without1(g.sel.leading, g)
	}
	g.leads = leads
}

// set is the name of the set of the group's own prefixes. It is there if the
// group is and has any, and what excludes it is nothing if it is missing.
func (g *group) set() string { return "ips:" + g.id }

// object is a Group that means the same: ExcludedIPs are taken from IPs.
func (g *group) object() Group {
	o := Group{ID: g.id, DisplayName: g.name, Tags: slices.Clone(g.tags), IPs: slices.Clone(g.ips), Members: slices.Clone(g.members), Groups: idsOf(g.nested)}
	if g.sel != nil {
		o.Criteria = g.sel.match.expr() // it names the members too
	}
	return o
}

// has reports whether a profile's members belong to the group.
func (g *group) has(p *profile) bool {
	return g.sel != nil && g.sel.selects(p) || slices.ContainsFunc(g.nested, func(n *group) bool { return n.has(p) })
}

// groupLocked returns a group by id, nil if nothing is known of it.
func (e *Engine) groupLocked(id string) *group {
	if e.asked == nil || e.asked.id != id {
		e.asked = e.groups.get(e.hash.id(id), func(g *group) bool { return g.id == id })
	}
	return e.asked
}

// nameGroupLocked returns a group by id, which need not be there.
func (e *Engine) nameGroupLocked(id string) *group {
	if g := e.groupLocked(id); g != nil {
		return g
	}
	e.asked = &group{id: id}
	e.asked.scopes = e.asked.twoScopes[:0]
	e.groups.add(e.hash.id(id), e.asked)
	return e.asked
}

// forgetLocked forgets a group that is not there and that nothing names.
func (e *Engine) forgetLocked(g *group) {
	if !g.there && g.users == 0 && len(g.parents) == 0 {
		e.groups.remove(e.hash.id(g.id), g)
		e.asked = nil
	}
}

// below appends groups and those nested in them, however deep, but for those
// with the mark.
func below(out, list []*group, mark uint64) []*group {
	for _, g := range list {
		if g.mark != mark {
			g.mark = mark
			out = below(append(out, g), g.nested, mark)
		}
	}
	return out
}

// above appends groups and those that they are nested in, however deep, but
// for those with the mark.
func above(out, list []*group, mark uint64) []*group {
	for _, g := range list {
		if g.mark != mark {
			g.mark = mark
			out = above(append(out, g), g.parents, mark)
		}
	}
	return out
}

// nextMark returns a mark that nothing has.
func (e *Engine) nextMark() uint64 {
	e.mark++
	return e.mark
}

// groupsOf appends the groups that a profile's members belong to.
func (e *Engine) groupsOf(out []*group, p *profile) []*group {
	mark := e.nextMark()
	for i := range p.edges {
		out = above(out, p.edges[i].sel.groups, mark)
	}
	return out
}

// profilesIn appends the profiles whose members belong to one of some groups.
func (e *Engine) profilesIn(out []*profile, list []*group) []*profile {
	mark := e.nextMark()
	e.below = below(e.below[:0], list, mark)
	for _, g := range e.below {
		if g.sel == nil {
			continue
		}
		for _, b := range g.sel.profiles {
			if b.p.mark != mark {
				b.p.mark = mark
				out = append(out, b.p)
			}
		}
	}
	return out
}

// cycleLocked refuses nested groups that lead back, naming the way.
func (e *Engine) cycleLocked(o *Group) error {
	var way []string
	var search func(ids []string) bool
	seen := map[string]bool{}
	search = func(ids []string) bool {
		for _, id := range ids {
			way = append(way, id)
			if id == o.ID {
				return true
			}
			if g := e.groupLocked(id); g != nil && !seen[id] {
				seen[id] = true
				if search(idsOf(g.nested)) {
					return true
				}
			}
			way = way[:len(way)-1]
		}
		return false
	}
	if len(o.Groups) == 0 || !search(o.Groups) {
		return nil
	}
	f := faults{kind: "group", id: o.ID}
	f.add("groups", "a cycle: %s", strings.Join(append([]string{o.ID}, way...), " > "))
	return f.err()
}

// setGroupLocked gives a group its content, of which sel and nested are
// made; nil takes it away. It returns what may be released.
func (e *Engine) setGroupLocked(g *group, o *Group, sel *selector, nested []*group) (*selector, []*group) {
	oldSel, oldNested := g.sel, g.nested
	if g.leads {
		g.sel.leading, g.leads = without1(g.sel.leading, g), false
	}
	g.there, g.sel, g.nested = o != nil, sel, nested
	g.name, g.tags, g.members, g.ips = "", nil, nil, nil
	if o != nil {
		g.name, g.tags, g.members = o.DisplayName, slices.Clone(o.Tags), slices.Clone(o.Members)
		g.ips = Subtract(o.IPs, o.ExcludedIPs)
	}
	if sel != nil {
		sel.groups = append(sel.groups, g)
		g.lead()
	}
	for _, n := range nested {
		n.parents = append(n.parents, g)
		n.lead()
	}
	if oldSel != nil {
		oldSel.groups = without1(oldSel.groups, g)
	}
	for _, n := range oldNested {
		n.parents = without1(n.parents, g)
		n.lead()
	}
	return oldSel, oldNested
}

// unknowLocked has the rules of the members of a group looked up again, if any
// may come from it.
func (e *Engine) unknowLocked(g *group) {
	if len(g.scopes) == 0 && len(g.parents) == 0 {
		return
	}
	for _, p := range e.profilesIn(nil, []*group{g}) {
		p.known = false
	}
}

// without1 takes one element out of a list, whose order does not matter.
func without1[T comparable](list []T, v T) []T {
	i := slices.Index(list, v)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i] = list[last]
	clear(list[last:])
	return list[:last]
}
