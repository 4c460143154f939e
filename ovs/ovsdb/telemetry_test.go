package ovsdb_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// wire is a bridge with two namespaces that talk over it.
type wire struct {
	t        *testing.T
	in       *ovstest.Instance
	vs       *ovsdb.VSwitch
	portA    string
	out      net.Conn
	received net.PacketConn
}

func startWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, in: ovstest.Start(t)}
	var err error
	w.vs, err = ovsdb.NewVSwitch(within(t), dial(t, w.in))
	require.NoError(t, err)
	w.in.AddBridge("br0")
	nsA, portA, _ := w.in.AddNS("br0", "10.0.0.1/24")
	nsB, _, _ := w.in.AddNS("br0", "10.0.0.2/24")
	w.portA = portA
	_ = w.in.Ofctl("add-flow", "br0", "actions=NORMAL")
	require.NoError(t, ovstest.InNS(nsB, func() (err error) { w.received, err = net.ListenPacket("udp", "10.0.0.2:7777"); return err }))
	t.Cleanup(func() { w.received.Close() })
	require.NoError(t, ovstest.InNS(nsA, func() (err error) { w.out, err = net.Dial("udp", "10.0.0.2:7777"); return err }))
	t.Cleanup(func() { w.out.Close() })
	return w
}

// until sends the text, again and again, until seen is true. It is asked with
// what there is to see within a short time.
func (w *wire) until(text string, seen func() bool) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		_, _ = w.out.Write([]byte(text)) // a refusal of an earlier one may be reported here
		return seen()
	}, 30*time.Second, time.Millisecond, text)
}

// arrives waits until the text has come where it was sent to.
func (w *wire) arrives(text string) {
	w.t.Helper()
	b := make([]byte, 1500)
	w.until(text, func() bool {
		_ = w.received.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			n, _, err := w.received.ReadFrom(b)
			if err != nil {
				return false
			}
			if string(b[:n]) == text {
				return true
			}
		}
	})
}

// collector listens where the switch is.
func (w *wire) collector() net.PacketConn {
	w.t.Helper()
	var c net.PacketConn
	require.NoError(w.t, ovstest.InNS(w.in.NetNS, func() (err error) { c, err = net.ListenPacket("udp", "127.0.0.1:0"); return err }))
	w.t.Cleanup(func() { c.Close() })
	return c
}

// reported sends the text until a datagram of the collector is what is wanted.
func (w *wire) reported(c net.PacketConn, text string, wanted func(datagram []byte) bool) {
	w.t.Helper()
	b := make([]byte, 65536)
	w.until(text, func() bool {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return false
			}
			if wanted(b[:n]) {
				return true
			}
		}
	})
}

// frames opens a socket that gets every frame of a device.
func frames(t *testing.T, ns, dev string) int {
	t.Helper()
	var fd int
	require.NoError(t, ovstest.InNS(ns, func() error {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		if fd, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, all); err != nil {
			return os.NewSyscallError("socket", err)
		}
		tv := syscall.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}))
	}))
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return fd
}

// A mirror's copies arrive at its output port, of what it mirrors and as long
// as it is there.
func TestMirrorCopies(t *testing.T) {
	w := startWire(t)
	ctx := within(t)
	nsC, portC, _ := w.in.AddNS("br0")
	fd := frames(t, nsC, "eth0")
	w.arrives("unicast now") // so that no packet below is flooded
	b := make([]byte, 2048)
	copied := func(text string) (seen []string) {
		t.Helper()
		w.until(text, func() bool {
			for {
				n, err := syscall.Read(fd, b)
				if err != nil || n <= 0 {
					return false
				}
				if i := bytes.Index(b[:n], []byte("copy")); i >= 0 {
					seen = append(seen, string(b[i:n]))
					if seen[len(seen)-1] == text {
						return true
					}
				}
			}
		})
		return seen
	}
	// Packets that are under way see a mirror's change only later.
	forget := func() { require.NoError(t, w.in.PurgeDatapath(ctx)) }
	spec := ovsdb.MirrorSpec{Bridge: "br0", Name: "span", From: []string{w.portA}, Output: portC}
	require.NoError(t, w.vs.EnsureMirror(ctx, spec))
	forget()
	copied("copy 1")
	w.arrives("copy 1")
	require.NoError(t, w.vs.DeleteMirror(ctx, "br0", "span"))
	forget()
	w.arrives("copy none")
	spec.From, spec.To = nil, []string{w.portA}
	require.NoError(t, w.vs.EnsureMirror(ctx, spec))
	forget()
	w.arrives("copy none")
	spec.To, spec.All = nil, true
	require.NoError(t, w.vs.EnsureMirror(ctx, spec))
	forget()
	require.NotContains(t, copied("copy 2"), "copy none")
}

// An sFlow collector gets datagrams of version 5 with packets in them.
func TestSFlowReports(t *testing.T) {
	w := startWire(t)
	c := w.collector()
	require.NoError(t, w.vs.SetSFlow(within(t), "br0", &ovsdb.SFlowSpec{
		Targets: []string{c.LocalAddr().String()}, Agent: "lo", Sampling: 1, Header: 128}))
	w.reported(c, "a packet for sFlow", func(d []byte) bool {
		const header = 28 // of an IPv4 agent; sflow.org, version 5
		return len(d) > header && binary.BigEndian.Uint32(d) == 5 && bytes.Contains(d[header:], []byte("a packet for sFlow"))
	})
}

// An IPFIX collector gets messages of RFC 7011 with records of the packets.
func TestIPFIXReports(t *testing.T) {
	w := startWire(t)
	c := w.collector()
	require.NoError(t, w.vs.SetIPFIX(within(t), "br0", &ovsdb.IPFIXSpec{
		Targets: []string{c.LocalAddr().String()}, Sampling: 1, ObsDomain: 77, ObsPoint: 5}))
	from, to := netip.MustParseAddr("10.0.0.1").AsSlice(), netip.MustParseAddr("10.0.0.2").AsSlice()
	w.reported(c, "a packet for IPFIX", func(d []byte) bool {
		const header, firstData = 16, 256 // sets with lower numbers are templates
		return len(d) > header+4 && binary.BigEndian.Uint16(d) == 10 && int(binary.BigEndian.Uint16(d[2:])) == len(d) &&
			binary.BigEndian.Uint32(d[12:]) == 77 && binary.BigEndian.Uint16(d[header:]) >= firstData &&
			bytes.Contains(d, append(bytes.Clone(from), to...))
	})
}
