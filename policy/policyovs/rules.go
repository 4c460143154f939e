package policyovs

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// bands are the priorities of each category's rules, by rank: from first down
// to the first of the next, that one not included.
var bands = [...]uint16{60000, 52000, 44000, 36000, 12000, 2000}

// A level is the rules with one priority; they do the same.
type level struct {
	prio  uint16
	rules []*policy.ProgramRule
}

// levels gives the rules of one direction their priorities.
func (c *compiler) levels(d policy.Direction) ([]level, error) {
	var out []level
	var last *policy.ProgramRule
	used := make([]int, len(bands))
	for i := range c.prog.Rules {
		r := &c.prog.Rules[i]
		if r.Direction != d {
			continue
		}
		if last != nil && last.Compare(*r) > 0 {
			return nil, fmt.Errorf("policyovs: rule %q: it comes after %q, to which it is prior: %w", r.ID, last.ID, ErrInvalid)
		}
		if last != nil && (peers(last, r) || last.Section == r.Section && last.Rule == r.Rule) {
			out[len(out)-1].rules = append(out[len(out)-1].rules, r)
			last = r
			continue
		}
		rank := r.Order.Category.Rank()
		if room := int(bands[rank] - bands[rank+1]); used[rank] == room {
			return nil, fmt.Errorf("policyovs: rule %q: category %s has priorities for %d rules: %w", r.ID, r.Order.Category, room, ErrTooMany)
		}
		out = append(out, level{bands[rank] - uint16(used[rank]), []*policy.ProgramRule{r}})
		used[rank]++
		last = r
	}
	return out, nil
}

// peers reports whether the order of two rules makes no difference.
func peers(a, b *policy.ProgramRule) bool {
	x, y := a.Order, b.Order
	x.Position, y.Position = 0, 0
	return x == y && x.Rule > 0 && a.Action == b.Action
}

// A clause is what one side of a rule allows: any of several matches.
type clause [][]ovs.FieldMatch

// rules compiles the rules of one stage.
func (c *compiler) rules(s stage) error {
	levels, err := c.levels(s.dir)
	if err != nil {
		return err
	}
	type product struct {
		rule    *policy.ProgramRule
		prio    uint16
		base    []ovs.FieldMatch
		clauses []clause
		conj    uint32 // 0: written out
	}
	var list []product
	conj := map[string]*uint32{}
	passes := slices.ContainsFunc(c.prog.Rules, func(r policy.ProgramRule) bool { return r.Action == policy.Pass })
	for _, lv := range levels {
		for _, r := range lv.rules {
			for _, v4 := range []bool{true, false} {
				base, clauses, ok := c.product(s, r, v4)
				if !ok {
					continue
				}
				if passes && r.Order.Category.Rank() < policy.Application.Rank() {
					base = append(base, ovs.RegMasked(c.l.Scratch, 0, s.passed))
				}
				list = append(list, product{rule: r, prio: lv.prio, base: base, clauses: clauses})
			}
		}
	}
	for i := range list {
		if p := &list[i]; worthwhile(p.clauses) {
			conj[fmt.Sprintf("%s %t", p.rule.ID, p.base[0] == ovs.EthType(ethIPv4))] = &p.conj
		}
	}
	number(conj)
	w := &writer{c: c, table: s.rules, plain: map[ovs.Key]bool{}, clauses: map[ovs.Key]*clauseFlow{}}
	for _, p := range list {
		if p.conj == 0 {
			w.product(p.prio, c.l.RuleCookie(*p.rule), p.base, p.clauses, c.act(s, p.rule.Action))
		}
	}
	for _, p := range list {
		if p.conj != 0 {
			w.conjunction(p.prio, c.l.RuleCookie(*p.rule), p.base, p.clauses, p.conj, c.act(s, p.rule.Action))
		}
	}
	w.finish()
	return nil
}

// act is what a rule does.
func (c *compiler) act(s stage, a policy.Action) []ovs.Action {
	switch a {
	case policy.Allow:
		return c.allow(s)
	case policy.Pass:
		return []ovs.Action{ovs.SetField(ovs.RegMasked(c.l.Scratch, s.passed, s.passed)), ovs.Resubmit(s.rules)}
	}
	return nil
}

