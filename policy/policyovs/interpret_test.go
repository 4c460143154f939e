package policyovs_test

import (
	"fmt"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// A machine runs packets through flows as ovs-vswitchd does (classifier.c for
// conjunctions): the slow reference that compiled flows are tested on.
type machine struct {
	tables map[uint8][]ovs.Flow // by falling priority
}

func newMachine(flows []ovs.Flow) *machine {
	m := &machine{tables: map[uint8][]ovs.Flow{}}
	for _, f := range flows {
		m.tables[f.Table] = append(m.tables[f.Table], f)
	}
	for _, list := range m.tables {
		slices.SortStableFunc(list, func(a, b ovs.Flow) int { return int(b.Priority) - int(a.Priority) })
	}
	return m
}

// A packet is the value of its fields.
type packet map[ovs.Field][16]byte

func newPacket(fields ...ovs.FieldMatch) packet {
	p := packet{}
	for _, f := range fields {
		p[f.Field] = f.Value
	}
	return p
}

func (p packet) matches(m ovs.Match) bool {
	return !slices.ContainsFunc(m.Fields(), func(f ovs.FieldMatch) bool {
		v := p[f.Field]
		for i := range v {
			if v[i]&f.Mask[i] != f.Value[i] {
				return true
			}
		}
		return false
	})
}

// An outcome is where a packet got to: a table without flows, or nowhere.
type outcome struct {
	table     uint8 // 0: dropped
	committed int   // how often
	copies    int   // to the agent
	path      []ovs.Flow
}

// decided returns the flow that decided, before the -verdict stage.
func (o outcome) decided() ovs.Flow {
	for _, f := range slices.Backward(o.path) {
		if f.Table != 33 && f.Table != 73 {
			return f
		}
	}
	return ovs.Flow{}
}

// run sends a packet to a table. It goes on with tracked as its ct_state.
func (m *machine) run(p packet, table uint8, tracked ovs.FieldMatch) (outcome, error) {
	var o outcome
	for step := 0; ; step++ {
		if step > 20 {
			return o, fmt.Errorf("loop: %v", o.path)
		}
		if m.tables[table] == nil {
			o.table = table
			return o, nil
		}
		f, ok := m.lookup(table, p)
		if !ok {
			return o, nil
		}
		o.path = append(o.path, f)
		next := -1
		for _, a := range f.Actions {
			switch a := a.(type) {
			case ovs.CTAction:
				if a.Commit {
					o.committed++
				}
				if a.HasTable {
					p[tracked.Field] = tracked.Value
					next = int(a.Table)
				}
			case ovs.GotoAction:
				next = int(a.Table)
			case ovs.ControllerAction:
				o.copies++
			case ovs.ResubmitAction:
				next = int(a.Table)
			case ovs.SetFieldAction:
				for _, f := range ovs.NewMatch(a.FieldMatch).Fields() { // an xxreg as registers
					v := p[f.Field]
					for i := range v {
						v[i] = v[i]&^f.Mask[i] | f.Value[i]
					}
					p[f.Field] = v
				}
			default:
				return o, fmt.Errorf("action %s", a)
			}
		}
		if next < 0 {
			return o, nil
		}
		table = uint8(next)
	}
}

func clauses(f ovs.Flow) bool {
	if len(f.Actions) == 0 {
		return false
	}
	_, ok := f.Actions[0].(ovs.ConjunctionAction)
	return ok
}

func (m *machine) lookup(table uint8, p packet) (ovs.Flow, bool) {
	var prios []uint16
	for _, f := range m.tables[table] {
		if p.matches(f.Match) && !slices.Contains(prios, f.Priority) {
			prios = append(prios, f.Priority)
		}
	}
	for _, prio := range prios {
		if f, ok := m.hard(table, p, prio); ok {
			return f, true
		}
		if id, ok := m.conjunction(table, p, prio); ok {
			q := packet{}
			for k, v := range p {
				q[k] = v
			}
			q[ovs.FieldConjID] = ovs.ConjID(id).Value
			for _, prio := range prios {
				if f, ok := m.hard(table, q, prio); ok {
					return f, true
				}
			}
		}
	}
	return ovs.Flow{}, false
}

func (m *machine) hard(table uint8, p packet, prio uint16) (ovs.Flow, bool) {
	for _, f := range m.tables[table] {
		if f.Priority == prio && !clauses(f) && p.matches(f.Match) {
			return f, true
		}
	}
	return ovs.Flow{}, false
}

func (m *machine) conjunction(table uint8, p packet, prio uint16) (uint32, bool) {
	met := map[uint32]map[uint8]bool{}
	for _, f := range m.tables[table] {
		if f.Priority != prio || !clauses(f) || !p.matches(f.Match) {
			continue
		}
		for _, a := range f.Actions {
			c := a.(ovs.ConjunctionAction)
			if met[c.ID] == nil {
				met[c.ID] = map[uint8]bool{}
			}
			met[c.ID][c.Clause] = true
			if len(met[c.ID]) == int(c.N) {
				return c.ID, true
			}
		}
	}
	return 0, false
}
