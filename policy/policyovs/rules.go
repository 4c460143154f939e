package policyovs

import (
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A rule is one of the program, and what became of it.
type rule struct {
	policy.ProgramRule
	prio     uint16
	sets     []*set // that Peers names
	products [2]product
	conj     [2]*number // ids, by family; nil if the product is written out
	entries  []entry    // in cells
}

// A clause is what one side of a rule allows: any of several matches.
type clause [][]ovs.FieldMatch

// A product is a rule taken apart for one address family: what every flow
// matches, and the clauses with several possibilities.
type product struct {
	base    []ovs.FieldMatch
	clauses []clause
	empty   bool // it matches nothing
}

// worthwhile reports whether a conjunction takes fewer flows than writing the
// product out.
func (p product) worthwhile() bool {
	product, sum := 1, 1
	for _, cl := range p.clauses {
		product, sum = min(product*len(cl), 1<<30), sum+len(cl)
	}
	return !p.empty && len(p.clauses) > 1 && product > sum
}

// product takes a rule apart.
func (c *Compiler) product(s stage, r *rule, family int) product {
	p := product{base: match(ovs.EthType(families[family]))}
	if r.Order.Category.Rank() < policy.Application.Rank() {
		p.base = append(p.base, ovs.RegMasked(c.l.Scratch, 0, s.passed))
	}
	var clauses []clause
	if r.AppliedTo != nil {
		clauses = append(clauses, c.at(s, r.AppliedTo))
	}
	if r.Local != nil {
		clauses = append(clauses, addresses(r.Local, family, s.ownAddr))
	}
	if r.Peers != nil {
		clauses = append(clauses, c.far(s, r, family))
	}
	if r.Services != nil {
		clauses = append(clauses, services(r.Services, family == 0))
	}
	// What has one possibility only is part of every flow.
	for _, cl := range clauses {
		switch len(cl) {
		case 0:
			return product{empty: true}
		case 1:
			p.base = append(p.base, cl[0]...)
		default:
			p.clauses = append(p.clauses, cl)
		}
	}
	return p
}

// at is the ports of a rule.
func (c *Compiler) at(s stage, ids []string) clause {
	var out clause
	for _, id := range ids {
		if p, ok := c.ports[id]; ok {
			out = append(out, match(ovs.Reg(s.reg, p.Key)))
		}
	}
	return out
}

// far is the other end: the classes of the addresses in sets, and prefixes.
func (c *Compiler) far(s stage, r *rule, family int) clause {
	if r.Peers.Excluded {
		return addresses(others(r), family, s.farAddr)
	}
	var out clause
	for _, x := range classesOf(r.sets, dirOf(s.dir), family) {
		out = append(out, match(ovs.Reg(c.l.Class+x.reg, x.number.id)))
	}
	wide := slices.Clone(r.Peers.Prefixes)
	for _, x := range r.sets {
		wide = append(wide, x.wide...)
	}
	return append(out, addresses(policy.Aggregate(wide), family, s.farAddr)...)
}

// others returns all addresses but those that a rule excludes; none if it
// excludes a set that is not there.
func others(r *rule) []netip.Prefix {
	list := slices.Clone(r.Peers.Prefixes)
	for _, x := range r.sets {
		if !x.there {
			return nil
		}
		for p := range x.members {
			list = append(list, p)
		}
	}
	return policy.Subtract(policy.Everything(), list)
}

func addresses(list []netip.Prefix, family int, field func(netip.Prefix) ovs.FieldMatch) clause {
	var out clause
	for _, p := range list {
		if p.Addr().Is4() == (family == 0) {
			out = append(out, match(field(p)))
		}
	}
	return out
}

// A writer collects the entries of a rule.
type writer struct {
	entries []entry
	entry   // what the next one has but for its match
}

func (w *writer) put(m []ovs.FieldMatch) {
	e := w.entry
	e.flow.Match = ovs.NewMatch(m...)
	w.entries = append(w.entries, e)
}

// product writes out every combination.
func (w *writer) product(base []ovs.FieldMatch, clauses []clause) {
	if len(clauses) == 0 {
		w.put(base)
		return
	}
	for _, m := range clauses[0] {
		w.product(append(slices.Clip(base), m...), clauses[1:])
	}
}

// clauses writes the flows of a conjunction's clauses.
func (w *writer) clauses(p product, id uint32) {
	w.flow.Actions = nil
	for i, cl := range p.clauses {
		w.conj = ovs.ConjunctionAction{ID: id, Clause: uint8(i + 1), N: uint8(len(p.clauses))}
		w.product(p.base, []clause{cl})
	}
}

// entriesOf returns what a rule is in the end.
func (c *Compiler) entriesOf(r *rule) []entry {
	s := c.sides[dirOf(r.Direction)]
	b := compiler{l: c.l}
	all := entry{rule: r, flow: ovs.Flow{Table: s.rules, Priority: r.prio, Cookie: c.l.RuleCookie(r.ProgramRule), Actions: b.act(s.stage, &r.ProgramRule)}}
	var w writer
	for family, p := range r.products {
		w.entry = all
		switch n := r.conj[family]; {
		case p.empty:
		case n == nil:
			w.product(p.base, p.clauses)
		default:
			w.product(append(slices.Clip(p.base), ovs.ConjID(n.id)), nil)
			w.flow.Cookie = c.l.cookie(FeatureClause, "")
			w.clauses(p, n.id)
		}
	}
	return w.entries
}

// write brings the entries of a rule up to date.
func (c *Compiler) write(r *rule) {
	old := make(map[place]entry, len(r.entries))
	for _, e := range r.entries {
		old[placeOf(&e.flow)] = e
	}
	r.entries = c.entriesOf(r)
	for _, e := range r.entries {
		p := placeOf(&e.flow)
		if was, ok := old[p]; ok {
			delete(old, p)
			if was.conj == e.conj && was.flow.Equal(e.flow) {
				continue
			}
			c.cells.remove(p, r)
		}
		c.cells.put(e)
	}
	for p := range old {
		c.cells.remove(p, r)
	}
}

// withdraw removes the entries of a rule.
func (c *Compiler) withdraw(r *rule) {
	for _, e := range r.entries {
		c.cells.remove(placeOf(&e.flow), r)
	}
	r.entries = nil
}
