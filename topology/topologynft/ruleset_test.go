package topologynft_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologynft"
)

func snat(id, source, to string) topology.NATRule {
	return topology.NATRule{ID: id, Gateway: "t0", Action: topology.SNAT, Source: netip.MustParsePrefix(source), Translated: netip.MustParseAddr(to)}
}

func dnat(id, destination, to string) topology.NATRule {
	return topology.NATRule{ID: id, Gateway: "t0", Action: topology.DNAT, Destination: netip.MustParsePrefix(destination), Translated: netip.MustParseAddr(to)}
}

func noSNAT(id, source, destination string) topology.NATRule {
	return topology.NATRule{ID: id, Gateway: "t0", Action: topology.NoSNAT, Source: netip.MustParsePrefix(source), Destination: netip.MustParsePrefix(destination)}
}

func ExampleCompile() {
	rules, err := topologynft.Compile([]topology.NATRule{
		snat("web", "10.4.1.0/24", "192.0.2.10"), dnat("vm", "192.0.2.77/32", "10.4.1.7"), noSNAT("dc", "10.4.1.0/24", "10.0.0.0/8"),
	}, topologynft.Config{Table: "edge", Uplink: "up0"})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print(rules)
	// Output:
	// table inet edge {
	//   chain prerouting { type nat hook prerouting priority -100
	//     iifname "up0" ip daddr 192.0.2.77/32 counter dnat ip to 10.4.1.7 comment "vm"
	//   }
	//   chain forward { type filter hook forward priority 0
	//     iifname "up0" ip daddr 10.4.1.0/24 ct state != established,related ct status ! dnat counter drop comment "web"
	//   }
	//   chain postrouting { type nat hook postrouting priority 100
	//     oifname "up0" ip saddr 10.4.1.0/24 ip daddr 10.0.0.0/8 counter accept comment "dc"
	//     oifname "up0" ip saddr 10.4.1.0/24 counter snat ip to 192.0.2.10 comment "web"
	//   }
	// }
}

func TestCompileFaults(t *testing.T) {
	for name, c := range map[string]struct {
		rule topology.NATRule
		want string
	}{
		"action":     {topology.NATRule{ID: "x", Gateway: "t0"}, `nat rule "x": action ""`},
		"source":     {topology.NATRule{ID: "x", Gateway: "t0", Action: topology.SNAT, Translated: netip.MustParseAddr("1.1.1.1")}, "source_network: SNAT needs one"},
		"translated": {topology.NATRule{ID: "x", Gateway: "t0", Action: topology.DNAT, Destination: netip.MustParsePrefix("1.1.1.1/32")}, "translated_network: DNAT needs one"},
		"family":     {snat("x", "10.0.0.0/8", "2001:db8::1"), "different families"},
		"id":         {snat(strings.Repeat("x", 201), "10.0.0.0/8", "1.1.1.1"), "longer than 200 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := topologynft.Compile([]topology.NATRule{c.rule}, topologynft.Config{})
			require.ErrorIs(t, err, topology.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := topologynft.Compile([]topology.NATRule{snat("x", "10.0.0.0/8", "1.1.1.1"), snat("x", "10.0.0.0/8", "1.1.1.1")}, topologynft.Config{})
	require.ErrorContains(t, err, "twice")
}

// namespace returns a new network namespace and its file descriptor.
func namespace(t *testing.T) (string, int) {
	ns := ovstest.NewNS(t)
	f, err := os.Open(ovstest.NSPath(ns))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return ns, int(f.Fd())
}

// TestReadBack has the kernel return every ruleset as it was given.
func TestReadBack(t *testing.T) {
	ovstest.Require(t, "root")
	_, fd := namespace(t)
	cfg := topologynft.Config{Table: "t", Uplink: "up0", NetNS: fd}
	rnd := rand.New(rand.NewPCG(3, 4))
	prefix := func(v6 bool) netip.Prefix {
		if v6 {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, byte(rnd.UintN(4)), 15: byte(rnd.UintN(256))}), int(1+rnd.UintN(128)))
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rnd.UintN(4)), 0, byte(rnd.UintN(256))}), int(1+rnd.UintN(32)))
	}
	have, err := topologynft.List(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, have)
	for round := range 40 {
		var rules []topology.NATRule
		for i := range rnd.UintN(6) {
			v6 := rnd.UintN(2) == 0
			r := topology.NATRule{ID: fmt.Sprint("r", i), Gateway: "t0", Source: prefix(v6), Destination: prefix(v6), Translated: prefix(v6).Addr(),
				Action: []topology.NATAction{topology.SNAT, topology.DNAT, topology.NoSNAT}[rnd.UintN(3)]}
			if r.Action == topology.SNAT && rnd.UintN(2) == 0 {
				r.Destination = netip.Prefix{}
			}
			if r.Action == topology.DNAT && rnd.UintN(2) == 0 {
				r.Source = netip.Prefix{}
			}
			rules = append(rules, r)
		}
		compiled, err := topologynft.Compile(rules, cfg)
		require.NoError(t, err)
		require.NoError(t, compiled.Apply(t.Context()))
		have, err := topologynft.List(t.Context(), cfg)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(compiled.Rules(), have), "round %d: %v", round, rules)
		rnd.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		again, err := topologynft.Compile(rules, cfg)
		require.NoError(t, err)
		require.Equal(t, compiled.String(), again.String())
	}
	require.NoError(t, topologynft.Delete(t.Context(), cfg))
	require.NoError(t, topologynft.Delete(t.Context(), cfg))
}

