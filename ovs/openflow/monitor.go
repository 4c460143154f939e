package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

const (
	multipartAggregate   = 2
	multipartFlowMonitor = 16
)

// A FlowFilter chooses flows. The zero value is all of them.
type FlowFilter struct {
	HasTable bool
	Table    uint8
	// OutPort and OutGroup choose flows that output there, unless 0.
	OutPort, OutGroup uint32
	// Cookie is compared in the bits of CookieMask.
	Cookie, CookieMask uint64
	// Match chooses flows that match no more than it does.
	Match ovs.Match
}

func (f FlowFilter) table() uint8 {
	if f.HasTable {
		return f.Table
	}
	return allTables
}

func (f FlowFilter) out() (port, group uint32) {
	port, group = anyPort, anyGroup
	if f.OutPort != 0 {
		port = f.OutPort
	}
	if f.OutGroup != 0 {
		group = f.OutGroup
	}
	return port, group
}

// request is the body of a question about flows (section 7.3.5.2).
func (f FlowFilter) request(xid uint32, kind uint16) []byte {
	port, group := f.out()
	b := zeros(be.AppendUint16(begin(nil, typeMultipartRequest, xid), kind), 6)
	b = zeros(append(b, f.table()), 3)
	b = zeros(be.AppendUint32(be.AppendUint32(b, port), group), 4)
	b = be.AppendUint64(be.AppendUint64(b, f.Cookie), f.CookieMask)
	return end(appendMatch(b, f.Match), 0)
}

// FilteredStats returns the flows that a filter chooses, with their counters.
func (c *Conn) FilteredStats(ctx context.Context, f FlowFilter) ([]FlowStat, error) {
	return dump(ctx, c, "dump-flows", multipartFlowDesc, func(xid uint32) []byte {
		return f.request(xid, multipartFlowDesc)
	}, older(c, OpenFlow15, readFlowStats, readOlderFlowStats))
}

// An Aggregate is the counters of several flows together (section 7.3.5.3).
type Aggregate struct {
	Flows          uint32
	Packets, Bytes uint64
}

// Aggregate returns the sums over the flows that a filter chooses.
func (c *Conn) Aggregate(ctx context.Context, f FlowFilter) (Aggregate, error) {
	list, err := dump(ctx, c, "dump-aggregate", multipartAggregate, func(xid uint32) []byte {
		return f.request(xid, multipartAggregate)
	}, func(b []byte) ([]Aggregate, error) {
		a, err := older(c, OpenFlow15, readAggregate, readOlderAggregate)(b)
		return []Aggregate{a}, err
	})
	return one("dump-aggregate", list, err)
}

func readAggregate(b []byte) (Aggregate, error) {
	const oxsFlows = 3
	r := reader{b: b}
	r.skip(2)
	n := int(r.u16())
	body := r.sub(n - 4)
	var a Aggregate
	for len(body.b) > 0 {
		class, field, size := body.u16(), body.u8()>>1, int(body.u8())
		v := body.sub(size)
		switch {
		case class != oxsClass:
		case field == oxsFlows && size == 4:
			a.Flows = v.u32()
		case field == oxsPackets && size == 8:
			a.Packets = v.u64()
		case field == oxsBytes && size == 8:
			a.Bytes = v.u64()
		}
	}
	if r.bad || body.bad {
		return a, malformed("aggregate of %d bytes", len(b))
	}
	return a, nil
}

// A FlowUpdate says that a monitor saw changes (section 7.3.5.19).
type FlowUpdate struct{ Changes []FlowChange }

func (FlowUpdate) event() {}

// A FlowChange is one of a FlowUpdate.
type FlowChange struct {
	Kind FlowChangeKind
	// Flow is without actions when it was removed.
	Flow   ovs.Flow
	Reason RemovedReason
	// XID is the transaction id of a request of this connection that made the
	// change, for FlowOwn.
	XID uint32
}

// A FlowChangeKind says what happened to a flow.
type FlowChangeKind uint16

// Kinds of FlowChange. Between FlowPaused and FlowResumed the switch had no
// room for more: flows that are gone may come as removed twice, others as added
// again.
const (
	FlowInitial FlowChangeKind = iota
	FlowAdded
	FlowGone
	FlowModified
	FlowOwn
	FlowPaused
	FlowResumed
)

