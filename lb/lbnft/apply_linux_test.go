package lbnft_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbnft"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

func fe(at string, proto uint8, backends ...string) lb.Frontend {
	ap := netip.MustParseAddrPort(at)
	f := lb.Frontend{Key: lb.Key{Addr: ap.Addr(), Proto: proto, Port: ap.Port()}, Service: "d/web"}
	for _, b := range backends {
		ap := netip.MustParseAddrPort(b)
		f.Backends = append(f.Backends, lb.Backend{Addr: ap.Addr(), Port: ap.Port()})
	}
	return f
}

// serve answers TCP connections and UDP datagrams to address in a namespace with name.
func serve(t *testing.T, ns, address, name string) {
	require.NoError(t, ovstest.InNS(ns, func() error {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { tcp.Close(); udp.Close() })
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, name)
				c.Close()
			}
		}()
		go func() {
			buf := make([]byte, 64)
			for {
				_, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo([]byte(name+"\n"), from)
			}
		}()
		return nil
	}))
}

// patience is how long what has to happen may take.
const patience = 30 * time.Second

// ask connects from a namespace and returns the name that answers.
func ask(ns, network, address string) (answer string, err error) {
	err = ovstest.InNS(ns, func() error {
		c, err := net.DialTimeout(network, address, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "?"); err != nil {
			return err
		}
		answer, err = bufio.NewReader(c).ReadString('\n')
		answer = strings.TrimSpace(answer)
		return err
	})
	return answer, err
}

