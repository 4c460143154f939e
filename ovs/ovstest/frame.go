package ovstest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// ParseFrame reads an Ethernet frame that came in by a port: VLAN tags (IEEE
// 802.1Q), ARP (RFC 826), IPv4 (RFC 791) and IPv6 (RFC 8200, extension headers
// are not followed) with TCP, UDP, SCTP and ICMP. A header that is cut short
// is an error; what follows a fragment's IPv4 header is not looked at.
func ParseFrame(inPort uint32, frame []byte) (Packet, error) {
	p := NewPacket(ovs.InPort(inPort))
	f := &frameReader{b: frame}
	p = f.field(p, ovs.FieldEthDst)
	p = f.field(p, ovs.FieldEthSrc)
	ether := f.u16()
	var tags []uint16
	for (ether == 0x8100 || ether == 0x88a8) && !f.short {
		tags = append(tags, f.u16())
		ether = f.u16()
	}
	for _, tci := range slices.Backward(tags) {
		p = p.push().write(ovs.VLANVID(tci)).set(ovs.FieldVLANPCP, uint64(tci>>13))
	}
	p = p.set(ovs.FieldEthType, uint64(ether))
	switch ether {
	case 0x0800:
		p = f.ipv4(p)
	case 0x86dd:
		p = f.ipv6(p)
	case 0x0806:
		f.skip(6)
		for _, field := range []ovs.Field{ovs.FieldARPOp, ovs.FieldARPSha, ovs.FieldARPSpa, ovs.FieldARPTha, ovs.FieldARPTpa} {
			p = f.field(p, field)
		}
	}
	if f.short {
		return Packet{}, fmt.Errorf("ovstest: frame of %d bytes ends within a header", len(frame))
	}
	return p, nil
}

// A frameReader takes headers off; short says that one was not there.
type frameReader struct {
	b     []byte
	short bool
}

func (f *frameReader) take(n int) []byte {
	if n > len(f.b) {
		f.b, f.short = nil, true
		return make([]byte, n)
	}
	head := f.b[:n]
	f.b = f.b[n:]
	return head
}

func (f *frameReader) skip(n int)  { f.take(max(n, 0)) }
func (f *frameReader) u16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }

func (f *frameReader) field(p Packet, field ovs.Field) Packet {
	return p.write(ovs.NewFieldMatch(field, f.take(field.Bytes()), nil))
}

func (f *frameReader) ipv4(p Packet) Packet {
	head := f.take(12)
	p = p.ip(head[1], head[8], head[9])
	p = f.field(p, ovs.FieldIPv4Src)
	p = f.field(p, ovs.FieldIPv4Dst)
	f.skip(int(head[0]&15)*4 - 20)
	if binary.BigEndian.Uint16(head[6:])&0x3fff != 0 {
		return p
	}
	return f.transport(p, head[9])
}

func (f *frameReader) ipv6(p Packet) Packet {
	head := f.take(8)
	p = p.ip(head[0]<<4|head[1]>>4, head[7], head[6])
	p = p.set(ovs.FieldIPv6Label, uint64(binary.BigEndian.Uint32(head)&0xfffff))
	p = f.field(p, ovs.FieldIPv6Src)
	p = f.field(p, ovs.FieldIPv6Dst)
	return f.transport(p, head[6])
}

// set returns the packet with a number in a field.
func (p Packet) set(f ovs.Field, v uint64) Packet {
	b := binary.BigEndian.AppendUint64(nil, v)
	return p.write(ovs.NewFieldMatch(f, b[8-f.Bytes():], nil))
}

func (p Packet) ip(tos, ttl, proto byte) Packet {
	p = p.set(ovs.FieldIPDSCP, uint64(tos>>2)).set(ovs.FieldIPECN, uint64(tos&3))
	return p.set(ovs.FieldIPTTL, uint64(ttl)).set(ovs.FieldIPProto, uint64(proto))
}

func (f *frameReader) transport(p Packet, proto byte) Packet {
	fields := map[byte][2]ovs.Field{
		1: {ovs.FieldICMPType, ovs.FieldICMPCode}, 6: {ovs.FieldTCPSrc, ovs.FieldTCPDst}, 17: {ovs.FieldUDPSrc, ovs.FieldUDPDst},
		58: {ovs.FieldICMPv6Type, ovs.FieldICMPv6Code}, 132: {ovs.FieldSCTPSrc, ovs.FieldSCTPDst},
	}
	pair, ok := fields[proto]
	if !ok {
		return p
	}
	p = f.field(f.field(p, pair[0]), pair[1])
	if proto == 6 {
		f.skip(8)
		p = p.set(ovs.FieldTCPFlags, uint64(f.u16()&0xfff))
	}
	return p
}
