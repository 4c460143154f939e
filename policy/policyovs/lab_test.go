package policyovs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// patience is how long what has to happen may take.
const patience = 30 * time.Second

// A pod is a namespace with one port on the switch.
type pod struct {
	policyovs.Port
	ns     string
	ofport uint32
	vlan   uint16
}

func (p pod) v4() netip.Addr { return p.IPs[0] }
func (p pod) v6() netip.Addr { return p.IPs[1] }

// A lab is a switch with three pods, of which c is tagged, what the other
// stages of a pipeline would do for them, and an agent.
type lab struct {
	t       *testing.T
	in      *ovstest.Instance
	conn    *openflow.Conn
	bridge  *ovs.Bridge
	l       policyovs.Layout
	a, b, c pod
	prog    *policy.Program
	agent   *policyovs.Agent
	logs    *lines
}

// lines collects records of a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// read returns the records so far, without time and level.
func (l *lines) read(t require.TestingT) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]any
	for line := range strings.Lines(l.buf.String()) {
		m := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		delete(m, "time")
		delete(m, "level")
		out = append(out, m)
	}
	return out
}

func newLab(t *testing.T, change func(*policyovs.Layout)) *lab {
	x := &lab{t: t, in: ovstest.Start(t), l: policyovs.DefaultLayout(), prog: &policy.Program{}, logs: &lines{}}
	x.l.Generation = 7
	if change != nil {
		change(&x.l)
	}
	x.in.AddBridge("br0")
	x.in.AddBridge("br1")
	x.a, x.b, x.c = x.pod(1, 0), x.pod(2, 0), x.pod(3, 100)
	for _, p := range x.pods() {
		for _, o := range x.pods() {
			for _, a := range o.IPs {
				if o.Key != p.Key {
					ovstest.Run(t, p.ns, "ip", "neigh", "replace", a.String(), "lladdr", o.MAC.String(), "dev", "eth0", "nud", "permanent")
				}
			}
		}
	}
	var err error
	x.conn, err = openflow.Dial(t.Context(), "unix", x.in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { x.conn.Close() })
	require.NoError(t, policyovs.EnsureMeters(t.Context(), x.conn, x.l))
	x.bridge = ovs.NewBridge(x.conn, ovs.Share{Cookie: uint64(x.l.Owner) << 56, Mask: ovs.OwnerMask})
	require.NoError(t, x.bridge.Set("rest", x.rest(), nil))
	x.agent = policyovs.NewAgent(x.conn, x.l, policyovs.AgentConfig{Log: slog.New(slog.NewJSONHandler(x.logs, nil)), PortAt: x.portAt})
	x.run()
	x.warm()
	return x
}

