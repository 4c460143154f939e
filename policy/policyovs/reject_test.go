package policyovs_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy/policyovs"
)

var be = binary.BigEndian

// A wire is a frame to be put together.
type wire struct {
	src, dst string // addresses
	tags     []uint16
	proto    uint8
	body     []byte
	more     func(ip []byte) // changes the IP header
	group    bool            // to a group address of Ethernet
}

func (w wire) frame() []byte {
	b := []byte{2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa}
	if w.group {
		b[0] = 0xff
	}
	for _, t := range w.tags {
		b = be.AppendUint16(append(b, 0x81, 0), t)
	}
	src, dst := netip.MustParseAddr(w.src), netip.MustParseAddr(w.dst)
	var ip []byte
	if src.Is4() {
		b = append(b, 8, 0)
		ip = []byte{0x45, 0, 0, 0, 0, 7, 0x40, 0, 63, w.proto, 0, 0}
		be.PutUint16(ip[2:], uint16(20+len(w.body)))
	} else {
		b = append(b, 0x86, 0xdd)
		ip = []byte{0x60, 0, 0, 0, 0, 0, w.proto, 63}
		be.PutUint16(ip[4:], uint16(len(w.body)))
	}
	ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
	if w.more != nil {
		w.more(ip)
	}
	return append(append(b, ip...), w.body...)
}

func tcp(flags byte, seq, ack uint32, data int) []byte {
	b := be.AppendUint16(be.AppendUint16(nil, 40000), 80)
	b = be.AppendUint32(be.AppendUint32(b, seq), ack)
	return append(b, append([]byte{5 << 4, flags, 16, 0, 0, 0, 0, 0}, make([]byte, data)...)...)
}

func udp(data int) []byte {
	b := be.AppendUint16(be.AppendUint16(nil, 40000), 53)
	return append(be.AppendUint16(b, uint16(8+data)), make([]byte, 2+data)...)
}

