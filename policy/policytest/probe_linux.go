package policytest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
)

// ports are those that every pod serves, by TCP and UDP: at the edges of those in worlds.
var ports = []uint16{1, 79, 80, 81, 82, 443, 1443, 8000, 8007, 8008, 9000, 65535}

// A result is what became of a probe.
type result string

// Results of probes.
const (
	pending  result = "no answer"
	answered result = "answered"
	refused  result = "refused" // by a TCP reset or an ICMP error
)

// servers are the sockets of all pods, and what has come to them.
type servers struct {
	mu   sync.Mutex // protects seen
	seen map[netip.AddrPort]bool
}

// serve answers at all ports of all pods until the test ends.
func serve(t testing.TB, lab *Lab) *servers {
	s := &servers{seen: map[netip.AddrPort]bool{}}
	for i := range lab.Pods {
		require(t, lab.Pods[i].do(func() error {
			for _, port := range ports {
				if err := s.listen(t, port); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return s
}

func (s *servers) listen(t testing.TB, port uint16) error {
	at := ":" + strconv.Itoa(int(port))
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error about an answer
			}
			s.mu.Lock()
			s.seen[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())] = true
			s.mu.Unlock()
			_, _ = udp.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return nil
}

// forget forgets what has come.
func (s *servers) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.seen)
}

// came reports whether a datagram from an address and port has come to a server.
func (s *servers) came(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[from]
}

// A probe is one connection that is tried.
type probe struct {
	packet policy.Packet
	fd     int
	result result
}

// A prober makes probes, each from a port (or with an ICMP identifier) that none has used.
type prober struct {
	lab  *Lab
	next uint16
}

// Source ports: those below are served, or given out by the kernel for answers.
const firstSource, lastSource = 10000, 64000

func (p *prober) source() uint16 {
	if p.next++; p.next < firstSource || p.next > lastSource {
		p.next = firstSource
	}
	return p.next
}

// start sends the first packet of a connection.
func (p *prober) start(k policy.Packet) (*probe, error) {
	k.SrcPortNo = p.source()
	out := &probe{packet: k, result: pending}
	pod := p.pod(k.Src)
	kind, proto := unix.SOCK_STREAM, unix.IPPROTO_TCP
	dst := k.DstPortNo
	switch policy.Protocol(k.Proto) {
	case policy.UDP:
		kind, proto = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case policy.ICMP, policy.ICMPv6: // the kernel fills in identifier and checksum
		kind, proto, dst = unix.SOCK_DGRAM, int(k.Proto), 0
	}
	var err error
	if out.fd, err = pod.socket(kind, proto, k.Src.Is4()); err != nil {
		return nil, err
	}
	if err := unix.Bind(out.fd, sockaddr(k.Src, k.SrcPortNo)); err != nil {
		return nil, errors.Join(fmt.Errorf("bind %s port %d: %w", k.Src, k.SrcPortNo, err), unix.Close(out.fd))
	}
	if kind == unix.SOCK_STREAM {
		// Closing resets, so that no connection lingers.
		_ = unix.SetsockoptLinger(out.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	err = unix.Connect(out.fd, sockaddr(k.Dst, dst))
	if err == nil && kind == unix.SOCK_DGRAM {
		err = out.send()
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		if out.result = outcome(err); out.result == pending {
			return nil, errors.Join(fmt.Errorf("start %+v: %w", k, err), unix.Close(out.fd))
		}
	}
	return out, nil
}

func (p *prober) pod(a netip.Addr) *Pod {
	for i := range p.lab.Pods {
		if p.lab.Pods[i].IPs[0] == a || p.lab.Pods[i].IPs[1] == a {
			return &p.lab.Pods[i]
		}
	}
	return nil
}

func (p *probe) isTCP() bool { return policy.Protocol(p.packet.Proto) == policy.TCP }

// send sends a datagram, or an echo request (RFC 792; RFC 4443, 4.1).
func (p *probe) send() error {
	data := payload(uint32(p.packet.SrcPortNo), 0)
	if policy.Protocol(p.packet.Proto) != policy.UDP {
		data = append([]byte{p.packet.ICMPType, 0, 0, 0, 0, 0, 0, 0}, data...)
	}
	_, err := unix.Write(p.fd, data)
	return err
}

// outcome is what an error of a socket says.
func outcome(err error) result {
	for _, e := range []unix.Errno{unix.ECONNREFUSED, unix.EACCES, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ECONNRESET} {
		if errors.Is(err, e) {
			return refused
		}
	}
	return pending
}

// poll looks after an answer.
func (p *probe) poll() {
	if p.isTCP() {
		errno, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch _, peer := unix.Getpeername(p.fd); {
		case err == nil && errno != 0:
			p.result = outcome(unix.Errno(errno))
		case peer == nil:
			p.result = answered
		}
		return
	}
	var buf [64]byte
	if _, err := unix.Read(p.fd, buf[:]); err == nil {
		p.result = answered
	} else {
		p.result = outcome(err)
	}
}

// wait waits until all probes have an answer, or for a time.
func wait(list []*probe, most time.Duration) error {
	deadline := time.Now().Add(most)
	for {
		var fds []unix.PollFd
		var open []*probe
		for _, p := range list {
			if p.result != pending {
				continue
			}
			event := int16(unix.POLLIN)
			if p.isTCP() {
				event = unix.POLLOUT
			}
			fds, open = append(fds, unix.PollFd{Fd: int32(p.fd), Events: event}), append(open, p)
		}
		left := time.Until(deadline)
		if len(open) == 0 || left <= 0 {
			return nil
		}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		for i, f := range fds {
			if f.Revents != 0 {
				open[i].poll()
			}
		}
	}
}

func closeAll(list []*probe) {
	for _, p := range list {
		_ = unix.Close(p.fd)
	}
}
