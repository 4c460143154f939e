package policyovs

import (
	"maps"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// known returns, for all sets that a change may concern, the directions that
// look their addresses up before it.
func (c *Compiler) known(change policy.Change) map[*set][2]bool {
	out := map[*set][2]bool{}
	note := func(id string) {
		x := c.set(id)
		out[x] = [2]bool{x.known(0), x.known(1)}
	}
	of := func(r policy.ProgramRule) {
		if r.Peers != nil {
			for _, id := range r.Peers.Sets {
				note(id)
			}
		}
	}
	for _, s := range change.Sets {
		note(s.ID)
	}
	for _, r := range change.Rules {
		of(r)
		if old := c.rules[r.ID]; old != nil {
			of(old.ProgramRule)
		}
	}
	for _, id := range change.Gone {
		of(c.rules[id].ProgramRule)
	}
	return out
}

// setSets follows a change of sets, and of which of them are looked up.
func (c *Compiler) setSets(changes []policy.SetChange, was map[*set][2]bool) {
	byID := map[string]*policy.SetChange{}
	for i := range changes {
		byID[changes[i].ID] = &changes[i]
	}
	for x, before := range was {
		now := [2]bool{x.known(0), x.known(1)}
		for d := range now {
			if before[d] && !now[d] {
				c.each(d, x.all(), x, (*space).leave)
			}
		}
		if s := byID[x.id]; s != nil {
			c.setSet(x, *s, before, now)
		}
		for d := range now {
			if !before[d] && now[d] {
				c.each(d, x.all(), x, (*space).join)
			}
		}
		if !x.there && !x.named() {
			delete(c.sets, x.id)
		}
	}
}

// setSet follows a change of one set.
func (c *Compiler) setSet(x *set, s policy.SetChange, before, now [2]bool) {
	removed := s.Removed
	if s.Gone {
		removed = x.all()
	}
	wide := x.change(s.Added, removed)
	moved := x.there == s.Gone
	x.there = !s.Gone
	for d := range now {
		if before[d] && now[d] {
			c.each(d, removed, x, (*space).leave)
			c.each(d, s.Added, x, (*space).join)
		}
		if wide {
			c.touch(x.users[d])
		}
		if moved || len(s.Added)+len(removed) > 0 {
			c.touch(x.others[d])
		}
	}
}

// each puts the addresses among prefixes in a set, or takes them out.
func (c *Compiler) each(d int, list []netip.Prefix, x *set, do func(*space, netip.Addr, *set)) {
	for _, p := range list {
		if p.IsSingleIP() {
			do(c.sides[d].spaces[family(p.Addr())], p.Addr(), x)
		}
	}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// touch marks rules to be written again.
func (c *Compiler) touch(rules map[*rule]bool) {
	for r := range rules {
		c.dirty[r] = true
	}
}

// settle brings the cells up to date.
func (c *Compiler) settle() {
	for _, s := range c.sides {
		for _, x := range s.spaces {
			x.classify(c.l.Classes)
			for a := range x.touched {
				c.writeAddress(s.stage, x, a)
			}
			x.touched = map[netip.Addr]bool{}
		}
	}
	c.expandAll()
	for r := range c.dirty {
		c.write(r)
	}
	for r, keys := range c.moved {
		if !c.dirty[r] {
			c.rewrite(r, keys)
		}
	}
	c.dirty, c.moved = map[*rule]bool{}, map[*rule]map[uint32]bool{}
}

// expandAll takes the rules apart that are to be written again, and those of
// ports that moved, which are to be written again if that changes their shape.
func (c *Compiler) expandAll() {
	todo := maps.Clone(c.dirty) // to which numbers that move add others
	for r := range todo {
		c.expand(r)
	}
	for r := range c.moved {
		if todo[r] {
			continue
		}
		before := r.shape()
		c.expand(r)
		if r.shape() != before {
			c.dirty[r] = true
		}
	}
}

// expand takes a rule apart and numbers its conjunctions.
func (c *Compiler) expand(r *rule) {
	s := c.sides[dirOf(r.Direction)]
	for f := range r.products {
		r.products[f] = c.product(s.stage, r, f)
		switch has := r.conj[f] != nil; {
		case r.products[f].worthwhile() && !has:
			r.conj[f] = s.conj.add(r.ID+" "+familyNames[f], func() { c.dirty[r] = true })
		case !r.products[f].worthwhile() && has:
			s.conj.remove(r.conj[f])
			r.conj[f] = nil
		}
	}
}

var familyNames = [...]string{"IPv4", "IPv6"}

// writeAddress replaces the flow that says which classes an address is in.
func (c *Compiler) writeAddress(s stage, x *space, a netip.Addr) {
	f := ovs.Flow{Table: s.sets, Priority: prioPort, Cookie: c.l.cookie(FeatureClause, ""),
		Match: ovs.NewMatch(ovs.EthType(families[x.family]), s.farAddr(host(a)))}
	c.cells.remove(placeOf(&f), nil)
	at := x.addrs[a]
	if len(at.sets) == 0 {
		delete(x.addrs, a)
		return
	}
	for _, k := range at.classes {
		if k != nil {
			f.Actions = append(f.Actions, ovs.SetField(ovs.Reg(c.l.Class+k.reg, k.number.id)))
		}
	}
	f.Actions = append(f.Actions, ovs.Goto(s.rules))
	c.cells.put(&entry{flow: f})
}
