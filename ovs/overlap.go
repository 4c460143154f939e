package ovs

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"
)

// Overlaps returns the flows that owners want in one table with one priority,
// of which a packet can match both, and whose actions differ: it is then left
// to the switch which of them the packet meets. Clauses of conjunctions are
// meant to overlap and are passed over. Pairs come in order of table, priority
// and owner. What is set meanwhile does not count.
//
// The cost is that of one look-up a flow for each of the sets of masks that
// are in its table with its priority.
func (b *Bridge) Overlaps() iter.Seq[Conflict] {
	b.mu.Lock()
	defer b.mu.Unlock()
	ranks := map[rank]*classes{}
	for _, owner := range b.plan.owners() {
		b.plan.tidy(b.plan.parts[owner])
		for _, s := range b.plan.parts[owner].flows {
			// Of a shared slot the first owner is enough.
			if f := s.want; s.owner.owner == owner && !slices.ContainsFunc(f.Actions, isConjunction) {
				at := rank{f.Table, f.Priority}
				if ranks[at] == nil {
					ranks[at] = &classes{index: map[string]int{}}
				}
				ranks[at].add(wanted{owner, f})
			}
		}
	}
	return func(yield func(Conflict) bool) {
		for _, at := range slices.SortedFunc(maps.Keys(ranks), rank.compare) {
			for c := range ranks[at].overlaps() {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// A rank is what flows must share to be at odds.
type rank struct {
	table    uint8
	priority uint16
}

func (r rank) compare(o rank) int {
	return cmp.Or(cmp.Compare(r.table, o.table), cmp.Compare(o.priority, r.priority))
}

type wanted struct {
	owner string
	flow  *Flow
}

// classes are the flows of a rank, those with the same fields and masks
// together: two of a class never overlap, for then they would have one key.
type classes struct {
	index map[string]int // by the text of the masks
	list  [][]wanted
}

func (c *classes) add(w wanted) {
	var masks []byte
	for _, m := range w.flow.Match.Fields() {
		_, mask := m.Bytes()
		masks = append(binary.BigEndian.AppendUint16(masks, uint16(m.Field)), mask...)
	}
	i, ok := c.index[string(masks)]
	if !ok {
		i = len(c.list)
		c.index[string(masks)] = i
		c.list = append(c.list, nil)
	}
	c.list[i] = append(c.list[i], w)
}

func (c *classes) overlaps() iter.Seq[Conflict] {
	return func(yield func(Conflict) bool) {
		for i, some := range c.list {
			for _, others := range c.list[i+1:] {
				common := common(some[0].flow.Match, others[0].flow.Match)
				index := map[string][]wanted{}
				for _, w := range some {
					k := project(w.flow.Match, common)
					index[k] = append(index[k], w)
				}
				for _, o := range others {
					for _, w := range index[project(o.flow.Match, common)] {
						if sameActions(w.flow.Actions, o.flow.Actions) {
							continue
						}
						if !yield(Conflict{w.owner, "flow " + w.flow.String(), o.owner, "flow " + o.flow.String()}) {
							return
						}
					}
				}
			}
		}
	}
}

// fieldBits are some of a field.
type fieldBits struct {
	field Field
	mask  []byte
}

// common returns the bits that both matches look at.
func common(a, b Match) []fieldBits {
	var out []fieldBits
	for _, x := range a.Fields() {
		if y, ok := b.Field(x.Field); ok {
			_, m := x.Bytes()
			_, n := y.Bytes()
			both := make([]byte, len(m))
			for i := range both {
				both[i] = m[i] & n[i]
			}
			out = append(out, fieldBits{x.Field, both})
		}
	}
	return out
}

// project returns the value of the bits.
func project(m Match, list []fieldBits) string {
	var out []byte
	for _, b := range list {
		c, _ := m.Field(b.field)
		v, _ := c.Bytes()
		for i := range b.mask {
			out = append(out, v[i]&b.mask[i])
		}
	}
	return string(out)
}