// TestKernel has a client reach two pods by way of an edge that balances.
func TestKernel(t *testing.T) {
	ovstest.Require(t, "root")
	edge, client := ovstest.NewNS(t), ovstest.NewNS(t)
	ovstest.Veth(t, edge, "up0", client, "eth0")
	ip := func(ns string, args ...string) { ovstest.Run(t, ns, append([]string{"ip"}, args...)...) }
	ip(edge, "addr", "add", "192.0.2.254/24", "dev", "up0")
	ip(edge, "addr", "add", "2001:db8::fe/64", "dev", "up0", "nodad")
	ip(client, "addr", "add", "192.0.2.100/24", "dev", "eth0")
	ip(client, "addr", "add", "2001:db8::64/64", "dev", "eth0", "nodad")
	ip(client, "route", "add", "198.51.100.0/24", "via", "192.0.2.254")
	ip(client, "route", "add", "2001:db8:1::/64", "via", "2001:db8::fe")
	require.NoError(t, ovstest.InNS(edge, func() error {
		for _, f := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(f, []byte("1"), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	for i := 1; i <= 2; i++ {
		pod, dev := ovstest.NewNS(t), fmt.Sprint("pod", i)
		ovstest.Veth(t, edge, dev, pod, "eth0")
		ip(edge, "addr", "add", fmt.Sprintf("10.4.%d.254/24", i), "dev", dev)
		ip(edge, "addr", "add", fmt.Sprintf("fd00:%d::fe/64", i), "dev", dev, "nodad")
		ip(pod, "addr", "add", fmt.Sprintf("10.4.%d.1/24", i), "dev", "eth0")
		ip(pod, "addr", "add", fmt.Sprintf("fd00:%d::1/64", i), "dev", "eth0", "nodad")
		ip(pod, "route", "add", "default", "via", fmt.Sprintf("10.4.%d.254", i))
		ip(pod, "route", "add", "default", "via", fmt.Sprintf("fd00:%d::fe", i))
		serve(t, pod, fmt.Sprintf("10.4.%d.1:8080", i), fmt.Sprint("pod", i))
		serve(t, pod, fmt.Sprintf("[fd00:%d::1]:8080", i), fmt.Sprint("pod", i))
	}

	file, err := os.Open(ovstest.NSPath(edge))
	require.NoError(t, err)
	defer file.Close()
	cfg := lbnft.Config{InputIface: "up0", NetNS: int(file.Fd())}
	apply := func(state []lb.Frontend) {
		rules, err := lbnft.Compile(state, cfg)
		require.NoError(t, err)
		require.NoError(t, rules.Apply(t.Context()))
		got, err := lbnft.List(t.Context(), cfg)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(state, got, cmpopts.EquateComparable(netip.Addr{})))
	}
	v4 := []string{"10.4.1.1:8080", "10.4.2.1:8080"}
	v6 := []string{"[fd00:1::1]:8080", "[fd00:2::1]:8080"}
	sticky := fe("198.51.100.3:80", lb.TCP, v4...)
	sticky.Affinity = time.Hour
	state := []lb.Frontend{
		fe("198.51.100.1:80", lb.TCP, v4...), fe("198.51.100.1:80", lb.UDP, v4...), fe("198.51.100.2:80", lb.TCP),
		fe("198.51.100.2:80", lb.UDP), sticky, fe("[2001:db8:1::1]:80", lb.TCP, v6...), fe("[2001:db8:1::2]:80", lb.TCP)}
	got, err := lbnft.List(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, got)
	apply(state)

	for _, c := range []struct{ network, at string }{{"tcp", "198.51.100.1:80"}, {"udp", "198.51.100.1:80"}, {"tcp", "[2001:db8:1::1]:80"}} {
		count := map[string]int{}
		for range 60 { // the chance to miss one of two pods is 2^-59
			name, err := ask(client, c.network, c.at)
			require.NoError(t, err, "%s %s", c.network, c.at)
			count[name]++
		}
		require.Len(t, count, 2, "%s %s: %v", c.network, c.at, count)
	}
	first, err := ask(client, "tcp", "198.51.100.3:80")
	require.NoError(t, err)
	for range 20 {
		name, err := ask(client, "tcp", "198.51.100.3:80")
		require.NoError(t, err)
		require.Equal(t, first, name, "a client with affinity keeps its pod")
	}
	for _, c := range []struct{ network, at string }{{"tcp", "198.51.100.2:80"}, {"udp", "198.51.100.2:80"}, {"tcp", "[2001:db8:1::2]:80"}} {
		_, err := ask(client, c.network, c.at)
		require.ErrorContains(t, err, "connection refused", "%s %s", c.network, c.at)
	}

	if _, err := ovstest.Exec(t.Context(), edge, "nft", "--version"); err == nil {
		handles := func() string {
			return ovstest.Run(t, edge, "nft", "-a", "list", "table", "inet", lbnft.DefaultTable)
		}
		require.Contains(t, handles(), "numgen random mod 2 map")
		before := strings.Count(handles(), "handle")
		table := ovstest.Run(t, edge, "nft", "-a", "list", "tables")
		apply(state)
		require.Equal(t, table, ovstest.Run(t, edge, "nft", "-a", "list", "tables"), "the same state again writes nothing")
		require.Equal(t, before, strings.Count(handles(), "handle"))
	}

	state[0].Backends = state[0].Backends[1:]
	apply(state[:2])
	for range 20 {
		name, err := ask(client, "tcp", "198.51.100.1:80")
		require.NoError(t, err)
		require.Equal(t, "pod2", name)
	}
	require.NoError(t, lbnft.Delete(t.Context(), cfg))
	require.NoError(t, lbnft.Delete(t.Context(), cfg))
	got, err = lbnft.List(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, got)
}

func ExampleCompile() {
	rules, err := lbnft.Compile([]lb.Frontend{fe("192.0.2.1:80", lb.TCP, "10.4.0.1:8080", "10.4.0.2:8080")}, lbnft.Config{Table: "edge"})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print(rules)
	// Output:
	// table inet edge {
	//   chain reject-prerouting { type filter hook prerouting priority -101
	//   }
	//   chain dnat-prerouting { type nat hook prerouting priority -100
	//     ip daddr 192.0.2.1 tcp dport 80 counter dnat to numgen random mod 2 map [10.4.0.1:8080 10.4.0.2:8080] comment "45f4394c 192.0.2.1:80/tcp d/web 0s"
	//   }
	// }
}