// warm returns once datagrams come through: a device that has just been made may
// lose its first.
func (x *lab) warm() {
	x.enforce()
	buf := make([]byte, 10)
	for i, from := range x.pods() {
		src, to := x.udp(from, from.v4(), 9), x.pods()[(i+1)%3]
		dst := x.udp(to, to.v4(), 10)
		x.eventually("a datagram", func() bool {
			x.send(src, dst, "warm", 1)
			require.NoError(x.t, dst.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			_, err := dst.Read(buf)
			return err == nil
		})
		require.NoError(x.t, src.Close())
		require.NoError(x.t, dst.Close())
	}
}

// run has the agent at work until the test ends.
func (x *lab) run() {
	sub, err := x.conn.Subscribe(x.t.Context(), 4096)
	require.NoError(x.t, err)
	done := make(chan error, 1)
	go func() { done <- x.agent.Run(context.Background(), sub) }()
	x.t.Cleanup(func() {
		sub.Close()
		require.ErrorIs(x.t, <-done, openflow.ErrClosed)
	})
}

func (x *lab) pods() []pod { return []pod{x.a, x.b, x.c} }

func (x *lab) portAt(a netip.Addr) string {
	for _, p := range x.pods() {
		if p.v4() == a || p.v6() == a {
			return p.ID
		}
	}
	return ""
}

func (x *lab) pod(n byte, vlan uint16) pod {
	p := pod{vlan: vlan, Port: policyovs.Port{ID: fmt.Sprintf("pod-%c", 'a'+n-1), Key: uint32(n), MAC: mac(n), IPs: ips(fmt.Sprintf("10.4.1.%d", n), fmt.Sprintf("fd00:4::%d", n))}}
	run := func(argv ...string) { ovstest.Run(x.t, p.ns, argv...) }
	if vlan == 0 {
		p.ns, _, p.ofport = x.in.AddNS("br0")
	} else {
		var dev string
		p.ns, dev, _ = x.in.AddNS("br1")
		_, err := x.in.Vsctl(x.t.Context(), "set", "port", dev, fmt.Sprintf("tag=%d", vlan))
		require.NoError(x.t, err)
		x.in.AddPort("br1", "up", "type=patch", "options:peer=down")
		p.ofport = x.in.AddPort("br0", "down", "type=patch", "options:peer=up")
		x.in.Ofctl("add-flow", "br1", "actions=NORMAL")
	}
	run("ip", "link", "set", "eth0", "address", p.MAC.String())
	run("ip", "addr", "add", p.v4().String()+"/24", "dev", "eth0")
	run("ip", "addr", "add", p.v6().String()+"/64", "dev", "eth0", "nodad")
	return p
}

// rest is what other packages have on a bridge: packets know their ports.
func (x *lab) rest() []ovs.Flow {
	l := x.l
	var out []ovs.Flow
	add := func(table uint8, prio uint16, m []ovs.FieldMatch, actions ...ovs.Action) {
		out = append(out, ovs.Flow{Table: table, Priority: prio, Cookie: ovs.MakeCookie(l.Owner, 1, 0), Match: ovs.NewMatch(m...), Actions: actions})
	}
	add(l.ARP, 1, nil, ovs.Goto(l.EgressCT))
	for _, p := range x.pods() {
		in, out := []ovs.FieldMatch{ovs.InPort(p.ofport)}, []ovs.Action{ovs.ClearInPort(), ovs.Output(p.ofport)}
		tag := []ovs.Action{}
		if p.vlan != 0 {
			in, tag = append(in, ovs.VLANVID(p.vlan)), append(tag, ovs.PopVLAN())
			out = append([]ovs.Action{ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(p.vlan))}, out...)
		}
		add(0, 1, in, append(tag, ovs.SetField(ovs.Reg(l.Source, p.Key)), ovs.SetField(ovs.Reg(l.Zone, p.Key)), ovs.SetField(ovs.Metadata(4096)), ovs.Goto(l.Spoofguard))...)
		add(l.L2, 1, []ovs.FieldMatch{ovs.Metadata(4096), ovs.EthDst(p.MAC)}, ovs.SetField(ovs.Reg(l.Dest, p.Key)), ovs.SetField(ovs.Reg(l.Zone, p.Key)), ovs.Goto(l.IngressCT))
		add(l.Output, 1, []ovs.FieldMatch{ovs.Reg(l.Dest, p.Key)}, out...)
	}
	return out
}

// enforce puts rules in force, of which the first are tried first; what none of
// them is about is allowed.
func (x *lab) enforce(rules ...policy.ProgramRule) {
	x.t.Helper()
	for i := range rules {
		r := &rules[i]
		r.ID, r.Order.Section = fmt.Sprintf("%s/%s/%s", r.Section, r.Rule, r.Direction), i
	}
	next := policy.NewProgram(policy.Allow, rules, nil)
	if policyovs.Narrows(x.prog, policy.Diff(x.prog, next)) {
		x.l.Generation++
	}
	x.prog = next
	var ports []policyovs.Port
	for _, p := range x.pods() {
		ports = append(ports, p.Port)
	}
	flows, err := policyovs.Flows(next, ports, x.l)
	require.NoError(x.t, err)
	x.agent.Set(next, ports, x.l.Generation)
	require.NoError(x.t, x.bridge.Set("policy", flows, nil))
	_, err = x.bridge.Sync(x.t.Context())
	require.NoError(x.t, err)
	require.NoError(x.t, x.in.PurgeDatapath(x.t.Context()))
}

