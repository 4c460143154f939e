package openflow

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tierloom/tierloom/ovs"
)

// An Event is a message that the switch sends on its own: a [PacketIn],
// [FlowRemoved], [PortStatus], [TableStatus], [RoleStatus], [FlowUpdate],
// [GroupChanged] or [MeterChanged]; or [Lost], where some are missing.
type Event interface{ event() }

// Lost says that a subscriber was too slow: so many messages came between the
// event before and the one after, and are gone.
type Lost struct {
	PacketIns, FlowRemoved, PortStatus, TableStatus, RoleStatus, FlowUpdates, Forwarded int
}

func (Lost) event() {}

func (l *Lost) count(typ uint8) {
	counters := map[uint8]*int{
		typePacketIn: &l.PacketIns, typeExperimenter: &l.PacketIns, typeFlowRemoved: &l.FlowRemoved,
		typePortStatus: &l.PortStatus, typeTableStatus: &l.TableStatus, typeRoleStatus: &l.RoleStatus,
		typeMultipartReply: &l.FlowUpdates, typeForward: &l.Forwarded,
	}
	*counters[typ]++
}

// Asynchronous messages (sections 7.4 and 7.5).
const (
	typePacketIn    = 10
	typeFlowRemoved = 11
	typePortStatus  = 12
	typeRoleStatus  = 30
	typeTableStatus = 31
)

// A Subscription is a bounded queue of what the switch sends on its own. One
// goroutine may take from it at a time; Close may be called by any.
type Subscription struct {
	c    *Conn
	more chan struct{} // holds a token when something is in the queue
	quit chan struct{}

	mu     sync.Mutex // protects what follows; taken after that of the Conn
	max    int
	queue  []asyncMessage
	lost   Lost // behind the end of the queue
	closed bool
}

// An asyncMessage is not decoded before a subscriber takes it. typ 0 stands
// for lost.
type asyncMessage struct {
	typ  uint8
	body []byte
	lost Lost
}

// Subscribe returns a queue of at most max messages that the switch sends on
// its own from now on, and asks the switch to send them: a management
// connection gets none otherwise. Which kinds, and for which reasons, is set by
// [Conn.SetAsync]; packets come whole, as NXT_PACKET_IN2.
func (c *Conn) Subscribe(ctx context.Context, max int) (*Subscription, error) {
	if max < 1 {
		return nil, fmt.Errorf("openflow: subscribe: a queue of %d messages", max)
	}
	s := &Subscription{c: c, max: max, more: make(chan struct{}, 1), quit: make(chan struct{})}
	c.mu.Lock()
	c.subscribers = append(c.subscribers, s)
	c.mu.Unlock()
	err := c.setPacketInFormat(ctx)
	if err == nil {
		err = c.SetConfig(ctx, SwitchConfig{MissSendLen: NoBuffer})
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// setPacketInFormat asks for NXT_PACKET_IN2.
func (c *Conn) setPacketInFormat(ctx context.Context) error {
	const nxtSetPacketInFormat, packetIn2 = 16, 2
	return c.confirmed(ctx, "packet-in format", func(xid uint32) ([]byte, error) {
		return end(be.AppendUint32(beginNicira(xid, nxtSetPacketInFormat), packetIn2), 0), nil
	})
}

// Close ends the subscription and a Next that waits.
func (s *Subscription) Close() {
	s.c.mu.Lock()
	s.c.subscribers = slices.DeleteFunc(s.c.subscribers, func(o *Subscription) bool { return o == s })
	s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
}

// Next waits for an event and takes it. A message that cannot be read is an
// [ErrMalformed]; Next goes on behind it. When the connection has ended, or the
// subscription, what is queued comes first and then an [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if m, ok := s.take(); ok {
			e, err := s.c.readEvent(m)
			if err != nil {
				return nil, fmt.Errorf("openflow: event: %w", err)
			}
			return e, nil
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, fmt.Errorf("openflow: event: %w", context.Cause(ctx))
		case <-s.quit:
			return nil, fmt.Errorf("openflow: event: subscription: %w", ErrClosed)
		case <-s.c.quit:
			if m := s.empty(); m {
				return nil, s.c.reason()
			}
		}
	}
}

func (s *Subscription) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0 && s.lost == Lost{}
}

func (s *Subscription) take() (asyncMessage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		m := s.queue[0]
		s.queue[0] = asyncMessage{}
		s.queue = s.queue[1:]
		return m, true
	}
	if lost := s.lost; lost != (Lost{}) {
		s.lost = Lost{}
		return asyncMessage{lost: lost}, true
	}
	return asyncMessage{}, false
}

