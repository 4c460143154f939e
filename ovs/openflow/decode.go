package openflow

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// A flowReader reads descriptions of flows. Matches of a reply share their
// memory, lists of actions that of their neighbours; flows that do the same
// share the list where it was read lately. The zero value is ready for use.
type flowReader struct {
	matches ovs.MatchReader
	slab    []ovs.Action
	flows   int // how many were read
	recent  *recent
}

// rememberFrom is after how many flows a flowReader remembers; fewer are not
// worth the memory.
const rememberFrom = 64

// recent is what was read lately, in the place that the hash of its bytes gives it.
type recent struct {
	seed    maphash.Seed
	actions [512]recentAction
	lists   [1024]recentList
}

type recentAction struct {
	action ovs.Action
	wire   [88]byte // as long as action's length in it says
}

// A recentList is all actions of a flow.
type recentList struct {
	list []ovs.Action
	wire []byte // of at most maxRecentList
}

const maxRecentList = 256

// read appends the flows of a description reply's body to out.
func (d *flowReader) read(out []FlowStat, b []byte) ([]FlowStat, error) {
	from := len(out)
	for len(b) > 0 {
		if len(b) < 32 {
			return out, malformed("flow description of %d bytes", len(b))
		}
		n := int(be.Uint16(b))
		if n < 32 || n > len(b) {
			return out, malformed("flow description of length %d", n)
		}
		out = append(out, FlowStat{})
		if err := d.flow(&out[len(out)-1], b[:n]); err != nil {
			return out, err
		}
		b = b[n:]
	}
	d.matches.Flush(func(i int, m ovs.Match) { out[from+i].Flow.Match = m })
	return out, nil
}

// flow reads a description (section 7.3.5.2), which is b; its match comes with Flush.
func (d *flowReader) flow(s *FlowStat, b []byte) error {
	f := &s.Flow
	f.Table = b[4]
	f.Priority, f.IdleTimeout, f.HardTimeout = be.Uint16(b[6:]), be.Uint16(b[8:]), be.Uint16(b[10:])
	f.Flags = ovs.FlowFlags(be.Uint16(b[12:]))
	f.Importance, f.Cookie = be.Uint16(b[14:]), be.Uint64(b[16:])
	b = b[24:]
	n := int(be.Uint16(b[2:]))
	if be.Uint16(b) != 1 || n < 4 || (n+7)&^7 > len(b) {
		return malformed("match of type %d, length %d", be.Uint16(b), n)
	}
	if err := d.matches.Add(b[4:n]); err != nil {
		return malformed("match: %v", err)
	}
	b, err := s.counters(b[(n+7)&^7:])
	if err != nil {
		return err
	}
	f.Actions, err = d.instructions(b)
	return err
}

// Fields of the counters of a flow (section 7.2.4.2).
const (
	oxsClass    = 0x8002
	oxsDuration = 0
	oxsPackets  = 4
	oxsBytes    = 5
)

// counters reads the counters and returns what is behind.
func (s *FlowStat) counters(b []byte) (rest []byte, err error) {
	if len(b) < 4 {
		return nil, malformed("counters of a flow are cut short")
	}
	n := int(be.Uint16(b[2:]))
	if n < 4 || (n+7)&^7 > len(b) {
		return nil, malformed("counters of a flow of length %d", n)
	}
	list, rest := b[4:n], b[(n+7)&^7:]
	for len(list) > 0 {
		if len(list) < 4 || 4+int(list[3]) > len(list) {
			return nil, malformed("counters of a flow are cut short")
		}
		class, field, v := be.Uint16(list), list[2]>>1, list[4:4+int(list[3])]
		list = list[4+len(v):]
		if class != oxsClass || len(v) != 8 {
			continue
		}
		switch field {
		case oxsDuration:
			s.Duration = time.Duration(be.Uint32(v))*time.Second + time.Duration(be.Uint32(v[4:]))
		case oxsPackets:
			s.Packets = be.Uint64(v)
		case oxsBytes:
			s.Bytes = be.Uint64(v)
		}
	}
	return rest, nil
}