// patience is how long what has to happen may take.
const patience = 30 * time.Second

// TestKernel has pods behind an edge talk with a host outside.
func TestKernel(t *testing.T) {
	ovstest.Require(t, "root")
	edge, fd := namespace(t)
	outside, pod, routed := ovstest.NewNS(t), ovstest.NewNS(t), ovstest.NewNS(t)
	ovstest.Veth(t, edge, "up0", outside, "eth0")
	ovstest.Veth(t, edge, "down0", pod, "eth0")
	ovstest.Veth(t, edge, "down1", routed, "eth0")
	ip := func(ns, args string) {
		ovstest.Run(t, ns, append([]string{"ip"}, strings.Fields(args)...)...)
	}
	ip(edge, "addr add 192.0.2.1/24 dev up0")
	ip(edge, "addr add 192.0.2.10/32 dev up0")
	ip(edge, "addr add 192.0.2.77/32 dev up0")
	ip(edge, "addr add 10.4.1.1/24 dev down0")
	ip(edge, "addr add 10.5.1.1/24 dev down1")
	ip(outside, "addr add 192.0.2.100/24 dev eth0")
	ip(outside, "route add 10.0.0.0/8 via 192.0.2.1")
	ip(pod, "addr add 10.4.1.2/24 dev eth0")
	ip(pod, "route add default via 10.4.1.1")
	ip(routed, "addr add 10.5.1.2/24 dev eth0")
	ip(routed, "route add default via 10.5.1.1")
	require.NoError(t, ovstest.InNS(edge, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) }))

	cfg := topologynft.Config{Uplink: "up0", NetNS: fd}
	rules := []topology.NATRule{snat("ns", "10.4.1.0/24", "192.0.2.10"), dnat("vm", "192.0.2.77/32", "10.4.1.2")}
	compiled, err := topologynft.Compile(rules, cfg)
	require.NoError(t, err)
	require.NoError(t, compiled.Apply(t.Context()))
	for _, ns := range []string{outside, pod, routed} {
		serve(t, ns)
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"snat", pod, "192.0.2.100:80", "192.0.2.10"},
		{"routed keeps its address", routed, "192.0.2.100:80", "10.5.1.2"},
		{"between networks no snat", pod, "10.5.1.2:80", "10.4.1.2"},
		{"dnat", outside, "192.0.2.77:80", "192.0.2.100"},
		{"to a routed network", outside, "10.5.1.2:80", "192.0.2.100"},
	} {
		got, err := ask(c.from, c.to, patience)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
	}
	_, err = ask(outside, "10.4.1.2:80", 300*time.Millisecond)
	require.ErrorContains(t, err, "timeout", "a network behind SNAT is not reached by its own addresses")

	counted, err := ovstest.Exec(t.Context(), edge, "nft", "list", "table", "inet", topologynft.DefaultTable)
	if err == nil {
		t.Log(counted)
		require.NoError(t, compiled.Apply(t.Context()))
		require.Equal(t, counted, ovstest.Run(t, edge, "nft", "list", "table", "inet", topologynft.DefaultTable), "the same rules again write nothing: the counters stay")
	}
	compiled, err = topologynft.Compile(append(rules, noSNAT("no", "10.4.1.0/24", "192.0.2.100/32")), cfg)
	require.NoError(t, err)
	require.NoError(t, compiled.Apply(t.Context()))
	got, err := ask(pod, "192.0.2.100:80", patience)
	require.NoError(t, err)
	require.Equal(t, "10.4.1.2", got)
}

// serve tells everyone who connects to port 80 which address it has.
func serve(t *testing.T, ns string) {
	require.NoError(t, ovstest.InNS(ns, func() error {
		l, err := net.Listen("tcp4", ":80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
				c.Close()
			}
		}()
		return nil
	}))
}

func ask(ns, to string, timeout time.Duration) (answer string, err error) {
	err = ovstest.InNS(ns, func() error {
		c, err := net.DialTimeout("tcp4", to, timeout)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(timeout))
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		answer = string(buf[:n])
		return err
	})
	return answer, err
}
