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
	return dump(ctx, c, "dump-flows", multipartFlowDesc, func(xid uint32) []byte {
		return appendFlowRequest(nil, xid, cookie, mask)
	}, readFlowStats)
}

// Groups implements ovs.Switch.
func (c *Conn) Groups(ctx context.Context) ([]ovs.Group, error) {
	return dump(ctx, c, "dump-groups", multipartGroupDesc, func(xid uint32) []byte {
		return appendGroupRequest(nil, xid, multipartGroupDesc)
	}, readGroups)
}

// GroupStats returns the counters of all groups.
func (c *Conn) GroupStats(ctx context.Context) ([]GroupStat, error) {
	return dump(ctx, c, "dump-group-stats", multipartGroupStats, func(xid uint32) []byte {
		return appendGroupRequest(nil, xid, multipartGroupStats)
	}, readGroupStats)
}

// PortDesc returns the ports of the bridge.
func (c *Conn) PortDesc(ctx context.Context) ([]Port, error) {
	return dump(ctx, c, "dump-ports-desc", multipartPortDesc, func(xid uint32) []byte {
		return appendPortRequest(nil, xid, multipartPortDesc)
	}, readPorts)
}

// PortStats returns the counters of all ports.
func (c *Conn) PortStats(ctx context.Context) ([]PortStat, error) {
	return dump(ctx, c, "dump-ports", multipartPortStats, func(xid uint32) []byte {
		return appendPortRequest(nil, xid, multipartPortStats)
	}, readPortStats)
}

// Features are what a switch says of itself (section 7.3.1).
type Features struct {
	DatapathID uint64
	Tables     uint8
}

// Features asks the switch what it is.
func (c *Conn) Features(ctx context.Context) (Features, error) {
	var f Features
	err := c.ask(ctx, "features", reply(typeFeaturesReply, 24), func(xid uint32) []byte {
		return end(begin(nil, typeFeaturesRequest, xid), 0)
	}, func(b []byte) error {
		r := reader{b: b}
		f.DatapathID = r.u64()
		r.skip(4)
		f.Tables = r.u8()
		return nil
	})
	return f, err
}

// Barrier returns when the switch has handled all that came before.
func (c *Conn) Barrier(ctx context.Context) error {
	return c.ask(ctx, "barrier", reply(typeBarrierReply, 0), func(xid uint32) []byte {
		return end(begin(nil, typeBarrierRequest, xid), 0)
	}, nil)
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
