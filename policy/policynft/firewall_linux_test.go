package policynft_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policynft"
	"github.com/tierloom/tierloom/policy/policytest"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if !strings.Contains(s, "/") {
			a := netip.MustParseAddr(s)
			s = fmt.Sprintf("%s/%d", a, a.BitLen())
		}
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// in returns a rule for what reaches all ports, at a place in category Application.
func in(id string, position int, a policy.Action, with ...func(*policy.ProgramRule)) policy.ProgramRule {
	r := policy.ProgramRule{ID: "s/" + id + "/in", Section: "s", Rule: id, Direction: policy.Ingress, Action: a,
		Order: policy.Order{Category: policy.Application, Position: position}}
	for _, f := range with {
		f(&r)
	}
	return r
}

func from(sets ...string) func(*policy.ProgramRule) {
	return func(r *policy.ProgramRule) { r.Peers = &policy.AddressSet{Sets: sets} }
}

func service(p policy.Protocol, port uint16) func(*policy.ProgramRule) {
	return func(r *policy.ProgramRule) {
		r.Services = append(r.Services, policy.Service{Protocol: p, Ports: []policy.PortRange{policy.Port(port)}})
	}
}

func stateless(r *policy.ProgramRule) { r.Stateless = true }
func keep(r *policy.ProgramRule)      { r.Established = policy.Keep }
func egress(r *policy.ProgramRule) {
	r.Direction, r.ID = policy.Egress, strings.TrimSuffix(r.ID, "in")+"out"
}
func logged(label string) func(*policy.ProgramRule) {
	return func(r *policy.ProgramRule) { r.Logged, r.LogLabel = true, label }
}

// A fixture is a lab with a firewall at the port of pod m1, and UDP sockets there and in m0.
type fixture struct {
	*policynft.Firewall
	t              testing.TB
	lab            *policytest.Lab
	client, server *net.UDPConn
}

func newFixture(t testing.TB, cfg policynft.Config) *fixture {
	lab := policytest.NewLab(t, true)
	f := &fixture{Firewall: firewall(t, lab.NetNS, cfg), t: t, lab: lab}
	f.client, f.server = f.listen(0, "10.0.0.1:9"), f.listen(1, "10.0.0.2:80")
	return f
}

func (f *fixture) listen(pod int, at string) (c *net.UDPConn) {
	require.NoError(f.t, ovstest.InNS(f.lab.Pods[pod].NetNS, func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
		return err
	}))
	f.t.Cleanup(func() { c.Close() })
	return c
}

func (f *fixture) sync(def policy.Action, rules ...policy.ProgramRule) {
	f.t.Helper()
	sets := map[string][]netip.Prefix{"m0": prefixes("10.0.0.1"), "others": prefixes("10.0.0.3", "fd00::3")}
	require.NoError(f.t, f.Sync(f.t.Context(), policy.NewProgram(def, rules, sets), portsOf(f.lab, []string{"m1"})))
}

func (f *fixture) hits(id string) int {
	f.t.Helper()
	list, err := f.Counters(f.t.Context())
	require.NoError(f.t, err)
	require.Contains(f.t, list, id)
	return int(list[id].Packets)
}

// send sends a datagram with a text from one socket to the other.
func send(t testing.TB, from, to *net.UDPConn, text string) {
	t.Helper()
	_, err := from.WriteToUDPAddrPort([]byte(text), to.LocalAddr().(*net.UDPAddr).AddrPort())
	require.NoError(t, err)
}

// passes sends a datagram, which has to come.
func passes(t testing.TB, from, to *net.UDPConn, text string) {
	t.Helper()
	send(t, from, to, text)
	comes(t, to, text)
}

// comes waits for a datagram.
func comes(t testing.TB, to *net.UDPConn, text string) {
	t.Helper()
	buf := make([]byte, 64)
	require.NoError(t, to.SetReadDeadline(time.Now().Add(30*time.Second)))
	n, err := to.Read(buf)
	require.NoError(t, err, text)
	require.Equal(t, text, string(buf[:n]), "a datagram of before")
}

// lost sends a datagram, which has to be counted by a rule and not come. (What
// would come after all is found by the next that passes.)
func (f *fixture) lost(from, to *net.UDPConn, rule string) {
	f.t.Helper()
	before := f.hits(rule)
	send(f.t, from, to, "lost")
	f.counted(rule, before+1)
}

