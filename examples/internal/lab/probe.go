package lab

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

const (
	// probeTimeout is how long a probe waits before it counts as dropped. What
	// is allowed answers in milliseconds.
	probeTimeout = 700 * time.Millisecond
	// patience is how long one waits that should be answered: long enough for
	// TCP to send a lost packet again, and once more (RFC 6298, section 2: after
	// 1 second), on a machine that is busy.
	patience = 10 * time.Second
	// settling is how long a change may take to be in force everywhere. How long
	// it took is told.
	settling = 30 * time.Second
)

// together makes tries until the context ends, so many at a time that a fabric
// where none is answered is found out in minutes.
func together(ctx context.Context, tries []func()) {
	gate := make(chan struct{}, 24)
	var wg sync.WaitGroup
	for _, try := range tries {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			if ctx.Err() == nil {
				try()
			}
		})
	}
	wg.Wait()
}

// A reply is what a workload said: who it is and how it saw the prober.
type reply struct {
	name string
	peer netip.AddrPort
	// from is the address the answer came from.
	from netip.AddrPort
}

func parseReply(line string) (reply, error) {
	f := strings.Fields(line)
	if len(f) < 2 {
		return reply{}, fmt.Errorf("strange answer %q", line)
	}
	peer, err := netip.ParseAddrPort(f[1])
	return reply{name: f[0], peer: netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())}, err
}

// dial opens a connection from inside a machine.
func (l *Lab) dial(ctx context.Context, machine, network, addr string, wait time.Duration) (net.Conn, error) {
	var c net.Conn
	err := ovstest.InNS(l.ns(machine), func() error {
		var err error
		d := net.Dialer{Timeout: wait}
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// probe sends one line by TCP or UDP from inside a machine to what should
// answer, and returns the answer.
func (l *Lab) probe(ctx context.Context, machine, network string, to netip.AddrPort) (reply, error) {
	return l.probeWithin(ctx, patience, machine, network, to)
}

// probeWithin is a probe that waits only so long to connect, and for the answer.
func (l *Lab) probeWithin(ctx context.Context, wait time.Duration, machine, network string, to netip.AddrPort) (reply, error) {
	c, err := l.dial(ctx, machine, network, to.String(), wait)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	return exchange(c, wait)
}

// exchange sends a line on a connection and waits only so long for the answer.
func exchange(c net.Conn, wait time.Duration) (reply, error) {
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := fmt.Fprintln(c, "who"); err != nil {
		return reply{}, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return reply{}, err
	}
	r, err := parseReply(line)
	r.from, _ = netip.ParseAddrPort(c.RemoteAddr().String())
	return r, err
}

// ping sends one ICMP echo request and waits for its reply.
func (l *Lab) ping(machine string, to netip.Addr, seq uint16, wait time.Duration) error {
	c, err := l.icmp(machine)
	if err != nil {
		return err
	}
	defer c.Close()
	id := uint16(os.Getpid())
	if err := sendEcho(c, to, id, seq); err != nil {
		return err
	}
	return awaitEcho(c, to, id, seq, time.Now().Add(wait))
}

// icmp opens a raw ICMP socket inside a machine.
func (l *Lab) icmp(machine string) (net.PacketConn, error) {
	var c net.PacketConn
	err := ovstest.InNS(l.ns(machine), func() error {
		var err error
		c, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	return c, err
}

// ICMP types (RFC 792).
const (
	icmpEchoReply   = 0
	icmpEchoRequest = 8
)

func sendEcho(c net.PacketConn, to netip.Addr, id, seq uint16) error {
	_, err := c.WriteTo(echoMessage(id, seq), &net.IPAddr{IP: to.AsSlice()})
	return err
}

// echoMessage returns an ICMP echo request with 16 bytes of data.
func echoMessage(id, seq uint16) []byte {
	m := make([]byte, 24)
	m[0] = icmpEchoRequest
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], seq)
	copy(m[8:], "tierloom lab ...")
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// awaitEcho reads until the reply with id and seq comes from addr.
func awaitEcho(c net.PacketConn, from netip.Addr, id, seq uint16, deadline time.Time) error {
	_ = c.SetReadDeadline(deadline)
	buf := make([]byte, 1500)
	for {
		n, peer, err := c.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("ping %s: no answer: %w", from, err)
		}
		if n >= 8 && buf[0] == icmpEchoReply && peer.String() == from.String() &&
			binary.BigEndian.Uint16(buf[4:]) == id && binary.BigEndian.Uint16(buf[6:]) == seq {
			return nil
		}
	}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
