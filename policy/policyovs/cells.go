package policyovs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/ovs"
)

// A place is what no two flows of a switch share.
type place struct {
	table uint8
	prio  uint16
	match ovs.Match
}

func placeOf(f *ovs.Flow) place { return place{f.Table, f.Priority, f.Match} }

// An entry is what a rule, or the pipeline itself, wants in a place: a flow, or
// that the flow there is of a clause.
type entry struct {
	rule *rule // nil: the pipeline
	flow ovs.Flow
	conj ovs.ConjunctionAction // N is 0 if flow has its own actions
	port uint32                // key of the one port that it is for; 0 is none
}

// cells are the entries of all places, and what changed there since drain.
type cells struct {
	at map[place][]*entry // in order of the rules, of each at most one
	// before are the flows that were in places touched; nil if none was.
	before map[place]*ovs.Flow
}

func newCells() *cells { return &cells{at: map[place][]*entry{}, before: map[place]*ovs.Flow{}} }

// touch notes what is in a place before it is changed.
func (c *cells) touch(p place) {
	if _, ok := c.before[p]; !ok {
		c.before[p] = flowOf(c.at[p])
	}
}

// put adds an entry, which must not be changed any more. The second of a rule
// in one place is passed over: it says the same.
func (c *cells) put(e *entry) {
	p := placeOf(&e.flow)
	c.touch(p)
	list := c.at[p]
	if i, found := find(list, e.rule); !found {
		c.at[p] = slices.Insert(list, i, e)
	}
}

// remove takes away what a rule has in a place.
func (c *cells) remove(p place, r *rule) {
	c.touch(p)
	list := c.at[p]
	if i, found := find(list, r); found && len(list) == 1 {
		delete(c.at, p)
	} else if found {
		c.at[p] = slices.Delete(list, i, i+1)
	}
}

// find returns where the entry of a rule is, or would be. The pipeline shares no
// place with rules.
func find(list []*entry, r *rule) (int, bool) {
	if r == nil {
		return 0, len(list) > 0
	}
	return slices.BinarySearchFunc(list, r, func(e *entry, r *rule) int {
		if e.rule == r {
			return 0
		}
		return e.rule.Compare(r.ProgramRule)
	})
}

// flowOf returns the flow that does what entries of one place want; nil if
// there are none. A flow of its own belongs to the first rule that has
// one, and the packets of clauses there are decided by it, in the same way.
func flowOf(list []*entry) *ovs.Flow {
	if len(list) == 0 {
		return nil
	}
	if i := slices.IndexFunc(list, func(e *entry) bool { return e.conj.N == 0 }); i >= 0 {
		return &list[i].flow
	}
	f := list[0].flow
	members := make([]ovs.ConjunctionAction, len(list))
	for i, e := range list {
		members[i] = e.conj
	}
	slices.SortFunc(members, func(a, b ovs.ConjunctionAction) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Clause, b.Clause))
	})
	f.Actions = make([]ovs.Action, len(members))
	for i, m := range members {
		f.Actions[i] = m
	}
	return &f
}

// drain returns what changed since the last one.
func (c *cells) drain() Delta {
	var d Delta
	for p, old := range c.before {
		f := flowOf(c.at[p])
		switch {
		case f != nil && (old == nil || !f.Equal(*old)):
			d.Put = append(d.Put, *f)
		case f == nil && old != nil:
			d.Gone = append(d.Gone, *old)
		}
	}
	c.before = map[place]*ovs.Flow{}
	sortFlows(d.Put)
	sortFlows(d.Gone)
	return d
}

// flows returns all flows.
func (c *cells) flows() []ovs.Flow {
	out := make([]ovs.Flow, 0, len(c.at))
	for _, list := range c.at {
		out = append(out, *flowOf(list))
	}
	sortFlows(out)
	return out
}

// sortFlows sorts by table, priority (highest first) and match.
func sortFlows(list []ovs.Flow) {
	slices.SortFunc(list, func(a, b ovs.Flow) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority), strings.Compare(a.Match.OXM(), b.Match.OXM()))
	})
}