// counted waits until a rule has counted so many packets, or more.
func (f *fixture) counted(rule string, n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.hits(rule) >= n }, 30*time.Second, time.Millisecond, rule)
}

func TestEstablished(t *testing.T) {
	f := newFixture(t, policynft.Config{})
	allow := in("allow", 1, policy.Allow, service(policy.UDP, 80))
	f.sync(policy.Drop, allow)
	passes(t, f.client, f.server, "first")
	require.Equal(t, 1, f.hits("s/allow/in"))
	passes(t, f.server, f.client, "reply")

	// KEEP: what has been allowed goes on, what is new does not begin.
	other := f.listen(0, "10.0.0.1:10")
	f.sync(policy.Drop, in("deny", 0, policy.Drop, keep), allow)
	passes(t, f.client, f.server, "kept")
	passes(t, f.server, f.client, "reply to what is kept")
	f.lost(other, f.server, "s/deny/in")

	// RE_EVALUATE: it ends, replies too, but for rules in their own right.
	f.sync(policy.Drop, in("deny", 0, policy.Drop), allow)
	passes(t, f.server, f.client, "a reply on its way")
	f.lost(f.client, f.server, "s/deny/in")
	f.lost(f.server, f.client, policynft.DefaultOut)
	f.sync(policy.Drop, in("deny", 0, policy.Drop), in("out", 1, policy.Allow, egress))
	passes(t, f.server, f.client, "in its own right")

	// Without a rule it ends as well; once it is allowed again, replies pass again.
	f.sync(policy.Drop)
	f.lost(f.client, f.server, policynft.DefaultIn)
	f.sync(policy.Drop, allow)
	passes(t, f.client, f.server, "again")
	passes(t, f.server, f.client, "reply again")
}

// With the addresses of ports, an update ends connections itself: replies do not pass
// either, unless the rule keeps.
func TestEstablishedEnds(t *testing.T) {
	f := newFixture(t, policynft.Config{})
	ports := portsOf(f.lab, []string{"m1"})
	ports[0].IPs = f.lab.Pods[1].IPs
	allow, sets := in("allow", 2, policy.Allow, service(policy.UDP, 80), from("m0")), map[string][]netip.Prefix{"m0": prefixes("10.0.0.1"), "bad": {}}
	sync := func(rules ...policy.ProgramRule) {
		require.NoError(t, f.Sync(t.Context(), policy.NewProgram(policy.Drop, append(rules, in("bad", 0, policy.Drop, from("bad"))), sets), ports))
	}
	begin := func() {
		sync(allow)
		passes(t, f.client, f.server, "first")
		passes(t, f.server, f.client, "reply")
	}
	begin()
	sync(allow, in("deny", 1, policy.Drop, keep))
	passes(t, f.server, f.client, "kept")
	sync(allow, in("other", 1, policy.Drop, service(policy.UDP, 81)))
	passes(t, f.server, f.client, "not affected")
	sync(allow, in("deny", 1, policy.Drop))
	f.lost(f.server, f.client, policynft.DefaultOut)
	begin()
	sync()
	f.lost(f.server, f.client, policynft.DefaultOut)

	for _, change := range []policy.SetChange{{ID: "m0", Removed: prefixes("10.0.0.1")}, {ID: "bad", Added: prefixes("10.0.0.1")}} {
		begin()
		require.NoError(t, f.Apply(t.Context(), policy.Change{Sets: []policy.SetChange{{ID: "m0", Added: prefixes("10.0.0.77")}}}))
		passes(t, f.server, f.client, "no less")
		require.NoError(t, f.Apply(t.Context(), policy.Change{Sets: []policy.SetChange{change}}))
		f.lost(f.server, f.client, policynft.DefaultOut)
	}
}

func TestStateless(t *testing.T) {
	f := newFixture(t, policynft.Config{})
	there, back := in("there", 0, policy.Allow, stateless, service(policy.UDP, 80)), in("back", 0, policy.Allow, stateless, egress, service(policy.UDP, 9))
	f.sync(policy.Drop, there)
	passes(t, f.client, f.server, "there")
	f.lost(f.server, f.client, policynft.DefaultOut)
	f.sync(policy.Drop, there, back)
	passes(t, f.server, f.client, "back")
	f.sync(policy.Drop, back)
	f.lost(f.client, f.server, policynft.DefaultIn)
}

