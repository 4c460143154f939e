package policyovs

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
)

var be = binary.BigEndian

// Lengths of headers.
const (
	ethLen    = 14
	vlanLen   = 4
	ipv4Len   = 20
	ipv6Len   = 40
	tcpLen    = 20
	portsLen  = 4
	icmpLen   = 8
	fragLen   = 8 // IPv6 fragment header
	maxTags   = 2
	maxExtend = 8 // IPv6 extension headers that are followed
)

// A frame is an Ethernet frame with an IP packet, taken apart. Its slices are
// part of what was given.
type frame struct {
	link     []byte // MAC addresses, tags, EtherType
	ip       []byte // from the IP header on, without what pads the frame
	v4       bool
	src, dst netip.Addr
	proto    uint8
	// fragment is set for all fragments but the first: payload is then no header.
	fragment bool
	payload  []byte // behind the IP headers
	// length is that of the payload by the IP header: a frame may be cut short.
	length int
}

// parseFrame reads Ethernet with up to two tags (IEEE 802.1Q) and the header of
// IPv4 (RFC 791) or IPv6 (RFC 8200) in it. The packet may be cut short behind that.
func parseFrame(b []byte) (frame, error) {
	at := ethLen - 2
	for range maxTags {
		if len(b) >= at+2 && (be.Uint16(b[at:]) == 0x8100 || be.Uint16(b[at:]) == 0x88a8) {
			at += vlanLen
		}
	}
	if len(b) < at+2 {
		return frame{}, fmt.Errorf("policyovs: frame of %d bytes: %w", len(b), ErrInvalid)
	}
	f := frame{link: b[:at+2], ip: b[at+2:]}
	var err error
	switch be.Uint16(b[at:]) {
	case ethIPv4:
		f.v4, err = true, f.ipv4()
	case ethIPv6:
		err = f.ipv6()
	default:
		err = fmt.Errorf("ethertype %#04x", be.Uint16(b[at:]))
	}
	if err != nil {
		return frame{}, fmt.Errorf("policyovs: frame: %w: %w", err, ErrInvalid)
	}
	return f, nil
}

func (f *frame) ipv4() error {
	b := f.ip
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		return fmt.Errorf("no IPv4 header in %d bytes", len(b))
	}
	head, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if head < ipv4Len || head > len(b) || total < head {
		return fmt.Errorf("IPv4 header of %d bytes, packet of %d", head, total)
	}
	f.ip = b[:min(total, len(b))]
	f.src, f.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	f.proto, f.fragment = b[9], be.Uint16(b[6:])&0x1fff != 0
	f.payload, f.length = f.ip[head:], total-head
	return nil
}

// ipv6 follows the extension headers that may stand before a transport header
// (RFC 8200, section 4.1).
func (f *frame) ipv6() error {
	b := f.ip
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return fmt.Errorf("no IPv6 header in %d bytes", len(b))
	}
	total := ipv6Len + int(be.Uint16(b[4:]))
	f.ip = b[:min(total, len(b))]
	f.src, f.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	f.proto, f.payload, f.length = b[6], f.ip[ipv6Len:], total-ipv6Len
	for range maxExtend {
		size := fragLen
		switch f.proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(f.payload) < 2 {
				return fmt.Errorf("extension header %d is cut short", f.proto)
			}
			size = (int(f.payload[1]) + 1) * 8
		case 44:
			f.fragment = f.fragment || len(f.payload) >= 4 && be.Uint16(f.payload[2:])&0xfff8 != 0
		default:
			return nil
		}
		if f.fragment && f.proto != 44 {
			return nil
		}
		if len(f.payload) < size {
			return fmt.Errorf("extension header %d is cut short", f.proto)
		}
		f.proto, f.payload, f.length = f.payload[0], f.payload[size:], f.length-size
	}
	return fmt.Errorf("more than %d extension headers", maxExtend)
}

// is reports whether the packet is of a protocol, with so much of its header.
func (f *frame) is(p policy.Protocol, header int) bool {
	return f.proto == uint8(p) && !f.fragment && len(f.payload) >= header
}

// packet returns what rules look at. Of a fragment, ports and types are zero.
func (f *frame) packet() policy.Packet {
	p := policy.Packet{Src: f.src, Dst: f.dst, Proto: f.proto}
	switch {
	case policy.Protocol(f.proto).HasPorts() && f.is(policy.Protocol(f.proto), portsLen):
		p.SrcPortNo, p.DstPortNo = be.Uint16(f.payload), be.Uint16(f.payload[2:])
	case f.is(policy.ICMP, 2), f.is(policy.ICMPv6, 2):
		p.ICMPType, p.ICMPCode = f.payload[0], f.payload[1]
	}
	return p
}