// put queues a message, or counts it as lost.
func (s *Subscription) put(typ uint8, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return
	case len(s.queue) >= s.max:
		s.lost.count(typ)
	default:
		if s.lost != (Lost{}) {
			s.queue = append(s.queue, asyncMessage{lost: s.lost})
			s.lost = Lost{}
		}
		s.queue = append(s.queue, asyncMessage{typ: typ, body: slices.Clone(body)})
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Messages of the ONF's, by which OpenFlow 1.3 has what 1.4 has.
const (
	onfRoleStatus = 1911
	onfForward    = 2350
)

// asynchronous tells what a switch sends on its own, whatever its transaction
// id, and returns it as the type and body of the standard's.
func asynchronous(h header, body []byte) (typ uint8, _ []byte, ok bool) {
	switch h.typ {
	case typePacketIn, typeFlowRemoved, typePortStatus, typeRoleStatus, typeTableStatus, typeForward:
		return h.typ, body, true
	case typeMultipartReply:
		return h.typ, body, h.xid == 0 && (len(body) >= 8 && be.Uint16(body) == multipartFlowMonitor || isMonitor13(body))
	case typeExperimenter:
		r := reader{b: body}
		switch experimenter, subtype := r.u32(), r.u32(); {
		case r.bad:
		case experimenter == nicira && subtype == nxtPacketIn2:
			return h.typ, body, true
		case experimenter == onf && (subtype == onfPaused || subtype == onfResumed):
			return h.typ, body, true
		case experimenter == onf && subtype == onfRoleStatus:
			return typeRoleStatus, r.b, true
		case experimenter == onf && subtype == onfForward:
			return typeForward, r.b, true
		}
	}
	return h.typ, body, false
}

func isNicira(body []byte, subtype uint32) bool {
	r := reader{b: body}
	return r.u32() == nicira && r.u32() == subtype && !r.bad
}

// beginNicira starts an experimenter message of Nicira's.
func beginNicira(xid, subtype uint32) []byte {
	return be.AppendUint32(be.AppendUint32(begin(nil, typeExperimenter, xid), nicira), subtype)
}

func (c *Conn) readEvent(m asyncMessage) (Event, error) {
	switch m.typ {
	case typePacketIn:
		return readPacketIn(m.body)
	case typeExperimenter:
		return readExperimenter(m.body)
	case typeFlowRemoved:
		return older(c, OpenFlow15, readFlowRemoved, readOlderFlowRemoved)(m.body)
	case typePortStatus:
		return readPortStatus(m.body, older(c, OpenFlow14, readPorts, readPorts13))
	case typeRoleStatus:
		return readRoleStatus(m.body)
	case typeTableStatus:
		return readTableStatus(m.body)
	case typeMultipartReply:
		return older(c, OpenFlow14, readFlowUpdate, readFlowUpdate13)(m.body)
	case typeForward:
		return readForward(m.body)
	}
	return m.lost, nil
}

// A PortStatus says that a port was added, deleted or changed (section 7.4.3).
type PortStatus struct {
	Reason PortReason
	Port   Port
}

func (PortStatus) event() {}

// A PortReason says what happened to a port.
type PortReason uint8

// Reasons of a PortStatus.
const (
	PortAdded PortReason = iota
	PortDeleted
	PortModified
)

func readPortStatus(b []byte, readPorts func([]byte) ([]Port, error)) (Event, error) {
	r := reader{b: b}
	reason := PortReason(r.u8())
	r.skip(7)
	ports, err := readPorts(r.b)
	if err == nil && (r.bad || len(ports) != 1) {
		err = malformed("port status of %d bytes", len(b))
	}
	if err != nil {
		return nil, err
	}
	return PortStatus{reason, ports[0]}, nil
}

// A FlowRemoved says that a flow went away which had ovs.SendFlowRemoved
// (section 7.4.2). The flow is without actions.
type FlowRemoved struct {
	Reason RemovedReason
	FlowStat
}

func (FlowRemoved) event() {}

// A RemovedReason says why a flow went away.
type RemovedReason uint8

// Reasons of a FlowRemoved.
const (
	RemovedIdle RemovedReason = iota
	RemovedHard
	RemovedDelete
	RemovedGroupDelete
	RemovedMeterDelete
	RemovedEviction
)

func readFlowRemoved(b []byte) (Event, error) {
	r := reader{b: b}
	var e FlowRemoved
	f := &e.Flow
	f.Table, e.Reason, f.Priority = r.u8(), RemovedReason(r.u8()), r.u16()
	f.IdleTimeout, f.HardTimeout, f.Cookie = r.u16(), r.u16(), r.u64()
	f.Flags = ovs.SendFlowRemoved
	var err error
	if f.Match, err = readMatch(&r); err != nil {
		return nil, err
	}
	if err := readFlowCounters(&r, &e.FlowStat); err != nil {
		return nil, err
	}
	return e, nil
}
