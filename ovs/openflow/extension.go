package openflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Messages of Nicira's.
const (
	nxtTLVTableMod     = 24
	nxtTLVTableRequest = 25
	nxtTLVTableReply   = 26
	nxtFlushZone       = 29
	nxtFlush           = 32
)

// A TunnelOption maps an option of a GENEVE header to a tun_metadata field.
type TunnelOption struct {
	Class  uint16
	Type   uint8
	Length uint8  // bytes, a multiple of 4
	Index  uint16 // of the field: tun_metadata<Index>
}

// A TunnelTable is what GENEVE options a bridge knows.
type TunnelTable struct {
	MaxSpace  uint32 // bytes of all options together
	MaxFields uint16
	Options   []TunnelOption
}

// AddTunnelOptions maps options to fields, all or none of them.
func (c *Conn) AddTunnelOptions(ctx context.Context, options ...TunnelOption) error {
	return c.tlvTableMod(ctx, "add-tlv-map", 0, options)
}

// DeleteTunnelOptions removes mappings, all or none of them. A field that a
// flow uses keeps its own.
func (c *Conn) DeleteTunnelOptions(ctx context.Context, options ...TunnelOption) error {
	return c.tlvTableMod(ctx, "del-tlv-map", 1, options)
}

// ClearTunnelOptions removes all mappings.
func (c *Conn) ClearTunnelOptions(ctx context.Context) error {
	return c.tlvTableMod(ctx, "clear-tlv-map", 2, nil)
}

func (c *Conn) tlvTableMod(ctx context.Context, verb string, command uint16, options []TunnelOption) error {
	if len(options) > 1000 { // a switch has 64 fields
		return fmt.Errorf("openflow: %s: %d options", verb, len(options))
	}
	return c.confirmed(ctx, verb, func(xid uint32) ([]byte, error) {
		b := zeros(be.AppendUint16(beginNicira(xid, nxtTLVTableMod), command), 6)
		for _, o := range options {
			b = append(be.AppendUint16(b, o.Class), o.Type, o.Length)
			b = append(be.AppendUint16(b, o.Index), 0, 0)
		}
		return end(b, 0), nil
	})
}

// TunnelOptions asks what GENEVE options the bridge knows.
func (c *Conn) TunnelOptions(ctx context.Context) (TunnelTable, error) {
	var t TunnelTable
	err := c.ask(ctx, "dump-tlv-map", niciraReply(nxtTLVTableReply), func(xid uint32) []byte {
		return end(beginNicira(xid, nxtTLVTableRequest), 0)
	}, func(b []byte) (err error) {
		t, err = readTunnelTable(b)
		return err
	})
	return t, err
}

// niciraReply expects an experimenter message of Nicira's, to the last.
func niciraReply(subtype uint32) expect {
	return func(i, n int, typ uint8, body []byte) ([]byte, bool, error) {
		if typ != typeExperimenter || i != n-1 || !isNicira(body, subtype) {
			return nil, false, unexpected(i, n, typ)
		}
		return body, true, nil
	}
}

func readTunnelTable(b []byte) (TunnelTable, error) {
	r := reader{b: b}
	r.skip(8) // experimenter
	t := TunnelTable{MaxSpace: r.u32(), MaxFields: r.u16()}
	r.skip(10)
	for len(r.b) > 0 {
		t.Options = append(t.Options, TunnelOption{r.u16(), r.u8(), r.u8(), r.u16()})
		r.skip(2)
	}
	if r.bad {
		return t, malformed("table of options of %d bytes", len(b))
	}
	return t, nil
}

// FlushCTZone removes all connections of a conntrack zone.
func (c *Conn) FlushCTZone(ctx context.Context, zone uint16) error {
	return c.confirmed(ctx, fmt.Sprintf("flush of ct zone %d", zone), func(xid uint32) ([]byte, error) {
		return end(be.AppendUint16(zeros(beginNicira(xid, nxtFlushZone), 6), zone), 0), nil
	})
}

// A CTFilter chooses connections of conntrack. The zero value is all of them.
type CTFilter struct {
	HasZone bool
	Zone    uint16
	Proto   uint8 // of IP; ports and ICMP need it
	// Original are the packets of who opened the connection, Reply the others.
	Original, Reply CTTuple
}

// A CTTuple is one direction of a connection; what is zero is not regarded.
type CTTuple struct {
	Src, Dst           netip.Addr
	SrcPort, DstPort   uint16
	ICMPID             uint16
	ICMPType, ICMPCode uint8
}

// FlushCT removes the connections that a filter chooses.
func (c *Conn) FlushCT(ctx context.Context, f CTFilter) error {
	if f.Proto == 0 && (f.Original.hasPorts() || f.Reply.hasPorts()) {
		return errors.New("openflow: ct flush: ports or ICMP without a protocol")
	}
	return c.confirmed(ctx, "ct flush", func(xid uint32) ([]byte, error) {
		b := zeros(append(beginNicira(xid, nxtFlush), f.Proto), 7)
		b = f.Original.append(b, 0, f.Proto)
		b = f.Reply.append(b, 1, f.Proto)
		if f.HasZone {
			b = appendProperty(b, 2, be.AppendUint16(nil, f.Zone))
		}
		return end(b, 0), nil
	})
}

func (t CTTuple) hasPorts() bool {
	return t.SrcPort|t.DstPort|t.ICMPID != 0 || t.ICMPType|t.ICMPCode != 0
}

// append appends the tuple as a property with properties in it.
func (t CTTuple) append(b []byte, typ uint16, proto uint8) []byte {
	if t == (CTTuple{}) {
		return b
	}
	const icmp, icmpv6 = 1, 58
	inner := make([]byte, 4) // nested properties start at 8 bytes
	if t.Src.IsValid() {
		a := t.Src.As16()
		inner = appendProperty(inner, 0, a[:])
	}
	if t.Dst.IsValid() {
		a := t.Dst.As16()
		inner = appendProperty(inner, 1, a[:])
	}
	if t.SrcPort != 0 {
		inner = appendProperty(inner, 2, be.AppendUint16(nil, t.SrcPort))
	}
	if t.DstPort != 0 {
		inner = appendProperty(inner, 3, be.AppendUint16(nil, t.DstPort))
	}
	if (proto == icmp || proto == icmpv6) && t.hasPorts() {
		inner = appendProperty(inner, 4, be.AppendUint16(nil, t.ICMPID))
		inner = appendProperty(inner, 5, []byte{t.ICMPType})
		inner = appendProperty(inner, 6, []byte{t.ICMPCode})
	}
	return appendProperty(b, typ, inner)
}
