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
	entries  []*entry   // in cells
}

// A clause is what one side of a rule allows: any of several matches.
type clause [][]ovs.FieldMatch

// A product is a rule taken apart for one address family: what every flow
// matches, the ports, and the other clauses with several possibilities.
type product struct {
	base    []ovs.FieldMatch
	reg     int      // holds the key of the port
	ports   []uint32 // keys; nil is every port
	clauses []clause
	empty   bool // it matches nothing
}

// severalPorts reports whether the ports are a clause of a conjunction.
func (p product) severalPorts() bool { return len(p.ports) > 1 }

// worthwhile reports whether a conjunction takes fewer flows than writing the
// product out.
func (p product) worthwhile() bool {
	n, product, sum := 0, 1, 1
	count := func(size int) { n, product, sum = n+1, min(product*size, 1<<30), sum+size }
	if p.severalPorts() {
		count(len(p.ports))
	}
	for _, cl := range p.clauses {
		count(len(cl))
	}
	return !p.empty && n > 1 && product > sum
}

// product takes a rule apart.
func (c *Compiler) product(s stage, r *rule, family int) product {
	p := product{base: match(ovs.EthType(families[family])), reg: s.reg}
	if r.Order.Category.Rank() < policy.Application.Rank() {
		p.base = append(p.base, ovs.RegMasked(c.l.Scratch, 0, s.passed))
	}
	if r.AppliedTo != nil {
		p.ports = c.keys(r.AppliedTo)
		p.empty = len(p.ports) == 0
	}
	var clauses []clause
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

// keys are those of the ports that are there, sorted.
func (c *Compiler) keys(ids []string) []uint32 {
	out := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if p, ok := c.ports[id]; ok {
			out = append(out, p.Key)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
	entries []*entry
	entry   // what the next one has but for its match
	// only limits them to some keys of ports; nil is all.
	only map[uint32]bool
}

func (w *writer) put(m []ovs.FieldMatch) {
	if w.only != nil && !w.only[w.port] {
		return
	}
	e := w.entry
	e.flow.Match = ovs.NewMatch(m...)
	w.entries = append(w.entries, &e)
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

// atPorts writes for each port what fn does from a match of it, or without
// ports once.
func (w *writer) atPorts(p product, fn func(base []ovs.FieldMatch)) {
	if p.ports == nil {
		fn(p.base)
		return
	}
	for _, w.port = range p.ports {
		if w.only == nil || w.only[w.port] {
			fn(append(slices.Clip(p.base), ovs.Reg(p.reg, w.port)))
		}
	}
	w.port = 0
}

// conjunction writes a flow for its id, and those of its clauses.
func (w *writer) conjunction(p product, id uint32, clauseCookie uint64) {
	clauses := 0
	all := len(p.clauses)
	next := func() {
		clauses++
		w.conj = ovs.ConjunctionAction{ID: id, Clause: uint8(clauses), N: uint8(all)}
	}
	whole := func(base []ovs.FieldMatch) {
		w.put(append(slices.Clip(base), ovs.ConjID(id)))
		w.flow.Cookie, w.flow.Actions = clauseCookie, nil
		for _, cl := range p.clauses {
			next()
			w.product(base, []clause{cl})
		}
	}
	if !p.severalPorts() {
		w.atPorts(p, whole)
		return
	}
	all++
	whole(p.base)
	next()
	w.atPorts(p, w.put)
}

// entriesOf returns what a rule is in the end; only limits it to some keys.
func (c *Compiler) entriesOf(r *rule, only map[uint32]bool) []*entry {
	s := c.sides[dirOf(r.Direction)]
	b := compiler{l: c.l}
	w := writer{only: only}
	all := entry{rule: r, flow: ovs.Flow{Table: s.rules, Priority: r.prio, Cookie: c.l.RuleCookie(r.ProgramRule), Actions: b.act(s.stage, &r.ProgramRule)}}
	for family, p := range r.products {
		w.entry = all
		switch n := r.conj[family]; {
		case p.empty:
		case n == nil:
			w.atPorts(p, func(base []ovs.FieldMatch) { w.product(base, p.clauses) })
		default:
			w.conjunction(p, n.id, c.l.cookie(FeatureClause, ""))
		}
	}
	return w.entries
}

// write brings the entries of a rule up to date.
func (c *Compiler) write(r *rule) {
	old := make(map[place]*entry, len(r.entries))
	for _, e := range r.entries {
		old[placeOf(&e.flow)] = e
	}
	r.entries = c.entriesOf(r, nil)
	for i, e := range r.entries {
		p := placeOf(&e.flow)
		if was, ok := old[p]; ok {
			delete(old, p)
			if was.conj == e.conj && was.flow.Equal(e.flow) {
				was.port = e.port
				r.entries[i] = was
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

// A shape is how a rule is written, but for which ports it is for.
type shape struct {
	ids     [2]uint32 // of conjunctions
	several [2]bool
}

func (r *rule) shape() shape {
	var out shape
	for f, n := range r.conj {
		if n != nil {
			out.ids[f], out.several[f] = n.id, r.products[f].severalPorts()
		}
	}
	return out
}

// rewrite brings the entries of a rule up to date of which nothing changed but
// some ports, by their keys before and now.
func (c *Compiler) rewrite(r *rule, keys map[uint32]bool) {
	r.entries = slices.DeleteFunc(r.entries, func(e *entry) bool {
		if keys[e.port] {
			c.cells.remove(placeOf(&e.flow), r)
		}
		return keys[e.port]
	})
	for _, e := range c.entriesOf(r, keys) {
		c.cells.put(e)
		r.entries = append(r.entries, e)
	}
}

// withdraw removes the entries of a rule.
func (c *Compiler) withdraw(r *rule) {
	for _, e := range r.entries {
		c.cells.remove(placeOf(&e.flow), r)
	}
	r.entries = nil
}
