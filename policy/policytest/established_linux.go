package policytest

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/policy"
)

// Ports of the connections in the test of established ones: one that rules change about, and
// one that is always allowed.
const servedPort, markerPort = 80, 7

// on returns a rule at the port of m1 about what reaches one of its ports by UDP.
func on(port uint16, position int, a policy.Action, e policy.Established) policy.ProgramRule {
	return policy.ProgramRule{
		ID: "s/" + policy.Port(port).String() + a.String() + "/in", Section: "s", Rule: policy.Port(port).String() + a.String(),
		Direction: policy.Ingress, Action: a, Established: e, AppliedTo: []string{"m1"},
		Order:    policy.Order{Category: policy.Application, Position: position},
		Services: []policy.Service{{Protocol: policy.UDP, Ports: []policy.PortRange{policy.Port(port)}}},
	}
}

// A talk is a connection of datagrams between two pods.
type talk struct {
	client, server, marker int // sockets
	from, to               netip.AddrPort
	next                   uint32
}

func newTalk(t testing.TB, lab *Lab, server, marker int, port uint16) *talk {
	c := &talk{server: server, marker: marker, to: netip.AddrPortFrom(lab.Pods[1].IPs[0], servedPort), from: netip.AddrPortFrom(lab.Pods[0].IPs[0], port)}
	fd, err := bound(&lab.Pods[0], c.from)
	require(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	c.client = fd
	return c
}

// sends sends a datagram and reports whether it comes. It does not, if markers that are
// always allowed have come after it.
func (c *talk) sends(t testing.TB) bool {
	t.Helper()
	c.next++
	number := c.next
	require(t, unix.Sendto(c.client, payload(0, number), 0, sockaddr(c.to.Addr(), c.to.Port())))
	for range markers {
		c.next++
		require(t, unix.Sendto(c.client, payload(0, c.next), 0, sockaddr(c.to.Addr(), markerPort)))
		if !came(t, c.marker, c.next) {
			t.Fatal("a datagram that is always allowed did not come")
		}
	}
	for {
		var buf [16]byte
		n, err := unix.Read(c.server, buf[:])
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		require(t, err)
		if n == 8 && binary.BigEndian.Uint32(buf[4:]) == number {
			return true
		}
	}
}

// answers sends a datagram back, which has to come.
func (c *talk) answers(t testing.TB) {
	t.Helper()
	c.next++
	require(t, unix.Sendto(c.server, payload(0, c.next), 0, sockaddr(c.from.Addr(), c.from.Port())))
	if !came(t, c.client, c.next) {
		t.Fatal("a reply did not come")
	}
}

// came waits for a datagram with some number.
func came(t testing.TB, fd int, number uint32) bool {
	t.Helper()
	for deadline := time.Now().Add(again); time.Now().Before(deadline); {
		var buf [16]byte
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if err == nil || errors.Is(err, unix.EINTR) {
			_, err = unix.Read(fd, buf[:])
		}
		if err == nil && binary.BigEndian.Uint32(buf[4:]) == number {
			return true
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	return false
}

// established has a connection be allowed, and then no more.
func established(t *testing.T, cfg Config, backend func(testing.TB, *Lab) Backend) {
	lab := NewLab(t, cfg.Routed)
	b := backend(t, lab)
	server, err := bound(&lab.Pods[1], netip.AddrPortFrom(lab.Pods[1].IPs[0], servedPort))
	require(t, err)
	t.Cleanup(func() { _ = unix.Close(server) })
	marker, err := bound(&lab.Pods[1], netip.AddrPortFrom(lab.Pods[1].IPs[0], markerPort))
	require(t, err)
	t.Cleanup(func() { _ = unix.Close(marker) })
	old, young := newTalk(t, lab, server, marker, 20000), newTalk(t, lab, server, marker, 20001)
	defer pin()()

	always, allow := on(markerPort, 0, policy.Allow, policy.Reevaluate), on(servedPort, 2, policy.Allow, policy.Reevaluate)
	out := policy.ProgramRule{ID: "s/out/out", Section: "s", Rule: "out", Direction: policy.Egress, Action: policy.Allow, AppliedTo: []string{"m0"},
		Order: policy.Order{Category: policy.Application}}
	prog := policy.NewProgram(policy.Drop, []policy.ProgramRule{out, always, allow}, nil)
	require(t, b.Sync(t.Context(), prog, withPorts))
	to := func(what string, rules ...policy.ProgramRule) {
		next := policy.NewProgram(policy.Drop, append(rules, out, always), nil)
		if err := b.Apply(t.Context(), policy.Diff(prog, next)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		prog = next
	}
	sends := func(c *talk, what string, want bool) {
		t.Helper()
		if got := c.sends(t); got != want {
			t.Fatalf("%s: a datagram comes: %t, want %t", what, got, want)
		}
		if want {
			c.answers(t)
		}
	}
	sends(old, "allowed", true)
	to("a deny that re-evaluates", allow, on(servedPort, 1, policy.Drop, policy.Reevaluate))
	sends(old, "a deny that re-evaluates", false)
	to("allowed again", allow)
	sends(old, "allowed again", true)
	to("no rule")
	sends(old, "no rule", false)
	if !cfg.Keep {
		return
	}
	to("allowed again", allow)
	sends(old, "allowed again", true)
	to("a deny that keeps", allow, on(servedPort, 1, policy.Drop, policy.Keep))
	sends(old, "a deny that keeps", true)
	sends(young, "a new connection", false)
}