// dial connects from pod m0 and returns the error.
func (f *fixture) dial(network, at string) error {
	return ovstest.InNS(f.lab.Pods[0].NetNS, func() error {
		c, err := net.DialTimeout(network, at, 30*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		for try := 0; strings.HasPrefix(network, "udp") && try < 30; try++ {
			// An error of the network comes with the next write or read.
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err = c.Write([]byte("x")); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		return err
	})
}

func TestReject(t *testing.T) {
	f := newFixture(t, policynft.Config{})
	f.sync(policy.Allow, in("no", 0, policy.Reject))
	// What Linux makes of ICMP "administratively prohibited" (icmp_err_convert, tab_unreach).
	for host, want := range map[string]error{"10.0.0.2": unix.EHOSTUNREACH, "[fd00::2]": unix.EACCES} {
		require.ErrorIs(t, f.dial("tcp", host+":80"), unix.ECONNREFUSED, host)
		require.ErrorIs(t, f.dial("udp", host+":80"), want, host)
	}
	require.GreaterOrEqual(t, f.hits("s/no/in"), 4)
}

func TestPrefix(t *testing.T) {
	long, longer := strings.Repeat("x", 100), strings.Repeat("x", 200)
	for _, c := range []struct {
		action          policy.Action
		id, label, want string
	}{
		{policy.Drop, "s/r/in", "", "DROP s/r/in"},
		{policy.Allow, "s/r/in", "a label", "ALLOW s/r/in a label"},
		{policy.Reject, "a b\n/r/in", "two\nlines", "REJECT a_b_/r/in two_lines"},
		{policy.Drop, long, longer, "DROP " + long + " " + longer[:127-len(long)-6]},
		{policy.Drop, long, longer[:20] + "é", "DROP " + long + " " + longer[:20]},
		{policy.Drop, longer, "label", "DROP rule-bc88f91c41e13e20f62a80ab0cc46a18 label"},
		{policy.Drop, longer[:122], "label", "DROP " + longer[:122]},
	} {
		got := policynft.Prefix(c.action, c.id, c.label)
		require.Equal(t, c.want, got)
		require.LessOrEqual(t, len(got), 127)
	}
}

func TestHost(t *testing.T) {
	f := newFixture(t, policynft.Config{Host: true})
	router := func() (c *net.UDPConn) {
		require.NoError(t, ovstest.InNS(f.lab.NetNS, func() (err error) {
			c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 254), Port: 53})
			return err
		}))
		t.Cleanup(func() { c.Close() })
		return c
	}()
	route := func() {
		ovstest.Run(t, f.lab.Pods[1].NetNS, "ip", "neigh", "replace", "10.0.0.254", "lladdr", "02:00:00:00:02:02", "dev", "eth0")
	}
	route()
	f.sync(policy.Drop, in("out", 0, policy.Allow, egress, service(policy.UDP, 53)))
	passes(t, f.server, router, "to the host")
	passes(t, router, f.server, "its reply")
	f.sync(policy.Drop)
	f.lost(f.server, router, policynft.DefaultOut)
}

// Counters have all packets, the log a few of them.
func TestCountersAndLog(t *testing.T) {
	f := newFixture(t, policynft.Config{LogGroup: 7, LogRate: 1, LogBurst: 3})
	log := newLog(t, f.lab.NetNS, 7)
	f.sync(policy.Drop, in("allow", 0, policy.Allow, service(policy.UDP, 80), from("m0"), logged("come in")), in("deny", 1, policy.Drop, logged("")))
	const n = 50
	for i := range n {
		passes(t, f.client, f.server, fmt.Sprint(i))
	}
	require.Equal(t, n, f.hits("s/allow/in"))
	require.Zero(t, f.hits("s/deny/in"))
	require.Equal(t, "ALLOW s/allow/in come in", log.next(t), "the first packet of a connection")

	other := f.listen(2, "10.0.0.3:9")
	for range n {
		f.lost(other, f.server, "s/deny/in")
	}
	require.Equal(t, n, f.hits("s/deny/in"))
	f.sync(policy.Drop, in("end", 0, policy.Drop, logged("end")))
	f.lost(f.client, f.server, "s/end/in")
	drops := 0
	for line := log.next(t); line != "DROP s/end/in end"; line = log.next(t) {
		require.Equal(t, "DROP s/deny/in", line)
		drops++
	}
	require.True(t, drops >= 3 && drops < n, "%d of %d packets are in the log", drops, n)
}

