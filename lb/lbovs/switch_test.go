package lbovs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbovs"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// node is a real switch with three pods and, above its uplink, a host that
// turns packets around.
type node struct {
	t    *testing.T
	in   *ovstest.Instance
	ns   []string
	pods []lbovs.Pod
	up   lbovs.Uplink
}

func hostAddr(i int) string  { return fmt.Sprintf("10.4.0.%d", i+1) }
func hostAddr6(i int) string { return fmt.Sprintf("fd00:4::%d", i+1) }

func newNode(t *testing.T, pods int) *node {
	n := &node{t: t, in: ovstest.Start(t)}
	n.in.AddBridge("br-int")
	n.in.AddBridge("br-host")
	ovstest.Veth(t, n.in.NetNS, "up0", n.in.NetNS, "vif0")
	n.up.OFPort = n.in.AddPort("br-int", "up0")
	vif := n.in.AddPort("br-host", "vif0")

	gateway := ovs.MAC{0x02, 0x74, 0x6c, 0, 0, 1}
	var turn []string
	for i := range pods {
		ns, _, port := n.in.AddNS("br-int", hostAddr(i)+"/24", hostAddr6(i)+"/64")
		link := ovstest.Run(t, ns, "cat", "/sys/class/net/eth0/address")
		hw, err := net.ParseMAC(strings.TrimSpace(link))
		require.NoError(t, err)
		mac := ovs.MAC(hw)
		// Every other address is behind the gateway, so that no neighbor need be asked for.
		for _, gw := range []string{"10.4.0.254", "fd00:4::fe"} {
			ovstest.Run(t, ns, "ip", "neigh", "replace", gw, "lladdr", gateway.String(), "dev", "eth0")
			ovstest.Run(t, ns, "ip", "route", "add", "default", "via", gw)
		}
		for j := range pods {
			if j != i {
				ovstest.Run(t, ns, "ip", "route", "add", hostAddr(j)+"/32", "via", "10.4.0.254")
				ovstest.Run(t, ns, "ip", "route", "add", hostAddr6(j)+"/128", "via", "fd00:4::fe")
			}
		}
		vlan := uint16(100 + i)
		n.ns = append(n.ns, ns)
		n.pods = append(n.pods, lbovs.Pod{ID: fmt.Sprint("pod", i), OFPort: port, VLAN: vlan, MAC: mac,
			IPs: []netip.Addr{netip.MustParseAddr(hostAddr(i)), netip.MustParseAddr(hostAddr6(i))}})
		for _, m := range []string{"ip,nw_dst=" + hostAddr(i), "ipv6,ipv6_dst=" + hostAddr6(i)} {
			turn = append(turn, fmt.Sprintf("in_port=%d,vlan_tci=0x1000/0x1000,%s actions=set_field:%d->vlan_vid,set_field:%s->eth_src,set_field:%s->eth_dst,in_port",
				vif, m, 0x1000|vlan, gateway, mac))
		}
		n.serve(i, hostAddr(i))
		n.serve(i, "["+hostAddr6(i)+"]")
	}
	n.in.Ofctl("add-flows", "br-host", n.file(turn))
	return n
}

func (n *node) file(lines []string) string {
	name := filepath.Join(n.t.TempDir(), "lines")
	require.NoError(n.t, os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return name
}

// apply replaces what the bridge has, as a controller's first sync would.
func (n *node) apply(state []lb.Frontend) {
	flows, groups, err := lbovs.Flows(state, n.pods, n.up, lbovs.DefaultLayout())
	require.NoError(n.t, err)
	var f, g []string
	for _, one := range flows {
		f = append(f, one.String())
	}
	for _, one := range groups {
		g = append(g, "add "+one.String())
	}
	n.in.Ofctl("del-groups", "br-int")
	if len(g) > 0 {
		n.in.Ofctl("--bundle", "add-groups", "br-int", n.file(g))
	}
	n.in.Ofctl("--bundle", "replace-flows", "br-int", n.file(f))
	require.NoError(n.t, n.in.PurgeDatapath(n.t.Context()))
}

// serve answers on port 8080 with "pod<i>" and who asked.
func (n *node) serve(i int, host string) {
	require.NoError(n.t, ovstest.InNS(n.ns[i], func() error {
		tcp, err := net.Listen("tcp", host+":8080")
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp", host+":8080")
		if err != nil {
			return err
		}
		n.t.Cleanup(func() { tcp.Close(); udp.Close() })
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					lines := bufio.NewReader(c)
					for {
						if _, err := lines.ReadString('\n'); err != nil {
							return
						}
						fmt.Fprintf(c, "pod%d %s\n", i, c.RemoteAddr().(*net.TCPAddr).IP)
					}
				}()
			}
		}()
		go func() {
			buf := make([]byte, 64)
			for {
				_, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(fmt.Appendf(nil, "pod%d %s\n", i, from.(*net.UDPAddr).IP), from)
			}
		}()
		return nil
	}))
}

// How long to wait for what should be answered, and for what should not.
const patience, brief = 30 * time.Second, time.Second

