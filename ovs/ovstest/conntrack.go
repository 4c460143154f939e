package ovstest

import (
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// Bits of ct_state (ovs-fields(7)).
const (
	ctNew = 1 << iota
	ctEstablished
	ctRelated
	ctReply
	ctInvalid
	ctTracked
	ctSrcNAT
	ctDstNAT
)

// A tuple is one direction of a connection in a zone.
type tuple struct {
	zone     uint16
	proto    uint8
	src, dst netip.AddrPort
}

func (t tuple) reversed() tuple { return tuple{t.zone, t.proto, t.dst, t.src} }

// A connection is one that was committed.
type connection struct {
	mark, label [16]byte
	// original and reply are what its packets look like before translation.
	original, reply tuple
	nat             uint32 // ctSrcNAT or ctDstNAT
}

// A conntrack has each connection by both of its tuples.
type conntrack map[tuple]*connection

func (c conntrack) clone() conntrack {
	out := conntrack{}
	for t, conn := range c {
		if t == conn.original {
			own := *conn
			out[own.original], out[own.reply] = &own, &own
		}
	}
	return out
}

// tupleOf returns the tuple of a packet; false if it has none.
func tupleOf(p Packet, zone uint16) (tuple, bool) {
	t := tuple{zone: zone, proto: uint8(p.Uint(ovs.FieldIPProto))}
	var src, dst netip.Addr
	switch p.Uint(ovs.FieldEthType) {
	case 0x0800:
		s, d := p.get(ovs.FieldIPv4Src), p.get(ovs.FieldIPv4Dst)
		src, dst = netip.AddrFrom4([4]byte(s[:4])), netip.AddrFrom4([4]byte(d[:4]))
	case 0x86dd:
		src, dst = netip.AddrFrom16(p.get(ovs.FieldIPv6Src)), netip.AddrFrom16(p.get(ovs.FieldIPv6Dst))
	default:
		return t, false
	}
	var sport, dport uint16
	switch t.proto {
	case 6, 17, 132:
		sport, dport = uint16(p.Uint(ovs.FieldTCPSrc)), uint16(p.Uint(ovs.FieldTCPDst))
	}
	t.src, t.dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return t, true
}

// rewrite returns the packet with a tuple's addresses and ports.
func rewrite(p Packet, t tuple) Packet {
	src, dst := ovs.FieldIPv4Src, ovs.FieldIPv4Dst
	if t.src.Addr().Is6() {
		src, dst = ovs.FieldIPv6Src, ovs.FieldIPv6Dst
	}
	set := func(f ovs.Field, b []byte) { p = p.write(ovs.NewFieldMatch(f, b, nil)) }
	set(src, t.src.Addr().AsSlice())
	set(dst, t.dst.Addr().AsSlice())
	switch t.proto {
	case 6, 17, 132:
		set(ovs.FieldTCPSrc, []byte{byte(t.src.Port() >> 8), byte(t.src.Port())})
		set(ovs.FieldTCPDst, []byte{byte(t.dst.Port() >> 8), byte(t.dst.Port())})
	}
	return p
}

// track looks a packet up in a zone, translates it if its connection is, and
// says in its ct fields what was found.
func (c conntrack) track(p Packet, zone uint16, nat *ovs.NAT) Packet {
	t, ok := tupleOf(p, zone)
	if !ok {
		return state(p, zone, ctTracked|ctInvalid, nil)
	}
	conn := c[t]
	if conn == nil {
		return state(p, zone, ctTracked|ctNew, nil)
	}
	bits := uint32(ctTracked | ctEstablished)
	to := conn.reply.reversed()
	if t != conn.original {
		bits |= ctReply
		to = conn.original.reversed()
	}
	if nat != nil && conn.nat != 0 {
		p = rewrite(p, to)
	}
	return state(p, zone, bits|conn.nat, conn)
}

// state returns the packet with ct fields.
func state(p Packet, zone uint16, bits uint32, conn *connection) Packet {
	p = p.with(ovs.FieldCTState, [16]byte{0, 0, 0, byte(bits)})
	p = p.with(ovs.FieldCTZone, [16]byte{byte(zone >> 8), byte(zone)})
	if conn == nil {
		conn = &connection{}
	}
	return p.with(ovs.FieldCTMark, conn.mark).with(ovs.FieldCTLabel, conn.label)
}

// commit makes the packet's connection one of the zone, translated as nat
// says: to the first address and port of its range.
func (c conntrack) commit(p Packet, zone uint16, nat *ovs.NAT) (Packet, *connection) {
	t, ok := tupleOf(p, zone)
	if !ok {
		return p, nil
	}
	if conn := c[t]; conn != nil {
		return p, conn
	}
	conn := &connection{original: t, reply: t.reversed()}
	after := t
	if nat != nil && nat.Min.IsValid() {
		end := func(a netip.AddrPort) netip.AddrPort {
			port := nat.PortMin
			if port == 0 {
				port = a.Port()
			}
			return netip.AddrPortFrom(nat.Min, port)
		}
		if nat.Src {
			after.src, conn.nat = end(t.src), ctSrcNAT
		} else if nat.Dst {
			after.dst, conn.nat = end(t.dst), ctDstNAT
		}
		conn.reply = after.reversed()
		p = rewrite(p, after)
	}
	c[conn.original], c[conn.reply] = conn, conn
	return p, conn
}
