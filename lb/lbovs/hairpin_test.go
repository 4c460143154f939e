package lbovs_test

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
)

// deny has the host drop all and count it: IP packets between pods as they are, any other IP packet.
func (n *node) deny() {
	lines := []string{"priority=1,ip,actions=drop", "priority=1,ipv6,actions=drop", "priority=0,actions=drop"}
	for _, p := range n.pods {
		for _, q := range n.pods {
			if p.ID != q.ID {
				lines = append(lines, fmt.Sprintf("priority=2,ip,nw_src=%s,nw_dst=%s,actions=drop", p.IPs[0], q.IPs[0]),
					fmt.Sprintf("priority=2,ipv6,ipv6_src=%s,ipv6_dst=%s,actions=drop", p.IPs[1], q.IPs[1]))
			}
		}
	}
	// Neighbor and router discovery, multicast listeners (RFC 4861, RFC 3810).
	for _, kind := range []int{130, 131, 132, 133, 134, 135, 136, 143} {
		lines = append(lines, fmt.Sprintf("priority=3,icmp6,icmp_type=%d,actions=drop", kind))
	}
	n.in.Ofctl("replace-flows", "br-host", n.file(lines))
	require.NoError(n.t, n.in.PurgeDatapath(n.t.Context()))
}

var counted = regexp.MustCompile(`n_packets=(\d+)`)

// came adds up what the host has dropped by flows of a priority.
func (n *node) came(priority int) int {
	n.in.Appctl("revalidator/wait")
	sum := 0
	for line := range strings.Lines(n.in.Ofctl("--no-names", "dump-flows", "br-host")) {
		if m := counted.FindStringSubmatch(line); m != nil && strings.Contains(line, fmt.Sprintf("priority=%d,", priority)) {
			packets, err := strconv.Atoi(m[1])
			require.NoError(n.t, err)
			sum += packets
		}
	}
	return sum
}

// connected dials until a pod answers, as which pod one connects is chance, and keeps that connection.
func (n *node) connected(from int, at, who string) net.Conn {
	n.t.Helper()
	for range 100 {
		c, err := n.dial(from, "tcp", at, patience)
		require.NoError(n.t, err)
		got, err := talk(c, patience)
		require.NoError(n.t, err)
		if strings.HasPrefix(got, who+" ") {
			n.t.Cleanup(func() { c.Close() })
			return c
		}
		c.Close()
	}
	n.t.Fatalf("%s never picked %s", at, who)
	return nil
}

// spread makes many connections at once and counts who answers, "" being nobody.
func (n *node) spread(from int, at string) map[string]int {
	var answers [40]string
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i], _ = n.ask(from, "tcp", at, brief) })
	}
	wg.Wait()
	count := map[string]int{}
	for _, who := range answers {
		name, _, _ := strings.Cut(who, " ")
		count[name]++
	}
	return count
}

// The four cases of what a pod sends to its own service (package netpol, "Hairpins"),
// while the firewall above the uplink lets nothing pass any more.
func TestHairpin(t *testing.T) {
	n := newNode(t, 2)
	external := frontend("203.0.113.7:80", lb.TCP, 0, "10.4.0.1:8080")
	external.Kind = lb.ExternalIP
	n.apply([]lb.Frontend{
		frontend("10.96.0.1:80", lb.TCP, 0, "10.4.0.1:8080", "10.4.0.2:8080"),
		frontend("[fd96::1]:80", lb.TCP, 0, "[fd00:4::1]:8080", "[fd00:4::2]:8080"),
		frontend("10.96.0.3:80", lb.TCP, 0, "10.4.0.1:8080"),
		frontend("10.96.0.3:80", lb.UDP, 0, "10.4.0.1:8080"),
		frontend("10.96.0.3:81", lb.UDP, 0, "10.4.0.1:8081"),
		frontend("10.96.0.4:80", lb.TCP, time.Hour, "10.4.0.1:8080"),
		frontend("[fd96::3]:80", lb.TCP, 0, "[fd00:4::1]:8080"),
		frontend("[fd96::3]:80", lb.UDP, 0, "[fd00:4::1]:8080"),
		frontend("[fd96::3]:81", lb.UDP, 0, "[fd00:4::1]:8081"),
		external,
	})
	itself, itself6 := n.connected(0, "10.96.0.1:80", "pod0"), n.connected(0, "[fd96::1]:80", "pod0")
	other, other6 := n.connected(0, "10.96.0.1:80", "pod1"), n.connected(0, "[fd96::1]:80", "pod1")
	n.deny()
	const self, self6 = "169.254.169.252", "fd74:6c00::252"

	t.Run("1 a pod to its own address", func(t *testing.T) {
		for _, c := range []struct{ network, at, source string }{
			{"tcp", "10.4.0.1:8080", "10.4.0.1"}, {"udp", "10.4.0.1:8080", "10.4.0.1"}, {"tcp", "[fd00:4::1]:8080", "fd00:4::1"}} {
			got, err := n.ask(0, c.network, c.at, patience)
			require.NoError(t, err, "%s %s", c.network, c.at)
			require.Equal(t, "pod0 "+c.source, got)
		}
	})
	t.Run("2 a pod by a service to itself", func(t *testing.T) {
		for _, c := range []struct{ network, at, source string }{
			{"tcp", "10.96.0.3:80", self}, {"udp", "10.96.0.3:80", self}, {"tcp", "10.96.0.4:80", self}, {"tcp", "10.96.0.4:80", self},
			{"tcp", "203.0.113.7:80", self}, {"tcp", "[fd96::3]:80", self6}, {"udp", "[fd96::3]:80", self6}} {
			got, err := n.ask(0, c.network, c.at, patience)
			require.NoError(t, err, "%s %s", c.network, c.at)
			require.Equal(t, "pod0 "+c.source, got)
		}
		for _, at := range []string{"10.96.0.3:81", "[fd96::3]:81"} {
			_, err := n.ask(0, "udp", at, patience)
			require.ErrorIs(t, err, syscall.ECONNREFUSED, "the ICMP error of a port where nobody listens comes back: %s", at)
		}
		for want, c := range map[string]net.Conn{self: itself, self6: itself6} {
			got, err := talk(c, patience)
			require.NoError(t, err, "an established connection goes on")
			require.Equal(t, "pod0 "+want, got)
		}
		require.Zero(t, n.came(1), "the firewall does not see it") // but perhaps the end of a connection to the other pod
	})
	t.Run("3 a pod by a service to another", func(t *testing.T) {
		var wg sync.WaitGroup // what is not answered takes its time
		for _, c := range []net.Conn{other, other6} {
			wg.Go(func() {
				_, err := talk(c, brief)
				assert.Error(t, err, "an established connection is the firewall's")
			})
		}
		for _, at := range []string{"10.96.0.1:80", "[fd96::1]:80"} {
			wg.Go(func() {
				count := n.spread(0, at)
				assert.Zero(t, count["pod1"], "%s: %v", at, count)
				assert.NotZero(t, count["pod0"], "%s: %v", at, count)
				assert.NotZero(t, count[""], "%s: %v", at, count)
			})
		}
		wg.Wait()
		require.Eventually(t, func() bool { return n.came(2) > 0 }, 30*time.Second, 10*time.Millisecond)
	})
	t.Run("4 masquerading", func(t *testing.T) {
		require.Zero(t, n.came(1), "the firewall sees the addresses of the two pods, nothing else: %s", n.in.Ofctl("dump-flows", "br-host"))
	})
}
