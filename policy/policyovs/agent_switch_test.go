package policyovs_test

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// Who is rejected is told, at either end, by either address family, through tags.
func TestSwitchReject(t *testing.T) {
	x := newLab(t, nil)
	x.enforce(
		rule("egress", policy.Egress, policy.Reject, policy.TCP, 81), rule("ingress", policy.Ingress, policy.Reject, policy.TCP, 82),
		rule("egress-udp", policy.Egress, policy.Reject, policy.UDP, 81), rule("ingress-udp", policy.Ingress, policy.Reject, policy.UDP, 82),
		rule("echo", policy.Ingress, policy.Reject, policy.ICMP, 0),
	)
	for _, c := range []struct{ from, to pod }{{x.a, x.b}, {x.a, x.c}, {x.c, x.a}} {
		for _, addr := range c.to.IPs {
			x.listen(c.to, addr, 80)
			x.listen(c.to, addr, 81)
			x.listen(c.to, addr, 82)
			_, err := x.dial(c.from, "tcp", netip.AddrPortFrom(addr, 80))
			require.NoError(t, err)
			want := syscall.EHOSTUNREACH
			if addr.Is6() {
				want = syscall.EACCES
			}
			for _, port := range []uint16{81, 82} {
				_, err := x.dial(c.from, "tcp", netip.AddrPortFrom(addr, port))
				require.ErrorIs(t, err, syscall.ECONNREFUSED, "%s -> %s:%d", c.from.ID, addr, port)
				u, err := x.dial(c.from, "udp", netip.AddrPortFrom(addr, port))
				require.NoError(t, err)
				_, err = u.Write([]byte("hello"))
				require.NoError(t, err)
				require.NoError(t, u.SetReadDeadline(time.Now().Add(patience)))
				_, err = u.Read(make([]byte, 10))
				require.ErrorIs(t, err, want, "%s -> %s:%d", c.from.ID, addr, port)
			}
		}
	}
	ping := inside(x, x.a, func() (net.PacketConn, error) { return net.ListenPacket("ip4:icmp", "0.0.0.0") })
	echo := []byte{8, 0, 0, 0, 0, 9, 0, 1}
	be.PutUint16(echo[2:], rightSum(echo))
	_, err := ping.WriteTo(echo, &net.IPAddr{IP: x.b.v4().AsSlice()})
	require.NoError(t, err)
	require.NoError(t, ping.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, 1500)
	for {
		n, from, err := ping.ReadFrom(got)
		require.NoError(t, err)
		if from.String() == x.b.v4().String() {
			require.Equal(t, append([]byte{3, 13}, echo...), append(append([]byte{}, got[:2]...), got[28:n]...))
			break
		}
	}
	x.eventually("answers are counted", func() bool { return x.agent.Stats().Answered >= 3*2*4+1 })
	require.Zero(t, x.agent.Stats().Failed)
}

// An established connection that is rejected from now on is reset.
func TestSwitchRejectEstablished(t *testing.T) {
	x := newLab(t, nil)
	x.enforce()
	ln := x.listen(x.b, x.b.v4(), 80)
	c, err := x.dial(x.a, "tcp", netip.AddrPortFrom(x.b.v4(), 80))
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	x.enforce(rule("s", policy.Ingress, policy.Reject, policy.TCP, 80))
	// The first write is rejected, unless a packet was before; then it fails.
	if _, err = c.Write([]byte("hello")); err == nil {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		_, err = c.Read(make([]byte, 10))
	}
	require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
}

// A line for each packet that is logged: the first of a connection that is
// allowed, each that is not.
func TestSwitchLog(t *testing.T) {
	x := newLab(t, func(l *policyovs.Layout) { l.LogDrops = true })
	label := func(r *policy.ProgramRule) { r.Logged, r.Name, r.LogLabel = true, "shop/web", "tier-1" }
	deny := rule("deny", policy.Egress, policy.Drop, policy.UDP, 54)
	x.enforce(
		with(rule("allow", policy.Ingress, policy.Allow, policy.UDP, 53), label), deny,
		with(rule("no", policy.Ingress, policy.Reject, policy.TCP, 82), label),
		with(rule("raw", policy.Egress, policy.Allow, policy.UDP, 56), func(r *policy.ProgramRule) { label(r); r.Stateless = true }),
		rule("quiet", policy.Egress, policy.Allow, policy.UDP, 57),
	)
	from := x.udp(x.a, x.a.v4(), 4000)
	dns, no, raw, fence := x.udp(x.b, x.b.v4(), 53), x.udp(x.b, x.b.v4(), 54), x.udp(x.b, x.b.v4(), 56), x.udp(x.b, x.b.v4(), 57)
	x.send(from, dns, "x", 1)
	x.eventually("the first is logged", func() bool { return x.agent.Stats().Logged == 1 })
	x.send(from, dns, "x", 4)
	x.send(from, no, "x", 2)
	x.send(from, raw, "x", 3)
	_, err := x.dial(x.a, "tcp", netip.AddrPortFrom(x.b.v4(), 82))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	x.send(from, fence, "end", 1)
	require.Empty(t, x.receive(fence, "end"))
	udp := func(action, dir, section, policy string, port float64) map[string]any {
		return map[string]any{"msg": "packet", "action": action, "direction": dir, "policy": policy, "section": section, "rule": "r",
			"from": "pod-a", "to": "pod-b", "protocol": "UDP", "src": "10.4.1.1", "dst": "10.4.1.2", "src_port": 4000., "dst_port": port}
	}
	allow, stateless := udp("ALLOW", "IN", "allow", "shop/web", 53), udp("ALLOW", "OUT", "raw", "shop/web", 56)
	allow["label"], stateless["label"] = "tier-1", "tier-1"
	drop := udp("DROP", "OUT", "deny", "deny", 54)
	x.eventually("seven lines", func() bool { return x.agent.Stats().Logged >= 7 })
	got, opened := x.logs.read(t), false
	got = slices.DeleteFunc(got, func(m map[string]any) bool {
		if m["protocol"] != "TCP" {
			return false
		}
		delete(m, "src_port") // whatever it was
		again := opened       // a client that was not answered within a second asks again
		opened = true
		return again
	})
	tcp := map[string]any{"msg": "packet", "action": "REJECT", "direction": "IN", "policy": "shop/web", "section": "no", "rule": "r", "label": "tier-1",
		"from": "pod-a", "to": "pod-b", "protocol": "TCP", "src": "10.4.1.1", "dst": "10.4.1.2", "dst_port": 82.}
	require.ElementsMatch(t, []map[string]any{allow, drop, drop, stateless, stateless, stateless, tcp}, got)
}

