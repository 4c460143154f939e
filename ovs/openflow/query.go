package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// Flows implements ovs.Switch. A flow with a match or instruction that package
// ovs cannot say is an [ErrMalformed]; an action is an ovs.UnknownAction.
func (c *Conn) Flows(ctx context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	stats, err := c.FlowStats(ctx, cookie, mask)
	if err != nil {
		return nil, err
	}
	flows := make([]ovs.Flow, len(stats))
	for i, s := range stats {
		flows[i] = s.Flow
	}
	return flows, nil
}

// FlowStats returns the flows whose cookie equals cookie in the bits of mask,
// with their counters.
func (c *Conn) FlowStats(ctx context.Context, cookie, mask uint64) ([]FlowStat, error) {
	return multipart(ctx, c, "dump-flows", func(xid uint32) []byte { return appendFlowRequest(nil, xid, cookie, mask) }, readFlowStats)
}

// Groups implements ovs.Switch.
func (c *Conn) Groups(ctx context.Context) ([]ovs.Group, error) {
	return multipart(ctx, c, "dump-groups", func(xid uint32) []byte {
		return appendGroupRequest(nil, xid, multipartGroupDesc)
	}, readGroups)
}

// GroupStats returns the counters of all groups.
func (c *Conn) GroupStats(ctx context.Context) ([]GroupStat, error) {
	return multipart(ctx, c, "dump-group-stats", func(xid uint32) []byte {
		return appendGroupRequest(nil, xid, multipartGroupStats)
	}, readGroupStats)
}

// PortDesc returns the ports of the bridge.
func (c *Conn) PortDesc(ctx context.Context) ([]Port, error) {
	return multipart(ctx, c, "dump-ports-desc", func(xid uint32) []byte {
		return appendPortRequest(nil, xid, multipartPortDesc)
	}, readPorts)
}

// PortStats returns the counters of all ports.
func (c *Conn) PortStats(ctx context.Context) ([]PortStat, error) {
	return multipart(ctx, c, "dump-ports", func(xid uint32) []byte {
		return appendPortRequest(nil, xid, multipartPortStats)
	}, readPortStats)
}

func multipart[T any](ctx context.Context, c *Conn, what string, ask func(xid uint32) []byte, read func([]byte) ([]T, error)) ([]T, error) {
	answers, err := c.do(ctx, 1, func(int) string { return what }, func(xid uint32) ([]byte, error) { return ask(xid), nil })
	if err != nil {
		return nil, err
	}
	var out []T
	for _, a := range answers {
		part, err := read(a)
		if err != nil {
			return nil, fmt.Errorf("openflow: %s: %w", what, err)
		}
		out = append(out, part...)
	}
	return out, nil
}

// Features are what a switch says of itself (section 7.3.1).
type Features struct {
	DatapathID uint64
	Tables     uint8
}

// Features asks the switch what it is.
func (c *Conn) Features(ctx context.Context) (Features, error) {
	answers, err := c.do(ctx, 1, func(int) string { return "features" }, func(xid uint32) ([]byte, error) {
		return end(begin(nil, typeFeaturesRequest, xid), 0), nil
	})
	if err != nil {
		return Features{}, err
	}
	if len(answers) != 1 {
		return Features{}, fmt.Errorf("openflow: features: %w", malformed("%d answers", len(answers)))
	}
	r := reader{b: answers[0]}
	f := Features{DatapathID: r.u64()}
	r.skip(4)
	f.Tables = r.u8()
	if r.bad {
		return Features{}, fmt.Errorf("openflow: features: %w", malformed("reply of %d bytes", len(answers[0])))
	}
	return f, nil
}

// Barrier returns when the switch has handled all that came before.
func (c *Conn) Barrier(ctx context.Context) error {
	_, err := c.do(ctx, 1, func(int) string { return "barrier" }, func(xid uint32) ([]byte, error) {
		return end(begin(nil, typeBarrierRequest, xid), 0), nil
	})
	return err
}

// confirmed sends one message and a barrier, for messages that are answered
// only when they are refused.
func (c *Conn) confirmed(ctx context.Context, what string, encode func(xid uint32) ([]byte, error)) error {
	about := func(i int) string { return [...]string{what, "barrier"}[i] }
	_, err := c.do(ctx, 2, about, func(xid uint32) ([]byte, error) {
		b, err := encode(xid)
		if err != nil {
			return nil, err
		}
		return end(begin(b, typeBarrierRequest, xid+1), len(b)), nil
	})
	return err
}

// nxtFlushZone is NXT_CT_FLUSH_ZONE.
const nxtFlushZone = 29

// FlushCTZone removes all connections of a conntrack zone.
func (c *Conn) FlushCTZone(ctx context.Context, zone uint16) error {
	return c.confirmed(ctx, fmt.Sprintf("flush of ct zone %d", zone), func(xid uint32) ([]byte, error) {
		b := be.AppendUint32(be.AppendUint32(begin(nil, typeExperimenter, xid), nicira), nxtFlushZone)
		return end(be.AppendUint16(zeros(b, 6), zone), 0), nil
	})
}

// PacketOut sends a frame through actions, as if it came in by inPort
// (section 7.3.6).
func (c *Conn) PacketOut(ctx context.Context, inPort uint32, frame []byte, actions ...ovs.Action) error {
	return c.confirmed(ctx, "packet-out", func(xid uint32) ([]byte, error) {
		list, err := appendActions(nil, actions)
		if err != nil {
			return nil, err
		}
		b := be.AppendUint32(begin(nil, typePacketOut, xid), noBuffer)
		b = append(be.AppendUint16(b, uint16(len(list))), 0, 0)
		b = appendMatch(b, ovs.NewMatch(ovs.InPort(inPort)))
		b = append(append(b, list...), frame...)
		if len(b) > maxLen {
			return nil, fmt.Errorf("openflow: packet-out: %d bytes, a message holds %d", len(b), maxLen)
		}
		return end(b, 0), nil
	})
}
