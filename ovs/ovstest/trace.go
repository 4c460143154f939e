package ovstest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tierloom/tierloom/ovs"
)

// TraceConfig says what a trace cannot know by itself. Its zero value is good.
type TraceConfig struct {
	// Choose returns the place of the bucket that a group of type select hands
	// the packet to; nil takes the first of the greatest weight.
	Choose func(g ovs.Group, p Packet) int
	// Down are ports that are not alive, for fast failover.
	Down map[uint32]bool
	// Length is that of the packet in bytes, for check_pkt_larger.
	Length int
}

// A Trace is what a switch does to a packet.
type Trace struct {
	Steps   []Step
	Outputs []Sent
	// Err says that the switch gives the packet up, having sent nothing: it
	// goes round, or an action has no model here ([errors.ErrUnsupported]).
	Err error
}

// A Step is the look of a packet into a table, or a part of what followed.
type Step struct {
	Depth int
	Table uint8
	Flow  *ovs.Flow // nil for a miss
	// Action is set on what an action did: the flow is that of the action.
	Action ovs.Action
}

// Sent is a packet that leaves by a port. [ovs.PortController] is one.
type Sent struct {
	Port   uint32
	Packet Packet
}

// String returns a line for each flow that was met, and what was sent.
func (t Trace) String() string {
	var b strings.Builder
	for _, s := range t.Steps {
		indent := strings.Repeat("    ", s.Depth)
		switch {
		case s.Action != nil:
			fmt.Fprintf(&b, "%s    %s\n", indent, s.Action)
		case s.Flow == nil:
			fmt.Fprintf(&b, "%s%d. no match: drop\n", indent, s.Table)
		default:
			fmt.Fprintf(&b, "%s%d. priority %d, %s, cookie %#x\n", indent, s.Table, s.Flow.Priority, s.Flow.Match, s.Flow.Cookie)
		}
	}
	if t.Err != nil {
		fmt.Fprintf(&b, "given up: %v\n", t.Err)
	}
	for _, o := range t.Outputs {
		fmt.Fprintf(&b, "port %d: %s\n", o.Port, o.Packet)
	}
	if len(t.Outputs) == 0 {
		b.WriteString("dropped\n")
	}
	return b.String()
}

// Bounds of Open vSwitch.
const (
	maxResubmitDepth = 64
	maxResubmits     = 4096
)

var (
	errTooDeep = errors.New("resubmits deeper than 64")
	errTooMany = errors.New("more than 4096 resubmits")
)

// Trace says what the bridge does to a packet. It changes nothing: connections
// that ct would commit are known to the rest of the trace alone, and flows that
// learn would add are not added.
func (b *Bridge) Trace(p Packet, cfg TraceConfig) Trace {
	t, _ := b.trace(p, cfg)
	return t
}

// Send is a Trace that leaves behind the connections which ct committed, so
// that later packets are of them.
func (b *Bridge) Send(p Packet, cfg TraceConfig) Trace {
	t, conns := b.trace(p, cfg)
	if t.Err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.conns = conns
	}
	return t
}

func (b *Bridge) trace(p Packet, cfg TraceConfig) (Trace, conntrack) {
	b.mu.Lock()
	r := &tracer{cfg: cfg, tables: byTable(b.flows), groups: b.groups, conns: b.conns.clone()}
	b.mu.Unlock()
	r.queue = []resumed{{p, 0}}
	for len(r.queue) > 0 && r.out.Err == nil {
		next := r.queue[0]
		r.queue = r.queue[1:]
		r.table(&walk{p: next.p}, next.table, 0)
	}
	if r.out.Err != nil {
		r.out.Outputs = nil
	}
	return r.out, r.conns
}

// A tracer takes one packet through the tables.
type tracer struct {
	cfg       TraceConfig
	tables    map[uint8]lookupTable
	groups    map[uint32]ovs.Group
	conns     conntrack
	out       Trace
	queue     []resumed // packets that connection tracking gave back
	resubmits int
}

type resumed struct {
	p     Packet
	table uint8
}

// A walk is a packet on its way. exit ends the flows that resubmitted, too.
type walk struct {
	p     Packet
	stack [][]byte
	exit  bool
}

// table does what the flow says that the packet meets.
func (r *tracer) table(w *walk, id uint8, depth int) {
	if depth > maxResubmitDepth {
		r.out.Err = errTooDeep
		return
	}
	f, ok := r.tables[id].find(w.p)
	if !ok {
		r.out.Steps = append(r.out.Steps, Step{Depth: depth, Table: id})
		return
	}
	r.out.Steps = append(r.out.Steps, Step{Depth: depth, Table: id, Flow: &f})
	r.actions(w, f.Actions, id, depth)
}

// resubmit looks the packet up in a table, as if it had come in by a port if
// that is not 0.
func (r *tracer) resubmit(w *walk, a ovs.ResubmitAction, table uint8, depth int) {
	if r.resubmits++; r.resubmits > maxResubmits {
		r.out.Err = errTooMany
		return
	}
	if a.Table != 255 {
		table = a.Table
	}
	in := w.p.get(ovs.FieldInPort)
	if a.Port != 0 && a.Port != ovs.PortInPort {
		w.p = w.p.write(ovs.InPort(a.Port))
	}
	r.table(w, table, depth+1)
	w.p = w.p.with(ovs.FieldInPort, in)
}

// group hands the packet to buckets, each of which has a copy; a bucket's
// actions are a set.
func (r *tracer) group(w *walk, id uint32, table uint8, depth int) {
	g := r.groups[id]
	for _, b := range r.buckets(g, w.p) {
		r.aside(w, actionSet(b.Actions), table, depth)
	}
}

// aside does actions to a copy of the packet.
func (r *tracer) aside(w *walk, list []ovs.Action, table uint8, depth int) {
	r.actions(&walk{p: w.p, stack: w.stack[:len(w.stack):len(w.stack)]}, list, table, depth+1)
}

func (r *tracer) buckets(g ovs.Group, p Packet) []ovs.Bucket {
	switch g.Type {
	case ovs.All:
		return g.Buckets
	case ovs.FastFailover:
		for _, b := range g.Buckets {
			if !r.cfg.Down[b.WatchPort] {
				return []ovs.Bucket{b}
			}
		}
		return nil
	case ovs.Select:
		choose := r.cfg.Choose
		if choose == nil {
			choose = heaviest
		}
		if i := choose(g, p); i >= 0 && i < len(g.Buckets) {
			return g.Buckets[i : i+1]
		}
		return nil
	}
	return g.Buckets[:min(1, len(g.Buckets))]
}

// heaviest returns the place of the first bucket of the greatest weight, or -1
// if none has any.
func heaviest(g ovs.Group, _ Packet) int {
	best := -1
	for i, b := range g.Buckets {
		if b.Weight > 0 && (best < 0 || b.Weight > g.Buckets[best].Weight) {
			best = i
		}
	}
	return best
}

func (r *tracer) output(w *walk, port uint32) {
	in := uint32(w.p.Uint(ovs.FieldInPort))
	switch {
	case port == ovs.PortInPort:
		port = in
	case port == in:
		return // a packet does not go back where it came from unless told to
	}
	if port == 0 {
		return // there is no such port
	}
	r.out.Outputs = append(r.out.Outputs, Sent{port, w.p})
}