// list returns the lines that nft says of a table, sorted, without what comes and goes.
func (f *fixture) list(table string) string {
	out := ovstest.Run(f.t, f.lab.NetNS, "nft", "list", "table", "inet", table)
	out = regexp.MustCompile(`packets \d+ bytes \d+`).ReplaceAllString(out, "packets")
	lines := strings.Split(regexp.MustCompile(`([a-z]|-[0-9a-f]{32})\.\d+\b`).ReplaceAllString(out, "$1"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A Firewall that finds its table makes it its own, and leaves nothing of before.
func TestRestart(t *testing.T) {
	ovstest.Require(t, "root", "nft")
	f := newFixture(t, policynft.Config{})
	ovstest.Run(t, f.lab.NetNS, "nft", "add table inet other; add chain inet other forward { type filter hook forward priority 10; }; add rule inet other forward counter accept")
	allow := in("allow", 1, policy.Allow, from("m0"), service(policy.UDP, 80))
	gone := in("gone", 0, policy.Drop, from("others"), service(policy.TCP, 1), service(policy.TCP, 3))
	f.sync(policy.Drop, gone, allow)
	passes(t, f.client, f.server, "before")
	f.sync(policy.Drop, allow)
	fresh := f.list(policynft.DefaultTable)
	f.sync(policy.Drop, gone, allow)
	require.NotEqual(t, fresh, f.list(policynft.DefaultTable))

	other := &fixture{Firewall: firewall(t, f.lab.NetNS, policynft.Config{}), t: t, lab: f.lab}
	_, err := other.Counters(t.Context())
	require.ErrorIs(t, err, policynft.ErrInvalid)
	other.sync(policy.Drop, allow)
	require.Equal(t, fresh, f.list(policynft.DefaultTable))
	require.Equal(t, 1, other.hits("s/allow/in"), "counters survive")
	passes(t, f.server, f.client, "connections survive")
	passes(t, f.client, f.server, "after")
	require.Equal(t, 2, other.hits("s/allow/in"))

	// Somebody removes the table: the next update says so, the one after mends it.
	ovstest.Run(t, f.lab.NetNS, "nft", "delete", "table", "inet", policynft.DefaultTable)
	change := policy.Change{Sets: []policy.SetChange{{ID: "m0", Added: prefixes("10.0.0.9")}}}
	require.ErrorIs(t, other.Apply(t.Context(), change), unix.ENOENT)
	require.NoError(t, other.Apply(t.Context(), change))
	require.Contains(t, f.list(policynft.DefaultTable), "10.0.0.9")

	file, err := os.Open(ovstest.NSPath(f.lab.NetNS))
	require.NoError(t, err)
	defer file.Close()
	for range 2 {
		require.NoError(t, policynft.Delete(t.Context(), policynft.Config{NetNS: int(file.Fd())}))
	}
	require.Contains(t, f.list("other"), "counter packets accept")
	require.NotContains(t, ovstest.Run(t, f.lab.NetNS, "nft", "list", "tables"), policynft.DefaultTable)
}

// An address is one element: no chain and no rule is another one than before.
func TestElements(t *testing.T) {
	ovstest.Require(t, "root", "nft")
	f := newFixture(t, policynft.Config{})
	f.sync(policy.Drop, in("a", 0, policy.Allow, from("m0", "others")), in("b", 1, policy.Allow, from("others")))
	rules := func() string {
		var out struct{ Nftables []map[string]json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(ovstest.Run(t, f.lab.NetNS, "nft", "-j", "-a", "list", "table", "inet", policynft.DefaultTable)), &out))
		var b strings.Builder
		for _, one := range out.Nftables {
			fmt.Fprintf(&b, "%s%s\n", one["chain"], one["rule"])
		}
		return b.String()
	}
	before := rules()
	require.NoError(t, f.Apply(t.Context(), policy.Change{Sets: []policy.SetChange{
		{ID: "others", Added: prefixes("10.0.0.4", "10.0.0.128/25", "fd00::4"), Removed: prefixes("fd00::3")}}}))
	require.Equal(t, before, rules())
	list := f.list(policynft.DefaultTable)
	for _, want := range []string{"10.0.0.3, 10.0.0.4", "10.0.0.128/25", "{ fd00::4 }"} {
		require.Contains(t, list, want)
	}
	require.NoError(t, f.Apply(t.Context(), policy.Change{}))
	require.Equal(t, before, rules())
	f.sync(policy.Drop, in("a", 0, policy.Allow, from("m0", "others")), in("b", 1, policy.Drop, from("others")))
	require.NotEqual(t, before, rules())
}

// Faults are all named, and change nothing.
func TestFaults(t *testing.T) {
	ovstest.Require(t, "root", "nft")
	f := newFixture(t, policynft.Config{})
	f.sync(policy.Drop, in("a", 0, policy.Allow, from("m0")))
	before := f.list(policynft.DefaultTable)
	bad := policy.NewProgram(policy.Pass, []policy.ProgramRule{in("a", 0, policy.Pass), in("a", 1, 9, func(r *policy.ProgramRule) {
		r.Direction, r.Local, r.Services = policy.InOut, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}, []policy.Service{{Protocol: policy.ICMP, Ports: []policy.PortRange{{From: 2, To: 1}}}}
	})}, map[string][]netip.Prefix{"g": {netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}, "h": prefixes("10.0.0.2", "10.0.0.1")})
	err := f.Sync(t.Context(), bad, []policynft.Port{{ID: "p", Interface: "pod1"}, {ID: "p", Interface: "pod1", IPs: []netip.Addr{{}}}, {Interface: "a-name-that-is-too-long"}})
	require.ErrorIs(t, err, policynft.ErrInvalid)
	for _, want := range []string{`port "p": its id is empty or there twice`, `port "p": interface pod1 is that of port "p"`, `port "": "a-name-that-is-too-long" is not the name`,
		`port "p": invalid IP is not the address`, "program: default JUMP_TO_APPLICATION", `rule "s/a/in": action: JUMP_TO_APPLICATION in category "Application"`, `rule "s/a/in": it is there twice`,
		`rule "s/a/in": direction: IN_OUT is neither`, `rule "s/a/in": action: 9`, `rule "s/a/in": local[0]: 10.0.0.1/8 is not an IPv4 or IPv6 prefix`, `rule "s/a/in": services[0].protocol: ICMP has no ports`,
		`services[0].destination_ports[0]: 2-1 ends before it begins`, `set "g": 10.0.0.0/8 and 10.1.0.0/16 overlap`, `set "h": 10.0.0.1/32 comes after 10.0.0.2/32`} {
		require.ErrorContains(t, err, want)
	}
	for _, c := range []struct {
		change policy.SetChange
		want   string
	}{
		{policy.SetChange{ID: "m0", Added: prefixes("10.0.0.1")}, `set "m0": 10.0.0.1/32 and 10.0.0.1/32 overlap`},
		{policy.SetChange{ID: "m0", Added: prefixes("10.0.0.0/30")}, `set "m0": 10.0.0.1/32 and 10.0.0.0/30 overlap`},
		{policy.SetChange{ID: "m0", Removed: prefixes("10.0.0.2")}, `set "m0": 10.0.0.2/32 is not in it`},
		{policy.SetChange{ID: "m0", Added: prefixes("10.0.0.9", "10.0.0.8")}, `set "m0": 10.0.0.8/32 comes after 10.0.0.9/32`},
		{policy.SetChange{ID: "new", Added: []netip.Prefix{{}}}, `set "new": invalid Prefix is not a prefix`},
	} {
		err := f.Apply(t.Context(), policy.Change{Sets: []policy.SetChange{c.change}})
		require.ErrorIs(t, err, policynft.ErrInvalid, c.want)
		require.ErrorContains(t, err, c.want)
	}
	err = f.Apply(t.Context(), policy.Change{Gone: []string{"x"}, Sets: []policy.SetChange{{ID: "z", Gone: true}, {ID: "m0"}}})
	for _, want := range []string{`rule "x": it is not there`, `set "z": it is not there`, `set "m0": the change has it after "z"`} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, before, f.list(policynft.DefaultTable))
	_, err = policynft.New(policynft.Config{EgressMark: 3, Table: strings.Repeat("x", 300)})
	require.ErrorContains(t, err, "are not two bits")
	require.ErrorContains(t, err, "is longer than 200 bytes")
	require.NoError(t, f.Close())
	require.Error(t, f.Sync(t.Context(), nil, nil))
	require.Error(t, f.Apply(t.Context(), policy.Change{}))
	fresh := firewall(t, f.lab.NetNS, policynft.Config{})
	require.ErrorContains(t, fresh.Apply(t.Context(), policy.Change{}), "before the first Sync")
	require.True(t, errors.Is(fresh.Close(), nil))
}