// dial connects from a pod; the socket takes answers from where it connects to only.
func (n *node) dial(from int, network, at string, most time.Duration) (net.Conn, error) {
	var c net.Conn
	err := ovstest.InNS(n.ns[from], func() (err error) {
		c, err = net.DialTimeout(network, at, most)
		return err
	})
	return c, err
}

func talk(c net.Conn, most time.Duration) (string, error) {
	_ = c.SetDeadline(time.Now().Add(most))
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (n *node) ask(from int, network, at string, most time.Duration) (string, error) {
	c, err := n.dial(from, network, at, most)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return talk(c, most)
}

func frontend(at string, proto uint8, affinity time.Duration, backends ...string) lb.Frontend {
	ap := netip.MustParseAddrPort(at)
	f := lb.Frontend{Key: lb.Key{Addr: ap.Addr(), Proto: proto, Port: ap.Port()}, Service: "d/web", Affinity: affinity}
	for _, b := range backends {
		ap := netip.MustParseAddrPort(b)
		f.Backends = append(f.Backends, lb.Backend{Addr: ap.Addr(), Port: ap.Port()})
	}
	return f
}

func TestSwitch(t *testing.T) {
	n := newNode(t, 3)
	two := []string{"10.4.0.2:8080", "10.4.0.3:8080"}
	state := []lb.Frontend{
		frontend("10.96.0.1:80", lb.TCP, 0, two...),
		frontend("10.96.0.1:80", lb.UDP, 0, two...),
		frontend("10.96.0.2:80", lb.TCP, time.Hour, two...),
		frontend("10.96.0.4:80", lb.TCP, 0),
		frontend("[fd96::1]:80", lb.TCP, 0, "[fd00:4::2]:8080", "[fd00:4::3]:8080"),
	}
	n.apply(state)

	for _, c := range []struct{ network, at, source string }{
		{"tcp", "10.4.0.2:8080", "10.4.0.1"}, {"udp", "10.4.0.2:8080", "10.4.0.1"}, {"tcp", "[fd00:4::2]:8080", "fd00:4::1"}} {
		got, err := n.ask(0, c.network, c.at, patience)
		require.NoError(t, err, "straight to a pod: %s %s", c.network, c.at)
		require.Equal(t, "pod1 "+c.source, got)
	}
	for _, c := range []struct{ network, at, source string }{
		{"tcp", "10.96.0.1:80", "10.4.0.1"}, {"udp", "10.96.0.1:80", "10.4.0.1"}, {"tcp", "[fd96::1]:80", "fd00:4::1"}} {
		count := map[string]int{}
		for range 60 {
			got, err := n.ask(0, c.network, c.at, patience)
			require.NoError(t, err, "%s %s", c.network, c.at)
			count[got]++
		}
		require.Len(t, count, 2, "both backends serve %s %s, and see the client: %v", c.network, c.at, count)
		require.Greater(t, count["pod1 "+c.source], 10, "%v", count)
		require.Greater(t, count["pod2 "+c.source], 10, "%v", count)
	}
	t.Run("affinity", func(t *testing.T) {
		first, err := n.ask(0, "tcp", "10.96.0.2:80", patience)
		require.NoError(t, err)
		for range 20 {
			got, err := n.ask(0, "tcp", "10.96.0.2:80", patience)
			require.NoError(t, err)
			require.Equal(t, first, got)
		}
		gone := 0 // index of the remembered backend
		if strings.HasPrefix(first, "pod2") {
			gone = 1
		}
		state[2].Backends = append([]lb.Backend(nil), state[2].Backends[1-gone])
		n.apply(state)
		for range 5 {
			got, err := n.ask(0, "tcp", "10.96.0.2:80", patience)
			require.NoError(t, err)
			require.NotEqual(t, first, got, "a removed backend is not remembered")
		}
	})
	t.Run("removal", func(t *testing.T) {
		c, err := n.dial(0, "tcp", "10.96.0.1:80", patience)
		require.NoError(t, err)
		defer c.Close()
		before, err := talk(c, patience)
		require.NoError(t, err)
		left := 1
		if strings.HasPrefix(before, "pod2") {
			left = 0
		}
		state[0].Backends = append([]lb.Backend(nil), state[0].Backends[left])
		n.apply(state)
		for range 20 {
			got, err := n.ask(0, "tcp", "10.96.0.1:80", patience)
			require.NoError(t, err)
			require.NotEqual(t, before, got, "new connections go to what is left")
		}
		got, err := talk(c, patience)
		require.NoError(t, err)
		require.Equal(t, before, got, "an established connection stays")
	})
	t.Run("no backends", func(t *testing.T) {
		for _, at := range []string{"10.96.0.4:80", "10.96.0.1:81"} {
			_, err := n.ask(0, "udp", at, brief)
			require.Error(t, err, at)
		}
		_, err := n.ask(0, "tcp", "10.96.0.4:80", brief)
		require.Error(t, err)
		dump := n.in.Ofctl("--no-names", "dump-flows", "br-int", "table=30,tcp,nw_dst=10.96.0.4")
		require.NotContains(t, dump, "n_packets=0,", "drops are counted")
	})
}
