package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// A PacketIn is a packet that the switch hands over (section 7.4.1, and
// NXT_PACKET_IN2).
type PacketIn struct {
	Reason PacketReason
	Table  uint8
	Cookie uint64
	// Metadata is what the switch knew of the packet beside its content: where
	// it came in, registers, tunnel, connection state. Fields that package ovs
	// has no name for are left out.
	Metadata ovs.Match
	Frame    []byte
	// Length is that of the whole frame, of which Frame may be the beginning.
	Length int
	// UserData is what the action said: that of controller(userdata=...).
	UserData []byte
	// Continuation is the state of a paused packet; see [Conn.Resume].
	Continuation []byte
}

func (PacketIn) event() {}

// A PacketReason says why a packet was handed over.
type PacketReason uint8

// Reasons of a PacketIn.
const (
	PacketNoMatch PacketReason = iota
	PacketAction
	PacketInvalidTTL
	PacketActionSet
	PacketGroup
	PacketPacketOut
)

// readPacketIn reads the standard's form (section 7.4.1).
func readPacketIn(b []byte) (Event, error) {
	r := reader{b: b}
	r.skip(4) // buffer
	p := PacketIn{Length: int(r.u16()), Reason: PacketReason(r.u8()), Table: r.u8(), Cookie: r.u64()}
	typ, n := r.u16(), int(r.u16())
	fields := r.sub(n - 4)
	r.skip((8-n%8)%8 + 2)
	if r.bad || typ != 1 {
		return nil, malformed("packet-in of %d bytes", len(b))
	}
	p.Metadata, p.Frame = knownFields(fields), r.b
	return p, nil
}

// Properties of NXT_PACKET_IN2.
const (
	nxtPacketIn2 = 30
	nxtResume    = 28

	pinPacket       = 0
	pinFullLen      = 1
	pinTable        = 3
	pinCookie       = 4
	pinReason       = 5
	pinMetadata     = 6
	pinUserData     = 7
	pinContinuation = 8
)

// readPacketIn2 reads Nicira's form, which is a list of properties.
func readPacketIn2(b []byte) (Event, error) {
	r := reader{b: b}
	r.skip(8) // experimenter
	var p PacketIn
	full := 0
	for len(r.b) > 0 {
		typ, v, err := r.property()
		if err != nil {
			return nil, fmt.Errorf("packet-in: %w", err)
		}
		switch typ {
		case pinPacket:
			p.Frame = v.b
		case pinFullLen:
			full = int(v.u32())
		case pinTable:
			p.Table = v.u8()
		case pinCookie:
			v.skip(4)
			p.Cookie = v.u64()
		case pinReason:
			p.Reason = PacketReason(v.u8())
		case pinMetadata:
			p.Metadata = knownFields(v)
		case pinUserData:
			p.UserData = v.b
		case pinContinuation:
			p.Continuation = v.b
		}
		if v.bad {
			return nil, malformed("property %d of a packet-in is cut short", typ)
		}
	}
	p.Length = max(full, len(p.Frame))
	return p, nil
}

// property reads a type, a length that counts both, and a value with padding
// to 8 bytes behind it.
func (r *reader) property() (typ uint16, value reader, err error) {
	typ, n := r.u16(), int(r.u16())
	value = r.sub(n - 4)
	r.skip(min((8-n%8)%8, len(r.b)))
	if r.bad {
		return typ, value, malformed("property %d of length %d", typ, n)
	}
	return typ, value, nil
}

// knownFields reads fields up to one that is cut short; a switch may know more
// of them than package ovs has names for.
func knownFields(r reader) ovs.Match {
	var fields []ovs.FieldMatch
	for len(r.b) >= 4 {
		one := r.sub(4 + int(r.b[3]))
		if m, known := readOXM(&one); known {
			fields = append(fields, m)
		}
	}
	return ovs.NewMatch(fields...)
}

// Resume lets a packet go on that an action paused, as it was or with another
// frame or metadata. Each continuation is good for one use.
func (c *Conn) Resume(ctx context.Context, p PacketIn) error {
	return c.confirmed(ctx, "resume", func(xid uint32) ([]byte, error) {
		b := appendProperty(beginNicira(xid, nxtResume), pinPacket, p.Frame)
		b = appendProperty(b, pinTable, []byte{p.Table})
		b = appendProperty(b, pinCookie, be.AppendUint64(make([]byte, 4), p.Cookie))
		b = appendProperty(b, pinReason, []byte{byte(p.Reason)})
		b = appendProperty(b, pinMetadata, []byte(p.Metadata.OXM()))
		b = appendProperty(b, pinContinuation, p.Continuation)
		if len(b) > maxLen {
			return nil, fmt.Errorf("openflow: resume: %d bytes, a message holds %d", len(b), maxLen)
		}
		return end(b, 0), nil
	})
}

// appendProperty is the reverse of property.
func appendProperty(b []byte, typ uint16, value []byte) []byte {
	start := len(b)
	b = be.AppendUint16(be.AppendUint16(b, typ), uint16(4+len(value)))
	return pad(append(b, value...), start)
}

// PacketOut sends a frame through actions, as if it came in by inPort
// (section 7.3.6).
func (c *Conn) PacketOut(ctx context.Context, inPort uint32, frame []byte, actions ...ovs.Action) error {
	return c.confirmed(ctx, "packet-out", func(xid uint32) ([]byte, error) {
		list, err := appendActions(nil, actions)
		if err == nil && c.version < OpenFlow15 {
			list, err = olderActions(nil, list)
		}
		if err != nil {
			return nil, err
		}
		b := be.AppendUint32(begin(nil, typePacketOut, xid), noBuffer)
		if c.version < OpenFlow15 {
			b = zeros(be.AppendUint16(be.AppendUint32(b, inPort), uint16(len(list))), 6)
		} else {
			b = append(be.AppendUint16(b, uint16(len(list))), 0, 0)
			b = appendMatch(b, ovs.NewMatch(ovs.InPort(inPort)))
		}
		b = append(append(b, list...), frame...)
		if len(b) > maxLen {
			return nil, fmt.Errorf("openflow: packet-out: %d bytes, a message holds %d", len(b), maxLen)
		}
		return end(b, 0), nil
	})
}
