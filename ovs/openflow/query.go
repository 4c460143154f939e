package openflow

import (
	"bytes"
	"context"

	"github.com/tierloom/tierloom/ovs"
)

// Flows implements ovs.Switch. A flow with a match or instruction that package
// ovs cannot say is an [ErrMalformed]; an action is an ovs.UnknownAction. The
// flows may share their lists of actions, which must not be changed.
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
	return c.FilteredStats(ctx, FlowFilter{Cookie: cookie, CookieMask: mask})
}

// Groups implements ovs.Switch.
func (c *Conn) Groups(ctx context.Context) ([]ovs.Group, error) {
	return dump(ctx, c, "dump-groups", multipartGroupDesc, func(xid uint32) []byte {
		if c.version < OpenFlow15 {
			return multipartRequest(xid, multipartGroupDesc)
		}
		return appendGroupRequest(nil, xid, multipartGroupDesc)
	}, older(c, OpenFlow15, readGroups, readOlderGroups))
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
		if c.version < OpenFlow15 {
			return multipartRequest(xid, multipartPortDesc)
		}
		return appendPortRequest(nil, xid, multipartPortDesc)
	}, older(c, OpenFlow14, readPorts, readPorts13))
}

// PortStats returns the counters of all ports.
func (c *Conn) PortStats(ctx context.Context) ([]PortStat, error) {
	return dump(ctx, c, "dump-ports", multipartPortStats, func(xid uint32) []byte {
		return appendPortRequest(nil, xid, multipartPortStats)
	}, older(c, OpenFlow14, readPortStats, readPortStats13))
}

// older returns how to read what a version changed.
func older[T any](c *Conn, since Version, now, before func([]byte) (T, error)) func([]byte) (T, error) {
	if c.version < since {
		return before
	}
	return now
}

// Features are what a switch says of itself (section 7.3.1).
type Features struct {
	DatapathID   uint64
	Buffers      uint32 // packets it keeps for us
	Tables       uint8
	Auxiliary    uint8 // number of this connection, 0 is the main one
	Capabilities Capabilities
}

// Capabilities are what a switch can do.
type Capabilities uint32

// Bits of Capabilities.
const (
	CanFlowStats    Capabilities = 1 << 0
	CanTableStats   Capabilities = 1 << 1
	CanPortStats    Capabilities = 1 << 2
	CanGroupStats   Capabilities = 1 << 3
	CanReassemble   Capabilities = 1 << 5
	CanQueueStats   Capabilities = 1 << 6
	CanBlockPorts   Capabilities = 1 << 8
	CanBundles      Capabilities = 1 << 9
	CanMonitorFlows Capabilities = 1 << 10
)

// Features asks the switch what it is.
func (c *Conn) Features(ctx context.Context) (Features, error) {
	var f Features
	err := c.ask(ctx, "features", reply(typeFeaturesReply, 24), func(xid uint32) []byte {
		return end(begin(nil, typeFeaturesRequest, xid), 0)
	}, func(b []byte) error {
		r := reader{b: b}
		f = Features{DatapathID: r.u64(), Buffers: r.u32(), Tables: r.u8(), Auxiliary: r.u8()}
		r.skip(2)
		f.Capabilities = Capabilities(r.u32())
		return nil
	})
	return f, err
}

// A Description is what a switch and its makers call it (section 7.3.5.1).
type Description struct{ Manufacturer, Hardware, Software, Serial, Datapath string }

// Describe asks what the switch is called.
func (c *Conn) Describe(ctx context.Context) (Description, error) {
	list, err := dump(ctx, c, "dump-desc", multipartDesc, func(xid uint32) []byte {
		return multipartRequest(xid, multipartDesc)
	}, readDescription)
	return one("dump-desc", list, err)
}

const multipartDesc = 0

func readDescription(b []byte) ([]Description, error) {
	r := reader{b: b}
	text := func(n int) string {
		s, _, _ := bytes.Cut(r.take(n), []byte{0})
		return string(s)
	}
	d := Description{text(256), text(256), text(256), text(32), text(256)}
	if r.bad {
		return nil, malformed("description of %d bytes", len(b))
	}
	return []Description{d}, nil
}

// Echo returns when the switch has sent the bytes back: a round trip.
func (c *Conn) Echo(ctx context.Context, payload []byte) error {
	if len(payload) > maxLen-headerLen {
		payload = payload[:maxLen-headerLen]
	}
	return c.ask(ctx, "echo", reply(typeEchoReply, len(payload)), func(xid uint32) []byte {
		return end(append(begin(nil, typeEchoRequest, xid), payload...), 0)
	}, func(b []byte) error {
		if !bytes.Equal(b, payload) {
			return malformed("echo of %d bytes differs", len(payload))
		}
		return nil
	})
}

// Barrier returns when the switch has handled all that came before.
func (c *Conn) Barrier(ctx context.Context) error {
	return c.ask(ctx, "barrier", reply(typeBarrierReply, 0), func(xid uint32) []byte {
		return end(begin(nil, typeBarrierRequest, xid), 0)
	}, nil)
}
