package policyovs

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
)

// ErrNoAnswer says that a packet is one that must not be answered: a reset, an
// ICMP error, a fragment that is not the first, or one that is to or from more
// than one machine (RFC 1122, section 3.2.2; RFC 4443, section 2.4(e);
// RFC 9293, section 3.10.7.1).
var ErrNoAnswer = errors.New("not to be answered")

// What an answer may be long: what every link of IPv4 (RFC 1812, section
// 4.3.2.3) and of IPv6 (RFC 8200, section 5) takes.
const (
	answerMax4 = 576
	answerMax6 = 1280
)

// rejectLen is as much of a frame as an answer is made from.
const rejectLen = ethLen + maxTags*vlanLen + answerMax6

// Codes of "administratively prohibited" (RFC 1812, section 5.2.7.1; RFC 4443,
// section 3.1).
const (
	icmpUnreachable, icmpProhibited     = 3, 13
	icmpv6Unreachable, icmpv6Prohibited = 1, 1
)

// Reject returns the Ethernet frame that tells the sender of a frame that it was
// rejected: as if from the frame's destination, with the frame's tags, a reset
// of a TCP segment (RFC 9293, section 3.10.7.1), else an ICMP error that quotes
// the packet (RFC 792, RFC 4443, section 3.1). The frame may be cut short behind
// the headers that the answer is made from.
//
// The error is [ErrNoAnswer] or [ErrInvalid].
func Reject(b []byte) ([]byte, error) {
	f, err := parseFrame(b)
	if err != nil {
		return nil, err
	}
	if !f.answerable() {
		return nil, ErrNoAnswer
	}
	out := append(make([]byte, 0, ethLen+maxTags*vlanLen+answerMax4), f.link[6:12]...)
	out = append(append(out, f.link[:6]...), f.link[12:]...)
	if f.proto == uint8(policy.TCP) {
		segment, err := f.reset()
		if err != nil {
			return nil, err
		}
		return f.wrap(out, uint8(policy.TCP), 0, segment), nil
	}
	return f.unreachable(out), nil
}

// answerable reports whether there is one machine to tell, and none that
// would go on telling.
func (f *frame) answerable() bool {
	for _, a := range []netip.Addr{f.src, f.dst} {
		if a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return false
		}
	}
	if f.fragment || f.link[0]&1 != 0 || f.link[6]&1 != 0 {
		return false
	}
	switch policy.Protocol(f.proto) {
	case policy.ICMP:
		return len(f.payload) > 0 && !bytes.Contains([]byte{3, 4, 5, 11, 12}, f.payload[:1])
	case policy.ICMPv6:
		return len(f.payload) > 0 && f.payload[0] >= 128 && f.payload[0] != redirect
	}
	return true
}

// Flags of TCP.
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 1, 2, 4, 16
)

// reset returns the segment that answers one to a port where nobody listens.
func (f *frame) reset() ([]byte, error) {
	if !f.is(policy.TCP, tcpLen) {
		return nil, ErrNoAnswer // nothing to tell which connection it is of
	}
	p := f.payload
	flags, head := p[13], int(p[12]>>4)*4
	if flags&tcpRST != 0 || head < tcpLen || head > f.length {
		return nil, ErrNoAnswer
	}
	out := make([]byte, tcpLen)
	copy(out, p[2:4])
	copy(out[2:], p[:2])
	out[12] = tcpLen / 4 << 4
	if flags&tcpACK != 0 {
		copy(out[4:8], p[8:12])
		out[13] = tcpRST
		return out, nil
	}
	size := uint32(f.length - head)
	if flags&tcpSYN != 0 {
		size++
	}
	if flags&tcpFIN != 0 {
		size++
	}
	be.PutUint32(out[8:], be.Uint32(p[4:])+size)
	out[13] = tcpRST | tcpACK
	return out, nil
}

// unreachable appends to the link header the ICMP error that quotes the packet.
func (f *frame) unreachable(link []byte) []byte {
	proto, typ, code, most := policy.ICMP, byte(icmpUnreachable), byte(icmpProhibited), answerMax4-ipv4Len-icmpLen
	if !f.v4 {
		proto, typ, code, most = policy.ICMPv6, icmpv6Unreachable, icmpv6Prohibited, answerMax6-ipv6Len-icmpLen
	}
	body := append([]byte{typ, code, 7: 0}, f.ip[:min(len(f.ip), most)]...)
	return f.wrap(link, uint8(proto), 0xc0, body) // internetwork control (RFC 1812, section 4.3.2.5)
}

// wrap appends the IP header of the way back and the body, with its checksum.
func (f *frame) wrap(link []byte, proto, tos byte, body []byte) []byte {
	pseudo := sum(0, f.src.AsSlice())
	pseudo = sum(pseudo, f.dst.AsSlice())
	pseudo += uint32(proto) + uint32(len(body))
	var h []byte
	if f.v4 {
		h = make([]byte, ipv4Len)
		h[0], h[1], h[6], h[8], h[9] = 4<<4|ipv4Len/4, tos, 0x40, 64, proto
		be.PutUint16(h[2:], uint16(ipv4Len+len(body)))
		copy(h[12:], f.dst.AsSlice())
		copy(h[16:], f.src.AsSlice())
		be.PutUint16(h[10:], fold(sum(0, h)))
	} else {
		h = make([]byte, ipv6Len)
		h[0], h[1], h[6], h[7] = 6<<4|tos>>4, tos<<4, proto, 64
		be.PutUint16(h[4:], uint16(len(body)))
		copy(h[8:], f.dst.AsSlice())
		copy(h[24:], f.src.AsSlice())
	}
	switch policy.Protocol(proto) {
	case policy.TCP:
		be.PutUint16(body[16:], fold(sum(pseudo, body)))
	case policy.ICMPv6:
		be.PutUint16(body[2:], fold(sum(pseudo, body)))
	default:
		be.PutUint16(body[2:], fold(sum(0, body)))
	}
	return append(append(link, h...), body...)
}

// sum adds up words of 16 bits for the checksum of the Internet (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(be.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