// instructions reads the instructions of a flow (section 7.2.5) as a list of
// actions, in the order that they have effect in.
func (d *flowReader) instructions(b []byte) ([]ovs.Action, error) {
	if d.flows++; d.flows < rememberFrom || len(b) > maxRecentList {
		return d.readInstructions(b)
	}
	if d.recent == nil {
		d.recent = &recent{seed: maphash.MakeSeed()}
	}
	e := &d.recent.lists[maphash.Bytes(d.recent.seed, b)%uint64(len(d.recent.lists))]
	if e.wire != nil && bytes.Equal(e.wire, b) {
		return e.list, nil
	}
	list, err := d.readInstructions(b)
	if err == nil {
		e.list, e.wire = list, append(e.wire[:0], b...)
	}
	return list, err
}

func (d *flowReader) readInstructions(b []byte) ([]ovs.Action, error) {
	var applied []byte
	var write, metadata, next ovs.Action
	var cleared bool
	for len(b) > 0 {
		wire, rest, err := cutAction(b)
		if err != nil {
			return nil, err
		}
		switch typ := be.Uint16(wire); {
		case typ == instrApply && applied == nil:
			applied = wire[8:]
		case typ == instrGoto && next == nil:
			next = ovs.Goto(wire[4])
		case typ == instrMetadata && metadata == nil && len(wire) == 24:
			metadata = ovs.WriteMetadata(be.Uint64(wire[8:]), be.Uint64(wire[16:]))
		case typ == instrWrite && write == nil:
			list, err := readActions(wire[8:], 1)
			if err != nil {
				return nil, err
			}
			write = ovs.WriteActions(list...)
		case typ == instrClear && !cleared:
			cleared = true
		default:
			return nil, malformed("instruction of type %d, length %d", typ, len(wire))
		}
		b = rest
	}
	list := d.room()
	for len(applied) > 0 {
		wire, rest, err := cutAction(applied)
		if err != nil {
			return nil, err
		}
		if len(wire)%8 != 0 {
			return nil, malformed("action of length %d", len(wire))
		}
		a, err := d.action(wire)
		if err != nil {
			return nil, err
		}
		list, applied = append(list, a), rest
	}
	if cleared {
		list = append(list, ovs.ClearActions())
	}
	if write != nil {
		list = append(list, write)
	}
	if metadata != nil {
		list = append(list, metadata)
	}
	if next != nil {
		list = append(list, next)
	}
	return d.keep(list), nil
}

// readFlowCounters reads the counters that stand at r.
func readFlowCounters(r *reader, s *FlowStat) error {
	rest, err := s.counters(r.b)
	r.b = rest
	return err
}

// action reads an action, which is all of wire, or finds it among those read lately.
func (d *flowReader) action(wire []byte) (ovs.Action, error) {
	if d.recent == nil || len(wire) > len(recentAction{}.wire) {
		return readAction(wire, 0)
	}
	e := &d.recent.actions[maphash.Bytes(d.recent.seed, wire)%uint64(len(d.recent.actions))]
	if e.action != nil && bytes.Equal(e.wire[:len(wire)], wire) {
		return e.action, nil
	}
	a, err := readAction(wire, 0)
	if err == nil {
		e.action = a
		copy(e.wire[:], wire)
	}
	return a, err
}

// room returns an empty list at the end of the slab.
func (d *flowReader) room() []ovs.Action {
	const few = 16
	if cap(d.slab)-len(d.slab) < few {
		d.slab = make([]ovs.Action, 0, few*few)
	}
	return d.slab[len(d.slab):]
}

// keep takes what a list holds off the slab, unless it has outgrown it.
func (d *flowReader) keep(list []ovs.Action) []ovs.Action {
	if len(list) == 0 {
		return nil
	}
	if n := len(d.slab) + len(list); n <= cap(d.slab) && &d.slab[:n][n-1] == &list[len(list)-1] {
		d.slab = d.slab[:n]
	}
	return slices.Clip(list)
}
