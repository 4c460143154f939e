package policyovs

import (
	"cmp"
	"sync"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A world is what an Agent knows of what is in force.
type world struct {
	l    Layout
	prog *policy.Program
	ids  map[uint32]string // of ports, by key
	// byNumber are the rules with a number in their cookie, nearly always parts
	// of one; byName all parts of a rule.
	byNumber map[numbered][]*policy.ProgramRule
	byName   map[named]*policy.ProgramRule

	mu     sync.Mutex // protects what follows
	tables map[uint32]*policy.Table
}

type numbered struct {
	dir    policy.Direction
	number uint32
}

type named struct {
	dir           policy.Direction
	section, rule string
}

func newWorld(l Layout, p *policy.Program, ports []Port) *world {
	w := &world{
		l: l, prog: p, ids: map[uint32]string{}, tables: map[uint32]*policy.Table{},
		byNumber: map[numbered][]*policy.ProgramRule{}, byName: map[named]*policy.ProgramRule{},
	}
	for _, port := range ports {
		w.ids[port.Key] = port.ID
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		n := numbered{r.Direction, ovs.CookieObject(l.RuleCookie(*r))}
		w.byNumber[n] = append(w.byNumber[n], r)
		w.byName[named{r.Direction, r.Section, r.Rule}] = r
	}
	return w
}

// rule returns the rule that decided about a packet, as its number says; nil if
// none did, or one that is no more.
func (w *world) rule(c copied, k policy.Packet) *policy.ProgramRule {
	list := w.byNumber[numbered{c.dir, c.number}]
	if c.number == 0 || len(list) == 0 {
		return nil
	}
	for _, r := range list[1:] {
		if r.Section == list[0].Section && r.Rule == list[0].Rule {
			continue
		}
		// Two rules have one number: the one that the packet matches it is.
		some := policy.Program{Sets: w.prog.Sets}
		for _, r := range list {
			some.Rules = append(some.Rules, *r)
		}
		d := some.Eval(k)
		if v := cmp.Or(d.Egress, d.Ingress); v != nil && v.Section != "" {
			return w.byName[named{c.dir, v.Section, v.Rule}]
		}
		return nil
	}
	return list[0]
}

// at returns a packet as one at the deciding port alone.
func (w *world) at(dir policy.Direction, key uint32, k policy.Packet) policy.Packet {
	k.SrcPort, k.DstPort = "", ""
	if dir == policy.Egress {
		k.SrcPort = w.ids[key]
	} else {
		k.DstPort = w.ids[key]
	}
	return k
}

// lookup returns what is decided now about a packet at a port, and the rule.
func (w *world) lookup(dir policy.Direction, key uint32, k policy.Packet) (policy.Verdict, *policy.ProgramRule) {
	w.mu.Lock()
	t := w.tables[key]
	if t == nil {
		t = w.prog.Table(w.ids[key])
		w.tables[key] = t
	}
	w.mu.Unlock()
	v := t.Lookup(dir, &k)
	return v, w.byName[named{dir, v.Section, v.Rule}]
}