// MonitorFlows returns the flows that a filter chooses, of whose cookie none
// is regarded, and has changes to them sent as [FlowUpdate] to the subscribers,
// until [Conn.CancelMonitor]. The id is the caller's choice. What this
// connection changes itself comes only as FlowOwn with a transaction id.
func (c *Conn) MonitorFlows(ctx context.Context, id uint32, f FlowFilter) ([]ovs.Flow, error) {
	const initial, add, removed, modify, instructions = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
	changes, err := c.monitor(ctx, "monitor", id, f, initial|add|removed|modify|instructions, 0)
	var flows []ovs.Flow
	for _, change := range changes {
		if change.Kind == FlowInitial || c.version < OpenFlow14 && change.Kind == FlowAdded {
			flows = append(flows, change.Flow)
		}
	}
	return flows, err
}

// CancelMonitor ends a monitor.
func (c *Conn) CancelMonitor(ctx context.Context, id uint32) error {
	if c.version < OpenFlow14 {
		return c.cancelMonitor13(ctx, id)
	}
	const cancel = 2
	_, err := c.monitor(ctx, "monitor-cancel", id, FlowFilter{}, 0, cancel)
	return err
}

// monitor sends a request and a barrier: Open vSwitch 3.1 garbles the refusal
// of a monitor, so that it can only be told by what is missing.
func (c *Conn) monitor(ctx context.Context, verb string, id uint32, f FlowFilter, flags uint16, command uint8) ([]FlowChange, error) {
	what := fmt.Sprintf("%s %d", verb, id)
	kind, read := uint16(multipartFlowMonitor), older(c, OpenFlow14, readFlowChanges, readFlowChanges13)
	if c.version < OpenFlow14 {
		kind = multipartExperimenter
	}
	about := func(i int) string { return [...]string{what, "barrier"}[i] }
	answered := false
	r := c.reserve(2, about, func(i, n int, typ uint8, body []byte) ([]byte, bool, error) {
		if i == 1 {
			return reply(typeBarrierReply, 0)(i, n, typ, body)
		}
		part, last, err := multipart(kind)(i, n, typ, body)
		answered = last
		return part, false, err
	})
	b := f.monitor(r.first, id, flags, command)
	if c.version < OpenFlow14 {
		b = monitor13(r.first, id, f, flags)
	}
	var out []FlowChange
	err := c.do(ctx, r, end(begin(b, typeBarrierRequest, r.last), len(b)), func(b []byte) error {
		part, err := read(b)
		out = append(out, part...)
		return err
	})
	if err == nil && !answered {
		err = &Error{Type: errorFlowMonitor, About: what}
	}
	return out, err
}

// monitor is a request about a monitor (section 7.3.5.19).
func (f FlowFilter) monitor(xid, id uint32, flags uint16, command uint8) []byte {
	port, group := f.out()
	b := multipartRequest(xid, multipartFlowMonitor, id, port, group)
	b = append(be.AppendUint16(b, flags), f.table(), command)
	return end(appendMatch(b, f.Match), 0)
}

// readFlowUpdate reads a reply that nobody asked for, with its header.
func readFlowUpdate(b []byte) (Event, error) {
	changes, err := readFlowChanges(b[8:])
	if err != nil {
		return nil, err
	}
	return FlowUpdate{changes}, nil
}

func readFlowChanges(b []byte) ([]FlowChange, error) {
	r := reader{b: b}
	var out []FlowChange
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		change := FlowChange{Kind: FlowChangeKind(e.u16())}
		if r.bad || n < 8 {
			return nil, malformed("flow update of length %d", n)
		}
		var err error
		switch {
		case change.Kind == FlowOwn:
			change.XID = e.u32()
		case change.Kind < FlowOwn:
			err = readFlowChange(&e, &change)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, change)
	}
	return out, nil
}

func readFlowChange(e *reader, change *FlowChange) error {
	f := &change.Flow
	f.Table, change.Reason = e.u8(), RemovedReason(e.u8())
	f.IdleTimeout, f.HardTimeout, f.Priority = e.u16(), e.u16(), e.u16()
	e.skip(4)
	f.Cookie = e.u64()
	var err error
	if f.Match, err = readMatch(e); err == nil {
		f.Actions, err = readInstructions(e.b)
	}
	return err
}