// rightSum is the checksum of the Internet over all that it covers: 0.
func rightSum(list ...[]byte) uint16 {
	var s uint32
	for _, b := range list {
		if len(b)%2 == 1 {
			b = append(slices.Clone(b), 0)
		}
		for i := 0; i < len(b); i += 2 {
			s += uint32(be.Uint16(b[i:]))
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// checkAnswer takes an answer apart and returns its tags, protocol and body.
func checkAnswer(t require.TestingT, asked, b []byte, v4 bool, tags int) (proto uint8, body []byte) {
	at := 14 + 4*tags
	require.Equal(t, asked[6:12], b[:6])
	require.Equal(t, asked[:6], b[6:12])
	require.Equal(t, asked[12:at], b[12:at])
	ip, was := b[at:], asked[at:]
	if v4 {
		require.Len(t, ip, int(be.Uint16(ip[2:])))
		require.LessOrEqual(t, len(ip), 576)
		require.Zero(t, rightSum(ip[:20]), "checksum of the header")
		require.Equal(t, was[12:16], ip[16:20])
		require.Equal(t, was[16:20], ip[12:16])
		proto, body = ip[9], ip[20:]
		if proto == 1 {
			require.Zero(t, rightSum(body), "checksum of ICMP")
			return proto, body
		}
		require.Zero(t, rightSum(ip[12:20], []byte{0, proto}, be.AppendUint16(nil, uint16(len(body))), body), "checksum")
		return proto, body
	}
	require.Len(t, ip, 40+int(be.Uint16(ip[4:])))
	require.LessOrEqual(t, len(ip), 1280)
	require.Equal(t, was[8:24], ip[24:40])
	require.Equal(t, was[24:40], ip[8:24])
	proto, body = ip[6], ip[40:]
	require.Zero(t, rightSum(ip[8:40], []byte{0, proto}, be.AppendUint16(nil, uint16(len(body))), body), "checksum")
	return proto, body
}

// TCP is reset as RFC 9293, section 3.10.7.1 has it for a closed port.
func TestRejectTCP(t *testing.T) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	for _, c := range []struct {
		name     string
		segment  []byte
		seq, ack uint32
		flags    byte
	}{
		{"open", tcp(syn, 1000, 0, 0), 0, 1001, rst | ack},
		{"open with data", tcp(syn, 1000, 0, 5), 0, 1006, rst | ack},
		{"end without acknowledgment", tcp(fin, 0xffffffff, 0, 2), 0, 2, rst | ack},
		{"within a connection", tcp(ack, 1000, 77, 100), 77, 0, rst},
		{"open from both ends", tcp(syn|ack, 1000, 78, 0), 78, 0, rst},
	} {
		for _, w := range []wire{
			{src: "10.0.0.1", dst: "10.0.0.2"}, {src: "fd00::1", dst: "fd00::2"}, {src: "10.0.0.1", dst: "10.0.0.2", tags: []uint16{7, 100}},
		} {
			w.proto, w.body = 6, c.segment
			asked := w.frame()
			got, err := policyovs.Reject(asked)
			require.NoError(t, err, c.name)
			proto, b := checkAnswer(t, asked, got, w.src[0] == '1', len(w.tags))
			require.EqualValues(t, 6, proto)
			require.Len(t, b, 20)
			require.Equal(t, [2]uint16{80, 40000}, [2]uint16{be.Uint16(b), be.Uint16(b[2:])})
			require.Equal(t, [2]uint32{c.seq, c.ack}, [2]uint32{be.Uint32(b[4:]), be.Uint32(b[8:])}, c.name)
			require.Equal(t, c.flags, b[13], c.name)
		}
	}
}

func TestRejectTCPCutShort(t *testing.T) {
	asked := wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 6, body: tcp(2, 1000, 0, 500)}.frame()
	got, err := policyovs.Reject(asked[:14+20+20])
	require.NoError(t, err)
	_, b := checkAnswer(t, asked, got, true, 0)
	require.EqualValues(t, 1501, be.Uint32(b[8:]), "the length is that of the segment, not of what was seen")
}

// All else gets an error that quotes it.
func TestRejectICMP(t *testing.T) {
	for _, c := range []struct {
		name  string
		w     wire
		quote int
	}{
		{"UDP", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(12)}, 20 + 20},
		{"long UDP", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(1400)}, 548},
		{"echo request", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 1, body: []byte{8, 0, 0, 0, 0, 1, 0, 2}}, 28},
		{"GRE", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 47, body: make([]byte, 4)}, 24},
		{"first fragment", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0), more: func(ip []byte) { ip[6] = 0x20 }}, 28},
		{"UDP over IPv6", wire{src: "fd00::1", dst: "fd00::2", proto: 17, body: udp(12)}, 60},
		{"long UDP over IPv6", wire{src: "fd00::1", dst: "fd00::2", proto: 17, body: udp(1400)}, 1232},
		{"echo request over IPv6", wire{src: "fd00::1", dst: "fd00::2", proto: 58, body: []byte{128, 0, 0, 0, 0, 1, 0, 2}}, 48},
		{"UDP behind options", wire{src: "fd00::1", dst: "fd00::2", proto: 60, body: append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp(0)...)}, 56},
	} {
		asked := append(c.w.frame(), 0, 0, 0) // as if padded
		got, err := policyovs.Reject(asked)
		require.NoError(t, err, c.name)
		v4 := c.w.src[0] == '1'
		proto, b := checkAnswer(t, asked, got, v4, 0)
		if v4 {
			require.Equal(t, []byte{1, 3, 13}, []byte{proto, b[0], b[1]}, c.name)
		} else {
			require.Equal(t, []byte{58, 1, 1}, []byte{proto, b[0], b[1]}, c.name)
		}
		require.Equal(t, []byte{0, 0, 0, 0}, b[4:8])
		require.Equal(t, asked[14:14+c.quote], b[8:], c.name)
	}
}