// What no rule is about is logged as such, where that is a drop.
func TestSwitchLogDefault(t *testing.T) {
	x := newLab(t, func(l *policyovs.Layout) { l.LogDrops = true })
	x.enforce()
	x.prog = &policy.Program{}
	ports := []policyovs.Port{x.a.Port, x.b.Port, x.c.Port}
	flows, err := policyovs.Flows(x.prog, ports, x.l)
	require.NoError(t, err)
	x.agent.Set(x.prog, ports, x.l.Generation)
	require.NoError(t, x.bridge.Set("policy", flows, nil))
	_, err = x.bridge.Sync(t.Context())
	require.NoError(t, err)
	require.NoError(t, x.in.PurgeDatapath(t.Context()))
	from, to := x.udp(x.a, x.a.v6(), 4000), x.udp(x.b, x.b.v6(), 53)
	x.send(from, to, "x", 1)
	x.eventually("a line", func() bool { return x.agent.Stats().Logged == 1 })
	require.Equal(t, []map[string]any{{"msg": "packet", "action": "DROP", "direction": "OUT", "policy": "default", "from": "pod-a", "to": "pod-b",
		"protocol": "UDP", "src": "fd00:4::1", "dst": "fd00:4::2", "src_port": 4000., "dst_port": 53.}}, x.logs.read(t))
}

// What is too much is held back by the switch, and counted.
func TestSwitchLogIsLimited(t *testing.T) {
	x := newLab(t, nil)
	require.NoError(t, policyovs.EnsureMeters(t.Context(), x.conn, x.l), "again")
	x.enforce(with(rule("deny", policy.Egress, policy.Drop, policy.UDP, 54), func(r *policy.ProgramRule) { r.Logged = true }))
	from, to := x.udp(x.a, x.a.v4(), 4000), x.udp(x.b, x.b.v4(), 54)
	const sent = 5 * policyovs.LogRate
	x.send(from, to, "x", sent)
	x.eventually("some are logged, some held back", func() bool {
		held, err := policyovs.MeterExcess(t.Context(), x.conn, x.l)
		require.NoError(t, err)
		logged := x.agent.Stats().Logged
		require.LessOrEqual(t, held.Logged+logged, uint64(sent))
		return held.Logged > 0 && logged > 0
	})
	require.Zero(t, x.agent.Stats().Failed)
}

// Counters are what was sent: by rules of one flow, of several, of a conjunction.
func TestSwitchCounters(t *testing.T) {
	x := newLab(t, nil)
	conjunction := rule("conj", policy.Egress, policy.Allow, policy.UDP, 0)
	conjunction.Services = []policy.Service{{Protocol: policy.UDP, Ports: []policy.PortRange{policy.Port(60), policy.Port(70), policy.Port(90)}}}
	conjunction.Peers = &policy.AddressSet{Prefixes: []netip.Prefix{pfx("10.4.1.2/32"), pfx("10.4.1.7/32"), pfx("10.4.1.9/32")}}
	x.enforce(conjunction,
		rule("one", policy.Egress, policy.Allow, policy.UDP, 53), rule("deny", policy.Ingress, policy.Drop, policy.UDP, 54),
		with(rule("logged", policy.Ingress, policy.Allow, policy.UDP, 55), func(r *policy.ProgramRule) { r.Logged = true }),
	)
	from, fence := x.udp(x.a, x.a.v4(), 4000), x.udp(x.b, x.b.v4(), 99)
	x.send(from, fence, "begin", 1)
	require.Empty(t, x.receive(fence, "begin"))
	for port, n := range map[uint16]int{53: 11, 54: 12, 55: 13, 60: 5, 90: 9} {
		to := x.udp(x.b, x.b.v4(), port)
		x.send(from, to, "x", n-1)
		x.send(from, to, "last", 1)
		if port == 54 {
			continue // denied
		}
		require.Len(t, x.receive(to, "last"), n-1)
		x.send(to, from, "reply", 4) // counted for none
	}
	x.send(from, fence, "end", 1)
	require.Empty(t, x.receive(fence, "end"))
	want := map[string]uint64{"OUT conj": 14, "OUT one": 11, "IN deny": 12, "IN logged": 13}
	got := map[string]uint64{}
	defer func() { t.Log(got) }()
	x.eventually("counters", func() bool {
		stats, err := x.conn.FlowStats(t.Context(), 0, 0)
		require.NoError(t, err)
		clear(got)
		for _, h := range policyovs.Counters(x.prog, x.l, stats) {
			if h.Section != "" {
				got[h.Direction.String()+" "+h.Section] += h.Packets
				require.GreaterOrEqual(t, h.Bytes, h.Packets*(14+20+8+1))
			}
		}
		return reflect.DeepEqual(want, got)
	})
}
