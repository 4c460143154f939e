package policyovs_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

// A tcpStream is an established connection; a message sent at one end comes out
// at the other, or does not.
type tcpStream struct {
	t    *testing.T
	ends [2]net.Conn // of client and server
	seen [2]string
}

func end(server bool) int {
	if server {
		return 1
	}
	return 0
}

func (s *tcpStream) write(fromServer bool, text string) {
	_, err := s.ends[end(fromServer)].Write([]byte(text))
	require.NoError(s.t, err)
}

// read returns all that has come to an end so far.
func (s *tcpStream) read(atServer bool) string {
	i := end(atServer)
	s.seen[i] += strings.Join(arrived(s.t, s.ends[i]), "")
	return s.seen[i]
}

func (x *lab) tcpStream(port uint16) *tcpStream {
	ln := x.listen(x.b, x.b.v4(), port)
	s := &tcpStream{t: x.t}
	var err error
	s.ends[0], err = x.dial(x.a, "tcp", netip.AddrPortFrom(x.b.v4(), port))
	require.NoError(x.t, err)
	s.ends[1], err = ln.Accept()
	require.NoError(x.t, err)
	x.t.Cleanup(func() { s.ends[1].Close() })
	return s
}

// A udpStream is datagrams between two ports; ask opens it.
type udpStream struct {
	x              *lab
	client, server *net.UDPConn
	seen           string
}

func (x *lab) udpStream(port uint16) *udpStream {
	s := &udpStream{x: x, client: x.udp(x.a, x.a.v4(), port+1000), server: x.udp(x.b, x.b.v4(), port)}
	x.send(s.client, s.server, "open", 1)
	require.Empty(x.t, x.receive(s.server, "open"))
	x.send(s.server, s.client, "answer", 1)
	require.Empty(x.t, x.receive(s.client, "answer"))
	return s
}

// replied sends a text from the server, and reports whether it has arrived
// before what is sent behind it on another stream.
func (s *udpStream) replied(fence *udpStream, text string) bool {
	s.x.send(s.server, s.client, text, 1)
	fence.fence()
	return slices.Contains(arrived(s.x.t, s.client), text)
}

// fence returns once what was sent before from the same pod has come through, or
// never will. Of two streams the switch may take a later datagram first, if it
// finds both at once; hence the second, which is sent when the first has come.
func (s *udpStream) fence() {
	for range 2 {
		s.seen += "."
		s.x.send(s.server, s.client, "fence"+s.seen, 1)
		require.Empty(s.x.t, s.x.receive(s.client, "fence"+s.seen))
	}
}

// client are rules, and then those that let the client alone begin, to ports below 1000.
func client(rules ...policy.ProgramRule) []policy.ProgramRule {
	for _, d := range []policy.Direction{policy.Egress, policy.Ingress} {
		r := rule("client", d, policy.Allow, policy.TCP, 0)
		for _, proto := range []policy.Protocol{policy.TCP, policy.UDP} {
			r.Services = append(r.Services, policy.Service{Protocol: proto, Ports: []policy.PortRange{{From: 1, To: 999}}})
		}
		r.Services = r.Services[1:]
		rules = append(rules, r, rule("rest", d, policy.Drop, 0, 0))
	}
	return rules
}

// What a new rule denies ends by default, wherever it is denied and whoever
// sends; what is allowed still loses nothing.
func TestSwitchReevaluate(t *testing.T) {
	for _, c := range []struct {
		name  string
		dir   policy.Direction
		proto policy.Protocol
		push  bool // the server sends all the time, the client has nothing to say
	}{
		{"client to server, denied where it leaves", policy.Egress, policy.TCP, false},
		{"client to server, denied where it arrives", policy.Ingress, policy.TCP, false},
		{"stream from the server, denied where it leaves", policy.Egress, policy.TCP, true},
		{"stream from the server, denied where it arrives", policy.Ingress, policy.TCP, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newLab(t, nil)
			x.enforce(client()...)
			denied, other, fence := x.tcpStream(80), x.tcpStream(81), x.udpStream(53)
			for _, s := range []*tcpStream{denied, other} {
				s.write(false, "a")
				s.write(true, "b")
				x.eventually("both ways", func() bool { return s.read(true) == "a" && s.read(false) == "b" })
			}
			x.enforce(client(rule("deny", c.dir, policy.Drop, c.proto, 80))...)
			denied.write(c.push, "c")
			x.eventually("the connection is not there any more", func() bool {
				denied.write(true, "d")
				return !x.tracked(map[policy.Direction]uint32{policy.Egress: 1, policy.Ingress: 2}[c.dir], 80)
			})
			fence.fence()
			before := denied.read(false)
			denied.write(true, "e")
			denied.write(false, "f")
			fence.fence()
			require.Equal(t, before, denied.read(false), "after it was removed no reply passes")
			require.Equal(t, "a", denied.read(true))
			other.write(true, "c")
			other.write(false, "c")
			x.eventually("another goes on", func() bool { return other.read(true) == "ac" && other.read(false) == "bc" })
			require.True(t, x.tracked(1, 81) && x.tracked(2, 81))
		})
	}
}