// rule is one about a destination port of TCP or UDP; 0 is any packet.
func rule(section string, d policy.Direction, a policy.Action, proto policy.Protocol, port uint16) policy.ProgramRule {
	r := policy.ProgramRule{Section: section, Rule: "r", Direction: d, Action: a}
	if port != 0 {
		r.Services = []policy.Service{{Protocol: proto, Ports: []policy.PortRange{policy.Port(port)}}}
	} else if proto != 0 {
		r.Services = []policy.Service{{Protocol: proto}}
	}
	return r
}

func with(r policy.ProgramRule, change func(*policy.ProgramRule)) policy.ProgramRule {
	change(&r)
	return r
}

// inside opens something in the namespace of a pod, and closes it when the test ends.
func inside[T interface{ Close() error }](x *lab, p pod, open func() (T, error)) T {
	x.t.Helper()
	var v T
	require.NoError(x.t, ovstest.InNS(p.ns, func() (err error) { v, err = open(); return err }))
	x.t.Cleanup(func() { _ = v.Close() })
	return v
}

func (x *lab) listen(p pod, a netip.Addr, port uint16) *net.TCPListener {
	return inside(x, p, func() (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	})
}

func (x *lab) udp(p pod, a netip.Addr, port uint16) *net.UDPConn {
	return inside(x, p, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	})
}

// dial connects; the error is that of the system.
func (x *lab) dial(p pod, network string, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := ovstest.InNS(p.ns, func() (err error) {
		d := net.Dialer{Timeout: patience}
		c, err = d.Dial(network, to.String())
		return err
	})
	if err == nil {
		x.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// send sends datagrams with a text.
func (x *lab) send(from *net.UDPConn, to *net.UDPConn, text string, times int) {
	x.t.Helper()
	for range times {
		_, err := from.WriteToUDPAddrPort([]byte(text), to.LocalAddr().(*net.UDPAddr).AddrPort())
		require.NoError(x.t, err)
	}
}

// receive returns the texts of the datagrams that come before one that says end.
func (x *lab) receive(c *net.UDPConn, end string) []string {
	x.t.Helper()
	var out []string
	buf := make([]byte, 2000)
	for {
		require.NoError(x.t, c.SetReadDeadline(time.Now().Add(patience)))
		n, err := c.Read(buf)
		require.NoError(x.t, err, "%s has not come, but %v", end, out)
		if string(buf[:n]) == end {
			return out
		}
		out = append(out, string(buf[:n]))
	}
}

// arrived returns what has come to a socket, read by read, and does not wait: a
// read of Go's whose deadline has passed does not look.
func arrived(t *testing.T, c net.Conn) (out []string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	for buf := make([]byte, 2000); ; {
		var n int
		var failed error
		require.NoError(t, raw.Read(func(fd uintptr) bool { n, failed = syscall.Read(int(fd), buf); return true }))
		switch {
		case failed == syscall.EINTR:
		case failed != nil || n == 0:
			return out
		default:
			out = append(out, string(buf[:n]))
		}
	}
}

func (x *lab) eventually(what string, done func() bool) {
	x.t.Helper()
	require.Eventually(x.t, done, patience, 10*time.Millisecond, what)
}

// tracked reports whether a zone has a connection with a destination port.
func (x *lab) tracked(zone uint32, port uint16) bool {
	for line := range strings.Lines(x.in.Appctl("dpctl/dump-conntrack")) {
		if strings.Contains(line, fmt.Sprintf("zone=%d,", zone)) && strings.Contains(line, fmt.Sprintf("dport=%d)", port)) {
			return true
		}
	}
	return false
}