// product takes a rule apart for one address family; false: it matches nothing in it.
func (c *compiler) product(s stage, r *policy.ProgramRule, v4 bool) ([]ovs.FieldMatch, []clause, bool) {
	base := match(ovs.EthType(ethIPv6))
	if v4 {
		base = match(ovs.EthType(ethIPv4))
	}
	var clauses []clause
	ports := clause{nil}
	if r.AppliedTo != nil {
		ports = nil
		for _, id := range r.AppliedTo {
			if key, ok := c.keys[id]; ok {
				ports = append(ports, match(ovs.Reg(s.reg, key)))
			}
		}
	}
	clauses = append(clauses, ports)
	if r.Local != nil {
		clauses = append(clauses, addresses(r.Local, v4, s.ownAddr))
	}
	if r.Peers != nil {
		clauses = append(clauses, addresses(c.prog.Addresses(r.Peers), v4, s.farAddr))
	}
	if r.Services != nil {
		clauses = append(clauses, services(r.Services, v4))
	}
	// What has one possibility only is part of every flow.
	var several []clause
	for _, cl := range clauses {
		switch len(cl) {
		case 0:
			return nil, nil, false
		case 1:
			base = append(base, cl[0]...)
		default:
			several = append(several, cl)
		}
	}
	return base, several, true
}

func addresses(list []netip.Prefix, v4 bool, field func(netip.Prefix) ovs.FieldMatch) clause {
	var out clause
	for _, p := range list {
		if p.Addr().Is4() == v4 {
			out = append(out, match(field(p)))
		}
	}
	return out
}

// worthwhile reports whether a conjunction takes fewer flows than the product.
func worthwhile(clauses []clause) bool {
	product, sum := 1, 1
	for _, cl := range clauses {
		product, sum = min(product*len(cl), 1<<30), sum+len(cl)
	}
	return len(clauses) > 1 && product > sum
}

// number gives every conjunction an id that derives from its name, and where
// two are the same, the next one that is free.
func number(conj map[string]*uint32) {
	taken := map[uint32]bool{0: true}
	for _, name := range slices.Sorted(maps.Keys(conj)) {
		id := ovs.ObjectHash(name)
		for taken[id] {
			id++
		}
		taken[id] = true
		*conj[name] = id
	}
}

// A writer adds the flows of one stage's rules, one for each match.
type writer struct {
	c       *compiler
	table   uint8
	plain   map[ovs.Key]bool
	clauses map[ovs.Key]*clauseFlow
}

type clauseFlow struct {
	flow    ovs.Flow
	members []ovs.ConjunctionAction
}

// product writes out every combination. A match that is there belongs to a rule
// before this one that does the same.
func (w *writer) product(prio uint16, cookie uint64, base []ovs.FieldMatch, clauses []clause, actions []ovs.Action) {
	if len(clauses) == 0 {
		f := ovs.Flow{Table: w.table, Priority: prio, Cookie: cookie, Match: ovs.NewMatch(base...), Actions: actions}
		if k := f.Key(); !w.plain[k] {
			w.plain[k] = true
			w.c.flows = append(w.c.flows, f)
		}
		return
	}
	for _, m := range clauses[0] {
		w.product(prio, cookie, append(slices.Clip(base), m...), clauses[1:], actions)
	}
}

func (w *writer) conjunction(prio uint16, cookie uint64, base []ovs.FieldMatch, clauses []clause, id uint32, actions []ovs.Action) {
	for i, cl := range clauses {
		for _, m := range cl {
			f := ovs.Flow{Table: w.table, Priority: prio, Cookie: w.c.l.cookie(FeatureClause, ""), Match: ovs.NewMatch(append(slices.Clip(base), m...)...)}
			k := f.Key()
			if w.plain[k] {
				continue // all these packets are decided, in the same way
			}
			if w.clauses[k] == nil {
				w.clauses[k] = &clauseFlow{flow: f}
			}
			w.clauses[k].members = append(w.clauses[k].members, ovs.ConjunctionAction{ID: id, Clause: uint8(i + 1), N: uint8(len(clauses))})
		}
	}
	w.product(prio, cookie, append(slices.Clip(base), ovs.ConjID(id)), nil, actions)
}

func (w *writer) finish() {
	for _, f := range w.clauses {
		slices.SortFunc(f.members, func(a, b ovs.ConjunctionAction) int {
			return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Clause, b.Clause))
		})
		for _, m := range f.members {
			f.flow.Actions = append(f.flow.Actions, m)
		}
		w.c.flows = append(w.c.flows, f.flow)
	}
}