// A stream of replies ends too, though no packet comes that a rule looks at; and
// one that is still allowed loses none.
func TestSwitchReevaluateReplies(t *testing.T) {
	for _, dir := range []policy.Direction{policy.Egress, policy.Ingress} {
		t.Run(dir.String(), func(t *testing.T) {
			x := newLab(t, nil)
			x.enforce(client()...)
			denied, allowed := x.udpStream(53), x.udpStream(54)
			require.True(t, denied.replied(allowed, "reply"))
			zone := map[policy.Direction]uint32{policy.Egress: 1, policy.Ingress: 2}[dir]
			require.True(t, x.tracked(zone, 53))
			x.enforce(client(rule("deny", dir, policy.Drop, policy.UDP, 53))...)
			x.eventually("the connection is not there any more", func() bool {
				denied.replied(allowed, "reply") // allowed, too, replies alone
				return !x.tracked(zone, 53)
			})
			kept := x.agent.Stats().Kept
			require.NotZero(t, kept, "the other has been looked at")
			for i := range 5 {
				require.False(t, denied.replied(allowed, fmt.Sprint(i)))
			}
			require.True(t, x.tracked(1, 54) && x.tracked(2, 54))
		})
	}
}

// A section that keeps connections denies new ones alone.
func TestSwitchKeep(t *testing.T) {
	for _, dir := range []policy.Direction{policy.Egress, policy.Ingress} {
		t.Run(dir.String(), func(t *testing.T) {
			x := newLab(t, nil)
			x.enforce(client()...)
			old, fence, replies := x.tcpStream(80), x.udpStream(52), x.udpStream(53)
			oneway, sink := x.udp(x.a, x.a.v4(), 4000), x.udp(x.b, x.b.v4(), 55)
			x.send(oneway, sink, "first", 1)
			require.Empty(t, x.receive(sink, "first"))
			keep := func(r *policy.ProgramRule) { r.Established = policy.Keep }
			deny := func(proto policy.Protocol, port uint16) policy.ProgramRule {
				return with(rule(fmt.Sprintf("deny-%s-%d", proto, port), dir, policy.Reject, proto, port), keep)
			}
			x.enforce(client(deny(policy.TCP, 80), deny(policy.UDP, 53), deny(policy.UDP, 55))...)
			_, err := x.dial(x.a, "tcp", netip.AddrPortFrom(x.b.v4(), 80))
			require.Error(t, err, "a new connection")
			old.write(false, "a")
			old.write(true, "b")
			x.eventually("both ways", func() bool { return old.read(true) == "a" && old.read(false) == "b" })
			for i := range 5 {
				require.True(t, replies.replied(fence, fmt.Sprint(i)))
			}
			x.eventually("replies are looked at once", func() bool { return x.agent.Stats().Kept > 0 })
			x.send(oneway, sink, "second", 1)
			require.Empty(t, x.receive(sink, "second"), "what never had a reply")
			require.Zero(t, x.agent.Stats().Ended)
		})
	}
}

// What a stateless rule allows makes no connection: replies need a rule.
func TestSwitchStateless(t *testing.T) {
	x := newLab(t, nil)
	stateless := func(r *policy.ProgramRule) { r.Stateless = true }
	request := []policy.ProgramRule{
		with(rule("out", policy.Egress, policy.Allow, policy.UDP, 53), stateless), with(rule("in", policy.Ingress, policy.Allow, policy.UDP, 53), stateless),
	}
	reply := []policy.ProgramRule{
		with(rule("out2", policy.Egress, policy.Allow, policy.UDP, 1053), stateless), with(rule("in2", policy.Ingress, policy.Allow, policy.UDP, 1053), stateless),
	}
	rest := []policy.ProgramRule{rule("rest", policy.Egress, policy.Drop, policy.UDP, 1053), rule("rest2", policy.Ingress, policy.Drop, policy.UDP, 1053)}
	x.enforce(append(append([]policy.ProgramRule{}, request...), rest...)...)
	fence := x.udpStream(60)
	s := &udpStream{x: x, client: x.udp(x.a, x.a.v4(), 1053), server: x.udp(x.b, x.b.v4(), 53)}
	x.send(s.client, s.server, "ask", 1)
	require.Empty(t, x.receive(s.server, "ask"))
	require.False(t, x.tracked(1, 53) || x.tracked(2, 53))
	require.False(t, s.replied(fence, "answer"))
	x.enforce(append(append(append([]policy.ProgramRule{}, request...), reply...), rest...)...)
	require.True(t, s.replied(fence, "answer"))
}
