package policyovs

import (
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A Compiler keeps the flows of a program and of ports as these change. Its
// cost is that of what a change touches, but for the order of rules, which is
// looked through when one comes or goes.
//
// Its flows are those of [Flows] for the same program and ports, whatever came
// and went before, but for the numbers of priorities: a rule keeps its own
// as long as there is one left for those that come beside it.
//
// A Compiler must not be used by two goroutines at once.
type Compiler struct {
	l     Layout
	def   policy.Action
	ports map[string]Port
	byKey map[uint32]string
	sets  map[string]*set
	rules map[string]*rule
	// rulesAt are the rules that name a port.
	rulesAt map[string]map[*rule]bool
	sides   [2]*side
	cells   *cells
	begun   bool
	dirty   map[*rule]bool // to be written again
	// moved are rules whose ports changed, with the keys of these before and now.
	moved map[*rule]map[uint32]bool
	// had are priorities of rules on a switch, by table and cookie, until begun.
	had map[hadKey]uint16
}

type hadKey struct {
	table  uint8
	cookie uint64
}

// A side is what a Compiler has for one direction.
type side struct {
	stage
	order  []*rule // as they are tried
	conj   *numbers
	spaces [2]*space // by family
}

// dirOf is a direction's place in arrays.
func dirOf(d policy.Direction) int {
	if d == policy.Egress {
		return 0
	}
	return 1
}

// A Delta turns the flows before a change into those after it, both sorted by
// table, priority (highest first) and match.
type Delta struct {
	Put  []ovs.Flow // new, or in the place of one with the key
	Gone []ovs.Flow // by key; they are as they were
}

// NewCompiler returns a Compiler without rules and ports, which drops. Rules of
// the first change that have flows in have, such as those on the switch (see
// [Layout.RuleCookies]), keep the priorities of these.
func NewCompiler(l Layout, have ...ovs.Flow) (*Compiler, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	c := &Compiler{
		l: l, ports: map[string]Port{}, byKey: map[uint32]string{}, sets: map[string]*set{}, rules: map[string]*rule{},
		rulesAt: map[string]map[*rule]bool{}, cells: newCells(), dirty: map[*rule]bool{}, moved: map[*rule]map[uint32]bool{}, had: map[hadKey]uint16{},
	}
	for d, s := range []stage{l.egress(), l.ingress()} {
		c.sides[d] = &side{stage: s, conj: newNumbers()}
		for f := range families {
			c.sides[d].spaces[f] = newSpace(d, f, func(x *set) { c.touch(x.users[d]) })
		}
	}
	for _, f := range have {
		c.had[hadKey{f.Table, f.Cookie}] = f.Priority
	}
	return c, nil
}

// Flows returns all flows, sorted like a [Delta].
func (c *Compiler) Flows() []ovs.Flow { return c.cells.flows() }

// Apply follows a change of the program and of the ports; the first time, from
// nothing. With an error nothing is changed.
func (c *Compiler) Apply(change policy.Change, ports PortChange) (Delta, error) {
	if err := c.check(change, ports); err != nil {
		return Delta{}, err
	}
	next, err := c.plan(change)
	if err != nil {
		return Delta{}, err
	}
	if !c.begun {
		c.begun, c.had = true, nil
		c.putAll(c.shared())
	}
	c.setPorts(change.Default, ports)
	was := c.known(change)
	if next != nil {
		c.setRules(next)
	}
	c.setSets(change.Sets, was)
	c.settle()
	return c.cells.drain(), nil
}

func (c *Compiler) putAll(flows []ovs.Flow) {
	for _, f := range flows {
		c.cells.put(&entry{flow: f})
	}
}

// A plan is what a change makes of the rules, if there is nothing wrong with it.
type plan struct {
	gone, fresh []*rule
	order       [2][]*rule
	prios       [2][]uint16
}

// plan works out the order of the rules and their priorities; nil if they stay.
func (c *Compiler) plan(change policy.Change) (*plan, error) {
	if len(change.Rules)+len(change.Gone) == 0 {
		return nil, nil
	}
	p := &plan{}
	gone := map[*rule]bool{}
	remove := func(id string) {
		if r := c.rules[id]; r != nil {
			gone[r] = true
			p.gone = append(p.gone, r)
		}
	}
	for _, id := range change.Gone {
		remove(id)
	}
	for _, r := range change.Rules {
		remove(r.ID)
		p.fresh = append(p.fresh, &rule{ProgramRule: r})
	}
	for d, s := range c.sides {
		p.order[d] = slices.DeleteFunc(slices.Clone(s.order), func(r *rule) bool { return gone[r] })
	}
	for _, r := range p.fresh {
		list := &p.order[dirOf(r.Direction)]
		i, _ := slices.BinarySearchFunc(*list, r, func(a, b *rule) int { return a.Compare(b.ProgramRule) })
		*list = slices.Insert(*list, i, r)
	}
	for d := range c.sides {
		var err error
		if p.prios[d], err = prioritize(p.order[d], c.prioOf); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// prioOf returns the priority that a rule has, or should have if that can be;
// 0 if it has none.
func (c *Compiler) prioOf(r *rule) uint16 {
	if r.prio != 0 {
		return r.prio
	}
	old := c.rules[r.ID]
	if old != nil && old.Order == r.Order && old.Section == r.Section && old.Direction == r.Direction {
		return old.prio
	}
	return c.had[hadKey{c.sides[dirOf(r.Direction)].rules, c.l.RuleCookie(r.ProgramRule)}]
}

// setRules puts a plan in force.
func (c *Compiler) setRules(p *plan) {
	for _, r := range p.gone {
		c.unlink(r)
	}
	for _, r := range p.fresh {
		c.link(r)
	}
	for d, s := range c.sides {
		s.order = p.order[d]
		for i, r := range s.order {
			if r.prio != p.prios[d][i] {
				r.prio = p.prios[d][i]
				c.dirty[r] = true
			}
		}
	}
}

// link makes a rule known where it is named.
func (c *Compiler) link(r *rule) {
	c.rules[r.ID] = r
	c.dirty[r] = true
	for _, id := range r.AppliedTo {
		if c.rulesAt[id] == nil {
			c.rulesAt[id] = map[*rule]bool{}
		}
		c.rulesAt[id][r] = true
	}
	if r.Peers == nil {
		return
	}
	for _, id := range r.Peers.Sets {
		x := c.set(id)
		x.namedBy(r)[r] = true
		r.sets = append(r.sets, x)
	}
}

// unlink forgets a rule with its flows.
func (c *Compiler) unlink(r *rule) {
	c.withdraw(r)
	delete(c.rules, r.ID)
	delete(c.dirty, r)
	delete(c.moved, r)
	for _, id := range r.AppliedTo {
		delete(c.rulesAt[id], r)
		if len(c.rulesAt[id]) == 0 {
			delete(c.rulesAt, id)
		}
	}
	d := dirOf(r.Direction)
	for _, x := range r.sets {
		delete(x.namedBy(r), r)
	}
	for _, n := range r.conj {
		if n != nil {
			c.sides[d].conj.remove(n)
		}
	}
}

func (c *Compiler) set(id string) *set {
	x := c.sets[id]
	if x == nil {
		x = newSet(id)
		c.sets[id] = x
	}
	return x
}