func TestRejectDoesNotAnswer(t *testing.T) {
	plain := func(proto uint8, body []byte) wire {
		return wire{src: "10.0.0.1", dst: "10.0.0.2", proto: proto, body: body}
	}
	over6 := func(proto uint8, body []byte) wire {
		return wire{src: "fd00::1", dst: "fd00::2", proto: proto, body: body}
	}
	for _, c := range []struct {
		name string
		w    wire
		want error
	}{
		{"reset", plain(6, tcp(4, 1, 0, 0)), policyovs.ErrNoAnswer},
		{"TCP cut short", plain(6, tcp(2, 1, 0, 0)[:19]), policyovs.ErrNoAnswer},
		{"TCP header longer than the segment", plain(6, slices.Replace(tcp(2, 1, 0, 0), 12, 13, 0xf0)), policyovs.ErrNoAnswer},
		{"ICMP error", plain(1, []byte{3, 1, 0, 0, 0, 0, 0, 0}), policyovs.ErrNoAnswer},
		{"redirect", plain(1, []byte{5, 1, 0, 0, 0, 0, 0, 0}), policyovs.ErrNoAnswer},
		{"ICMPv6 error", over6(58, []byte{1, 4, 0, 0, 0, 0, 0, 0}), policyovs.ErrNoAnswer},
		{"ICMPv6 redirect", over6(58, []byte{137, 0, 0, 0, 0, 0, 0, 0}), policyovs.ErrNoAnswer},
		{"ICMP without a type", plain(1, nil), policyovs.ErrNoAnswer},
		{"later fragment", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0), more: func(ip []byte) { ip[7] = 1 }}, policyovs.ErrNoAnswer},
		{"later fragment of IPv6", over6(44, append([]byte{17, 0, 0, 8, 0, 0, 0, 1}, udp(0)...)), policyovs.ErrNoAnswer},
		{"to a group of machines", wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0), group: true}, policyovs.ErrNoAnswer},
		{"to a multicast address", wire{src: "10.0.0.1", dst: "224.0.0.9", proto: 17, body: udp(0)}, policyovs.ErrNoAnswer},
		{"to everyone", wire{src: "10.0.0.1", dst: "255.255.255.255", proto: 17, body: udp(0)}, policyovs.ErrNoAnswer},
		{"from nowhere", wire{src: "::", dst: "fd00::2", proto: 17, body: udp(0)}, policyovs.ErrNoAnswer},
		{"from loopback", wire{src: "127.0.0.1", dst: "10.0.0.2", proto: 17, body: udp(0)}, policyovs.ErrNoAnswer},
		{"header longer than the packet", wire{src: "10.0.0.1", dst: "10.0.0.2", more: func(ip []byte) { ip[0] = 0x4f }}, policyovs.ErrInvalid},
		{"version", wire{src: "10.0.0.1", dst: "10.0.0.2", more: func(ip []byte) { ip[0] = 0x65 }}, policyovs.ErrInvalid},
		{"extension headers without end", over6(0, make([]byte, 200)), policyovs.ErrInvalid},
		{"extension header cut short", over6(60, []byte{17, 9, 0, 0}), policyovs.ErrInvalid},
	} {
		_, err := policyovs.Reject(c.w.frame())
		require.ErrorIs(t, err, c.want, c.name)
	}
	for _, b := range [][]byte{nil, make([]byte, 13), make([]byte, 14), wire{src: "10.0.0.1", dst: "10.0.0.2"}.frame()[:30]} {
		_, err := policyovs.Reject(b)
		require.ErrorIs(t, err, policyovs.ErrInvalid)
	}
}

func FuzzReject(f *testing.F) {
	f.Add(wire{src: "10.0.0.1", dst: "10.0.0.2", proto: 6, body: tcp(2, 1, 0, 3), tags: []uint16{9}}.frame())
	f.Add(wire{src: "fd00::1", dst: "fd00::2", proto: 60, body: append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp(3)...)}.frame())
	f.Add(wire{src: "fd00::1", dst: "fd00::2", proto: 44, body: append([]byte{17, 0, 0, 1, 0, 0, 0, 1}, udp(3)...)}.frame())
	f.Fuzz(func(t *testing.T, b []byte) {
		asked := slices.Clone(b)
		got, err := policyovs.Reject(b)
		require.Equal(t, asked, b, "what was given is as it was")
		if err != nil {
			require.True(t, errors.Is(err, policyovs.ErrNoAnswer) != errors.Is(err, policyovs.ErrInvalid), err)
			return
		}
		tags := 0
		for tags < 2 && (be.Uint16(b[12+4*tags:]) == 0x8100 || be.Uint16(b[12+4*tags:]) == 0x88a8) {
			tags++
		}
		checkAnswer(t, b, got, be.Uint16(b[12+4*tags:]) == 0x0800, tags)
		// An answer is never answered.
		_, err = policyovs.Reject(got)
		require.ErrorIs(t, err, policyovs.ErrNoAnswer)
	})
}
