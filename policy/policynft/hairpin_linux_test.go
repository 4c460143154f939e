package policynft_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policynft"
)

// proxy does in the lab's namespace what kube-proxy does on a node: 10.96.0.1:80 is
// pod m1, to which all comes from an address of the node, and 10.96.0.2:80 is pod m0.
const proxy = `
table ip proxy {
	chain services { type nat hook prerouting priority -100;
		ip daddr 10.96.0.1 udp dport 80 dnat to 10.0.0.2:80
		ip daddr 10.96.0.2 udp dport 80 dnat to 10.0.0.1:9
	}
	chain hide { type nat hook postrouting priority 100;
		ip daddr 10.0.0.2 masquerade
	}
}`

// echo answers datagrams until the test ends.
func echo(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort(buf[:n], from)
	}
}

// The four cases of what a pod sends to its own service (package netpol, "Hairpins").
func TestHairpin(t *testing.T) {
	ovstest.Require(t, "root", "nft")
	f := newFixture(t, policynft.Config{})
	ovstest.Run(t, f.lab.NetNS, "nft", proxy)
	ovstest.Run(t, f.lab.Pods[1].NetNS, "ip", "link", "set", "lo", "up")
	for i, p := range f.lab.Pods[:2] {
		for _, to := range []string{"10.96.0.1", "10.96.0.2", "10.0.0.254"} {
			ovstest.Run(t, p.NetNS, "ip", "route", "replace", to, "dev", "eth0")
			ovstest.Run(t, p.NetNS, "ip", "neigh", "replace", to, "lladdr", fmt.Sprintf("02:00:00:00:02:%02x", i+1), "dev", "eth0")
		}
	}
	go echo(f.server)
	to := func(at string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)) }
	own, itself, other := f.listen(1, "10.0.0.2:11"), f.listen(1, "10.0.0.2:12"), f.listen(1, "10.0.0.2:13")
	answered := func(c *net.UDPConn, at, text string) {
		t.Helper()
		_, err := c.WriteToUDP([]byte(text), to(at))
		require.NoError(t, err)
		comes(t, c, text)
	}
	f.sync(policy.Allow)
	answered(itself, "10.96.0.1:80", "by a service to itself")
	_, err := other.WriteToUDP([]byte("by a service to another"), to("10.96.0.2:80"))
	require.NoError(t, err)
	comes(t, f.client, "by a service to another")

	before := f.hits(policynft.DefaultOut)
	f.sync(policy.Drop)
	answered(own, "10.0.0.2:80", "1 to its own address")
	answered(itself, "10.96.0.1:80", "2 by a service to itself, as before")
	answered(f.listen(1, "10.0.0.2:14"), "10.96.0.1:80", "2 by a service to itself")
	require.Equal(t, before, f.hits(policynft.DefaultOut), "no rule is asked")
	for i, c := range []*net.UDPConn{other, f.listen(1, "10.0.0.2:15")} {
		_, err := c.WriteToUDP([]byte("lost"), to("10.96.0.2:80"))
		require.NoError(t, err)
		f.counted(policynft.DefaultOut, before+i+1) // 3 by a service to another
	}
	// 4 masquerading: the other pod comes by the service from the node's address, too, but
	// rules see its own.
	f.sync(policy.Drop, in("m0", 0, policy.Allow, from("m0")))
	answered(f.client, "10.96.0.1:80", "4 of the pod that is allowed")
	f.sync(policy.Drop, in("node", 0, policy.Allow, func(r *policy.ProgramRule) { r.Peers = &policy.AddressSet{Prefixes: prefixes("10.0.0.254")} }))
	before = f.hits(policynft.DefaultIn)
	_, err = f.client.WriteToUDP([]byte("lost"), to("10.96.0.1:80"))
	require.NoError(t, err)
	f.counted(policynft.DefaultIn, before+1)
	require.Zero(t, f.hits("s/node/in"))
	answered(itself, "10.96.0.1:80", "2 still")
}
