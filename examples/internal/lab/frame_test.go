package lab

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var (
	macA, macB = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	ipA, ipB   = netip.MustParseAddr("10.4.0.2"), netip.MustParseAddr("10.4.0.3")
)

// What is built is read back.
func TestFrames(t *testing.T) {
	for _, vlan := range []int{-1, 0, 7, 4095} {
		got := decode(ethernet(macB, macA, vlan, 0x0800, ipv4(ipA, ipB, 17, udp(1000, 53, "who"))))
		want := frame{
			src: macA, dst: macB, vlan: vlan, etype: 0x0800, srcIP: ipA, dstIP: ipB, proto: 17, ttl: 64, sport: 1000, dport: 53, payload: []byte("who"),
		}
		require.Empty(t, cmp.Diff(want, got, cmp.AllowUnexported(frame{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })))
	}
	header := ipv4(ipA, ipB, 6, nil)
	require.Zero(t, checksum(header), "of a header with its checksum (RFC 791)")
	a := arp(arpReply, macA, ipA, macB, ipB)
	require.Len(t, a, 28)
	require.Equal(t, byte(arpReply), a[7])
	require.Equal(t, -1, decode(nil).vlan)
}

func TestChecksum(t *testing.T) {
	require.Equal(t, ^uint16(0xddf2), checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}), "RFC 1071, section 3")
	require.Equal(t, ^uint16(0x0100), checksum([]byte{1}), "an odd byte")
	require.Equal(t, ^uint16(0), checksum(nil))
	require.Zero(t, checksum(echoMessage(7, 9)))
}

func FuzzDecode(f *testing.F) {
	f.Add(ethernet(macB, macA, 7, 0x0800, ipv4(ipA, ipB, 17, udp(1, 2, "x"))))
	f.Add(ethernet(macB, macA, -1, 0x0806, arp(arpRequest, macA, ipA, noMAC, ipB)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := decode(b)
		require.LessOrEqual(t, len(got.payload), len(b))
		require.True(t, got.vlan >= -1 && got.vlan <= 4095)
		require.True(t, got.etype == 0x0800 || !got.srcIP.IsValid())
	})
}

func TestParseReply(t *testing.T) {
	got, err := parseReply("a/p [::ffff:10.4.0.2]:4000 who\n")
	require.NoError(t, err)
	require.Equal(t, reply{name: "a/p", peer: netip.MustParseAddrPort("10.4.0.2:4000")}, got)
	for _, line := range []string{"", "a/p", "a/p nobody", "a/p 10.4.0.2"} {
		_, err := parseReply(line)
		require.Error(t, err, line)
	}
	said := answer("a/p", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.4.0.2:4000")), "who")
	got, err = parseReply(said)
	require.NoError(t, err)
	require.Equal(t, "a/p", got.name)
}

func TestReadResult(t *testing.T) {
	p := &pod{namespace: "a", name: "p"}
	require.NoError(t, p.readResult([]byte(`{"ips":[{"address":"10.4.0.2/24"}],"interfaces":[{"name":"tl1","mac":"02:00:00:00:00:09"},{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/x"}]}`)))
	require.Equal(t, ipA, p.ip)
	require.Equal(t, "02:00:00:00:00:01", p.mac, "the pod's end")
	for _, raw := range []string{"", "{", "{}", `{"ips":[]}`, `{"ips":[{"address":"ten"}]}`} {
		require.ErrorContains(t, p.readResult([]byte(raw)), "pod a/p", raw)
	}
}

// What was made last goes first; one that fails holds up no other.
func TestUndo(t *testing.T) {
	var u undo
	var order []int
	for i := range 3 {
		u.push(func() error {
			order = append(order, i)
			return []error{nil, errors.New("stuck"), nil}[i]
		})
	}
	require.ErrorContains(t, u.run(), "stuck")
	require.Equal(t, []int{2, 1, 0}, order)
	require.NoError(t, u.run(), "once")
	require.Len(t, order, 3)
}
