package ovstest

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// A lookupTable has the flows of a table, those of the highest priority first.
type lookupTable []ovs.Flow

// byTable sorts flows for lookups.
func byTable(flows map[ovs.Key]ovs.Flow) map[uint8]lookupTable {
	tables := map[uint8]lookupTable{}
	for _, key := range slices.Sorted(maps.Keys(flows)) {
		f := flows[key]
		tables[f.Table] = append(tables[f.Table], f)
	}
	for _, t := range tables {
		slices.SortStableFunc(t, func(f, g ovs.Flow) int { return cmp.Compare(g.Priority, f.Priority) })
	}
	return tables
}

// find returns the flow that a packet meets. Conjunctive flows of one priority
// that fulfil every clause of an id make the packet one of that conj_id, if
// they outrank the plain flow that it would meet, and if there is a flow for
// that (ovs-fields(7), "Conjunctive Match Fields").
func (t lookupTable) find(p Packet) (ovs.Flow, bool) {
	plain, found := t.plain(p)
	clauses := map[uint32]uint64{} // those fulfilled, a bit each, by id
	fulfilled := map[uint32]bool{}
	for i, f := range t {
		if found && f.Priority <= plain.Priority {
			break
		}
		if i > 0 && f.Priority != t[i-1].Priority {
			if g, ok := t.conjunctive(p, fulfilled); ok {
				return g, true
			}
			clear(clauses)
			clear(fulfilled)
		}
		if !isClause(f) || !p.matches(f.Match) {
			continue
		}
		for _, a := range f.Actions {
			if c, ok := a.(ovs.ConjunctionAction); ok {
				clauses[c.ID] |= 1 << (c.Clause - 1)
				fulfilled[c.ID] = bits.OnesCount64(clauses[c.ID]) == int(c.N)
			}
		}
	}
	if g, ok := t.conjunctive(p, fulfilled); ok {
		return g, true
	}
	return plain, found
}

// plain returns the first flow that a packet matches and that is no clause.
func (t lookupTable) plain(p Packet) (ovs.Flow, bool) {
	i := slices.IndexFunc(t, func(f ovs.Flow) bool { return !isClause(f) && p.matches(f.Match) })
	if i < 0 {
		return ovs.Flow{}, false
	}
	return t[i], true
}

// conjunctive returns the flow of an id of which every clause is fulfilled.
func (t lookupTable) conjunctive(p Packet, fulfilled map[uint32]bool) (ovs.Flow, bool) {
	for _, id := range slices.Sorted(maps.Keys(fulfilled)) {
		if fulfilled[id] {
			if f, ok := t.plain(p.write(ovs.ConjID(id))); ok {
				return f, true
			}
		}
	}
	return ovs.Flow{}, false
}

func isClause(f ovs.Flow) bool {
	return slices.ContainsFunc(f.Actions, func(a ovs.Action) bool { _, ok := a.(ovs.ConjunctionAction); return ok })
}
