package openflow

import (
	"context"
	"fmt"
)

// Flow monitors of OpenFlow 1.3 are the ONF's (EXT-187).
const (
	multipartExperimenter = 0xffff

	onfFlowMonitor = 1870 // of a multipart, and of the message that cancels
	onfPaused      = 1871
	onfResumed     = 1872
)

// monitor13 asks for a monitor.
func monitor13(xid, id uint32, f FlowFilter, flags uint16) []byte {
	port, _ := f.out()
	match := appendMatch(nil, f.Match)
	b := multipartRequest(xid, multipartExperimenter, onf, onfFlowMonitor, id)
	b = be.AppendUint16(be.AppendUint16(b, flags), be.Uint16(match[2:]))
	b = append(be.AppendUint32(b, port), f.table(), 0, 0, 0)
	return end(append(b, match...), 0)
}

func (c *Conn) cancelMonitor13(ctx context.Context, id uint32) error {
	return c.confirmed(ctx, fmt.Sprintf("monitor-cancel %d", id), func(xid uint32) ([]byte, error) {
		b := be.AppendUint32(be.AppendUint32(begin(nil, typeExperimenter, xid), onf), onfFlowMonitor)
		return end(be.AppendUint32(b, id), 0), nil
	})
}

// isMonitor13 reports whether a multipart reply, with its header, is of a monitor.
func isMonitor13(b []byte) bool {
	return len(b) >= 16 && be.Uint16(b) == multipartExperimenter && be.Uint32(b[8:]) == onf && be.Uint32(b[12:]) == onfFlowMonitor
}

// readFlowUpdate13 reads a reply that nobody asked for, with its header.
func readFlowUpdate13(b []byte) (Event, error) {
	changes, err := readFlowChanges13(b[8:])
	if err != nil {
		return nil, err
	}
	return FlowUpdate{changes}, nil
}

// readFlowChanges13 reads changes behind the ONF's header.
func readFlowChanges13(b []byte) ([]FlowChange, error) {
	r := reader{b: b}
	r.skip(8)
	var out []FlowChange
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		event := int(e.u16())
		kinds := [...]FlowChangeKind{FlowAdded, FlowGone, FlowModified, FlowOwn}
		if r.bad || n < 8 || event >= len(kinds) {
			return nil, malformed("flow update of length %d, event %d", n, event)
		}
		change := FlowChange{Kind: kinds[event]}
		if change.Kind == FlowOwn {
			change.XID = e.u32()
		} else if err := readFlowChange13(&e, &change); err != nil {
			return nil, err
		}
		out = append(out, change)
	}
	if r.bad {
		return nil, malformed("flow update of %d bytes", len(b))
	}
	return out, nil
}

func readFlowChange13(e *reader, change *FlowChange) error {
	f := &change.Flow
	change.Reason, f.Priority = RemovedReason(e.u16()), e.u16()
	f.IdleTimeout, f.HardTimeout = e.u16(), e.u16()
	e.skip(2) // length of the match, which it says itself
	f.Table = e.u8()
	e.skip(1)
	f.Cookie = e.u64()
	var err error
	if f.Match, err = readMatch(e); err == nil {
		f.Actions, err = readOlderInstructions(e.b)
	}
	return err
}

// readExperimenter reads an event that the standard does not have.
func readExperimenter(b []byte) (Event, error) {
	if be.Uint32(b) == nicira {
		return readPacketIn2(b)
	}
	kind := FlowPaused
	if be.Uint32(b[4:]) == onfResumed {
		kind = FlowResumed
	}
	return FlowUpdate{[]FlowChange{{Kind: kind}}}, nil
}
