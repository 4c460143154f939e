package openflow

import (
	"fmt"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// What OpenFlow 1.3 and 1.4 lay out otherwise than 1.5. Messages are encoded
// as those of 1.5 and then rewritten; send gives them their version.

// appendOlderFlowMod appends a flow-mod whose actions are said as before 1.5.
func appendOlderFlowMod(b []byte, xid uint32, command uint8, f *ovs.Flow, v Version) ([]byte, error) {
	start := len(b)
	if f.Importance != 0 && v == OpenFlow13 {
		return b, fmt.Errorf("openflow: flow %s: %s: importance needs %s", f, v, OpenFlow14)
	}
	b, err := appendFlowMod(b, xid, command, f)
	if err != nil {
		return b, err
	}
	const fixed = 48
	match := start + fixed
	at := match + (int(be.Uint16(b[match+2:]))+7)/8*8
	instructions := slices.Clone(b[at:])
	b, err = olderInstructions(b[:at], instructions)
	if err == nil && len(b)-start > maxLen {
		err = fmt.Errorf("%d bytes, a message holds %d", len(b)-start, maxLen)
	}
	if err != nil {
		return b, fmt.Errorf("openflow: flow %s: %s: %w", f, v, err)
	}
	return end(b, start), nil
}

// instrMeter sends a packet through a meter before all else. Since 1.5 that is
// an action.
const instrMeter = 6

// olderInstructions appends instructions.
func olderInstructions(b, list []byte) ([]byte, error) {
	for len(list) > 0 {
		one, rest, err := cutAction(list)
		if err != nil {
			return b, err
		}
		list = rest
		typ := be.Uint16(one)
		if typ != instrApply && typ != instrWrite {
			b = append(b, one...)
			continue
		}
		head, actions := one[:8], one[8:]
		if len(actions) >= 8 && be.Uint16(actions) == actMeter {
			b = append(append(b, 0, instrMeter, 0, 8), actions[4:8]...)
			if actions = actions[8:]; len(actions) == 0 {
				continue
			}
		}
		start := len(b)
		if b, err = olderActions(append(b, head...), actions); err != nil {
			return b, err
		}
		be.PutUint16(b[start+2:], uint16(len(b)-start))
	}
	return b, nil
}

// readOlderInstructions reads instructions with a meter among them as the
// action that it is since 1.5.
func readOlderInstructions(b []byte) ([]ovs.Action, error) {
	var others []byte
	var meter []ovs.Action
	for len(b) > 0 {
		one, rest, err := cutAction(b)
		if err != nil {
			return nil, err
		}
		if b = rest; be.Uint16(one) == instrMeter {
			meter = append(meter, ovs.Meter(be.Uint32(one[4:])))
		} else {
			others = append(others, one...)
		}
	}
	list, err := readInstructions(others)
	return append(meter, list...), err
}

// Lengths of what precedes the actions within these actions of Nicira's.
var nestedAt = map[uint16]int{nxCT: 24, nxClone: 16}

// olderActions appends actions. What 1.5 gained has a counterpart of Nicira's:
// copy-field is reg_move, set-field with a mask is reg_load2.
func olderActions(b, list []byte) ([]byte, error) {
	for len(list) > 0 {
		one, rest, err := cutAction(list)
		if err != nil {
			return b, err
		}
		start := len(b)
		if b, err = olderAction(b, be.Uint16(one), one); err != nil {
			return b, err
		}
		b = pad(b, start)
		be.PutUint16(b[start+2:], uint16(len(b)-start))
		list = rest
	}
	return b, nil
}

// olderAction appends one of at least 8 bytes; its caller pads it and sets its
// length.
func olderAction(b []byte, typ uint16, one []byte) ([]byte, error) {
	n := len(one)
	switch {
	case typ == actMeter:
		return b, fmt.Errorf("meter that is not the first action needs %s", OpenFlow15)
	case typ == actCopyField && n >= 20:
		b = appendNiciraAction(b, nxRegMove)
		b = append(b, one[4:10]...) // how many bits, from and to where
		return append(b, one[12:]...), nil
	case typ == actSetField && one[6]&1 == 1 && 8+int(one[7]) <= n:
		b = appendNiciraAction(b, nxRegLoad2)
		return append(b, one[4:8+int(one[7])]...), nil // the field, without padding
	case typ == actExperimenter && n >= 16 && be.Uint32(one[4:]) == nicira:
		if at, ok := nestedAt[be.Uint16(one[8:])]; ok && at <= n {
			return olderActions(append(b, one[:at]...), one[at:])
		}
	}
	return append(b, one...), nil
}

func appendNiciraAction(b []byte, subtype uint16) []byte {
	return be.AppendUint16(be.AppendUint32(append(b, 0xff, 0xff, 0, 0), nicira), subtype)
}

// appendOlderGroupMod appends a group-mod (OpenFlow 1.3.5, section 7.3.4.2).
func appendOlderGroupMod(b []byte, xid uint32, command uint16, g *ovs.Group, v Version) ([]byte, error) {
	if g.Selection != "" {
		return b, fmt.Errorf("openflow: group %d: %s: selection method %q needs %s", g.ID, v, g.Selection, OpenFlow15)
	}
	start := len(b)
	b = be.AppendUint16(begin(b, typeGroupMod, xid), command)
	b = be.AppendUint32(append(b, byte(g.Type), 0), g.ID)
	for i := range g.Buckets {
		var err error
		if b, err = appendOlderBucket(b, g.Type, &g.Buckets[i]); err != nil {
			return b, fmt.Errorf("openflow: group %d: %s: %w", g.ID, v, err)
		}
	}
	if len(b)-start > maxLen {
		return b, fmt.Errorf("openflow: group %d: %d bytes, a message holds %d", g.ID, len(b)-start, maxLen)
	}
	return end(b, start), nil
}

func appendOlderBucket(b []byte, t ovs.GroupType, k *ovs.Bucket) ([]byte, error) {
	start := len(b)
	weight, watch := uint16(0), uint32(anyPort)
	if t == ovs.Select {
		weight = k.Weight
	}
	if k.WatchPort != 0 {
		watch = k.WatchPort
	}
	b = be.AppendUint16(append(b, 0, 0), weight)
	b = zeros(be.AppendUint32(be.AppendUint32(b, watch), anyGroup), 4)
	list, err := appendActions(nil, k.Actions)
	if err != nil {
		return b, err
	}
	if b, err = olderActions(b, list); err != nil {
		return b, err
	}
	be.PutUint16(b[start:], uint16(len(b)-start))
	return b, nil
}

// readOlderFlowStats reads the body of a flow statistics reply
// (OpenFlow 1.3.5, section 7.3.5.2).
func readOlderFlowStats(b []byte) ([]FlowStat, error) {
	r := reader{b: b}
	var out []FlowStat
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		if r.bad || n < 56 {
			return nil, malformed("flow of length %d", n)
		}
		var s FlowStat
		f := &s.Flow
		f.Table = e.u8()
		e.skip(1)
		s.Duration = e.duration()
		f.Priority, f.IdleTimeout, f.HardTimeout, f.Flags = e.u16(), e.u16(), e.u16(), ovs.FlowFlags(e.u16())
		f.Importance = e.u16() // since 1.4
		e.skip(2)
		f.Cookie, s.Packets, s.Bytes = e.u64(), e.u64(), e.u64()
		var err error
		if f.Match, err = readMatch(&e); err != nil {
			return nil, err
		}
		if f.Actions, err = readOlderInstructions(e.b); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// readOlderGroups reads the body of a group description reply
// (OpenFlow 1.3.5, section 7.3.5.9). The id of a bucket is its place.
func readOlderGroups(b []byte) ([]ovs.Group, error) {
	r := reader{b: b}
	var out []ovs.Group
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		g := ovs.Group{Type: ovs.GroupType(e.u8())}
		e.skip(1)
		g.ID = e.u32()
		for len(e.b) > 0 {
			k, err := readOlderBucket(&e)
			if err != nil {
				return nil, err
			}
			k.ID = uint32(len(g.Buckets))
			g.Buckets = append(g.Buckets, k)
		}
		if r.bad || e.bad {
			return nil, malformed("group of length %d", n)
		}
		out = append(out, g)
	}
	return out, nil
}

func readOlderBucket(r *reader) (ovs.Bucket, error) {
	n := int(r.u16())
	body := r.sub(n - 2)
	k := ovs.Bucket{Weight: body.u16(), WatchPort: body.u32()}
	body.skip(8)
	if k.WatchPort == anyPort {
		k.WatchPort = 0
	}
	if r.bad || body.bad {
		return k, malformed("bucket of length %d", n)
	}
	var err error
	k.Actions, err = readActions(body.b, 0)
	return k, err
}

// readOlderFlowRemoved reads what [readFlowRemoved] does, before 1.5
// (OpenFlow 1.3.5, section 7.4.2).
func readOlderFlowRemoved(b []byte) (Event, error) {
	r := reader{b: b}
	var e FlowRemoved
	f := &e.Flow
	f.Cookie, f.Priority, e.Reason, f.Table = r.u64(), r.u16(), RemovedReason(r.u8()), r.u8()
	e.Duration = r.duration()
	f.IdleTimeout, f.HardTimeout, e.Packets, e.Bytes = r.u16(), r.u16(), r.u64(), r.u64()
	f.Flags = ovs.SendFlowRemoved
	var err error
	if f.Match, err = readMatch(&r); err != nil {
		return nil, err
	}
	return e, nil
}

// readOlderAggregate reads sums (OpenFlow 1.3.5, section 7.3.5.3).
func readOlderAggregate(b []byte) (Aggregate, error) {
	r := reader{b: b}
	var a Aggregate
	if a.Packets, a.Bytes, a.Flows = r.u64(), r.u64(), r.u32(); r.bad {
		return a, malformed("aggregate of %d bytes", len(b))
	}
	return a, nil
}

// readPorts13 reads ports of a fixed length (OpenFlow 1.3.5, section 7.2.1).
func readPorts13(b []byte) ([]Port, error) {
	const size = 64
	var out []Port
	for ; len(b) >= size; b = b[size:] {
		// As those of 1.4, but for a length in their place of padding, and
		// features behind.
		p := slices.Clone(b[:40])
		be.PutUint16(p[4:], 40)
		ports, err := readPorts(p)
		if err != nil {
			return nil, err
		}
		out = append(out, ports...)
	}
	if len(b) > 0 {
		return nil, malformed("%d bytes of a port", len(b))
	}
	return out, nil
}

// readPortStats13 reads counters of a fixed length (OpenFlow 1.3.5,
// section 7.3.5.6).
func readPortStats13(b []byte) ([]PortStat, error) {
	r := reader{b: b}
	var out []PortStat
	for len(r.b) > 0 {
		s := PortStat{Number: r.u32()}
		r.skip(4)
		s.readCounters(&r)
		r.skip(4 * 8) // kinds of errors
		if s.Duration = r.duration(); r.bad {
			return nil, malformed("counters of a port are cut short")
		}
		out = append(out, s)
	}
	return out, nil
}

// readQueueStats13 reads counters of a fixed length (OpenFlow 1.3.5,
// section 7.3.5.8).
func readQueueStats13(b []byte) ([]QueueStat, error) {
	r := reader{b: b}
	var out []QueueStat
	for len(r.b) > 0 {
		s := readQueueStat(&r)
		if r.bad {
			return nil, malformed("counters of a queue are cut short")
		}
		out = append(out, s)
	}
	return out, nil
}

// readAsync13 reads masks: of three kinds, each for a primary and a secondary
// (OpenFlow 1.3.5, section 7.3.10).
func readAsync13(b []byte) (primary, secondary Async, err error) {
	r := reader{b: b}
	for i := range 3 {
		*primary.masks()[i], *secondary.masks()[i] = r.u32(), r.u32()
	}
	if r.bad {
		err = malformed("async of %d bytes", len(b))
	}
	return primary, secondary, err
}

func appendAsync13(b []byte, primary, secondary Async) ([]byte, error) {
	for i, m := range primary.masks() {
		if i >= 3 && *m|*secondary.masks()[i] != 0 {
			return nil, fmt.Errorf("openflow: set-async: role, table and forwarding messages need %s", OpenFlow14)
		}
		if i < 3 {
			b = be.AppendUint32(be.AppendUint32(b, *m), *secondary.masks()[i])
		}
	}
	return end(b, 0), nil
}
