package topologyovs_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologyovs"
)

var update = flag.Bool("update", false, "write golden files")

func model() topology.Model {
	child := func(id, segment, parent string, vlan uint16, ip, mac string) topology.Port {
		return topology.Port{ID: id, Segment: segment,
			Attachment: topology.Attachment{Type: topology.AttachmentChild, Parent: parent, VLAN: vlan},
			Addresses:  []topology.AddressBinding{{IP: netip.MustParseAddr(ip), MAC: mac}}}
	}
	parent := func(id string) topology.Port {
		return topology.Port{ID: id, Attachment: topology.Attachment{Type: topology.AttachmentParent, ID: "if-" + id}}
	}
	segment := func(id string, vni uint32, gateway string) topology.Segment {
		return topology.Segment{ID: id, Tier1: "t1", VNI: vni, Subnets: []topology.Subnet{{Gateway: netip.MustParsePrefix(gateway)}}}
	}
	return topology.Model{
		Tier0s:   []topology.Tier0{{ID: "t0", TransitVNI: 100}},
		Tier1s:   []topology.Tier1{{ID: "t1", Tier0: "t0"}},
		Segments: []topology.Segment{segment("red", 1001, "10.4.1.1/24"), segment("blue", 1002, "10.4.2.1/24")},
		Ports: []topology.Port{parent("n1"), parent("n2"),
			child("a", "red", "n1", 1, "10.4.1.2", "02:00:00:00:00:0a"), child("b", "red", "n1", 2, "10.4.1.3", "02:00:00:00:00:0b"),
			child("c", "red", "n2", 1, "10.4.1.4", "02:00:00:00:00:0c"), child("d", "blue", "n1", 3, "10.4.2.2", "02:00:00:00:00:0d"),
			child("e", "blue", "n2", 2, "10.4.2.3", "02:00:00:00:00:0e")},
		Hosts: []topology.Host{{ID: "h1", TEP: netip.MustParseAddr("172.16.0.1"), Role: topology.RoleHost},
			{ID: "h2", TEP: netip.MustParseAddr("172.16.0.2"), Role: topology.RoleHost},
			{ID: "edge", TEP: netip.MustParseAddr("172.16.0.9"), Role: topology.RoleEdge}},
		PortHost: map[string]string{"n1": "h1", "n2": "h2"},
	}
}

var keys = map[string]uint32{"a": 11, "b": 12, "d": 13, "c": 21, "e": 22}

func flows(t testing.TB, host string) []ovs.Flow {
	span, err := model().Span(host)
	require.NoError(t, err)
	in, err := topologyovs.InputOf(span, keys)
	require.NoError(t, err)
	list, err := topologyovs.Flows(in, topologyovs.DefaultLayout())
	require.NoError(t, err)
	return list
}

func text(list []ovs.Flow) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, host := range []string{"h1", "edge"} {
		got, file := text(flows(t, host)), filepath.Join("testdata", host+".flows")
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(string(want), got), "%s: run with -update and read the difference", file)
	}
}

// TestOrder has the same flows come of the same input in any order.
func TestOrder(t *testing.T) {
	span, err := model().Span("h1")
	require.NoError(t, err)
	in, err := topologyovs.InputOf(span, keys)
	require.NoError(t, err)
	want, err := topologyovs.Flows(in, topologyovs.DefaultLayout())
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		rnd.Shuffle(len(in.Segments), func(i, j int) { in.Segments[i], in.Segments[j] = in.Segments[j], in.Segments[i] })
		rnd.Shuffle(len(in.Ports), func(i, j int) { in.Ports[i], in.Ports[j] = in.Ports[j], in.Ports[i] })
		rnd.Shuffle(len(in.Neighbors), func(i, j int) { in.Neighbors[i], in.Neighbors[j] = in.Neighbors[j], in.Neighbors[i] })
		got, err := topologyovs.Flows(in, topologyovs.DefaultLayout())
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(text(want), text(got)))
	}
}

func TestInvalid(t *testing.T) {
	port := topologyovs.Port{ID: "a", Key: 1, VNI: 1, MAC: ovs.MAC{2}}
	for name, c := range map[string]struct {
		in   topologyovs.Input
		l    func(*topologyovs.Layout)
		want string
	}{
		"key":       {in: topologyovs.Input{Ports: []topologyovs.Port{{ID: "a"}}}, want: `port "a": key 0`},
		"two keys":  {in: topologyovs.Input{Ports: []topologyovs.Port{port, {ID: "b", Key: 1}}}, want: `key 1: also of port "a"`},
		"tep":       {in: topologyovs.Input{Neighbors: []topology.SpanNeighbor{{ID: "n", MAC: "02:00:00:00:00:01"}}}, want: `neighbor "n": tep`},
		"mac":       {in: topologyovs.Input{Neighbors: []topology.SpanNeighbor{{ID: "n", MAC: "x", TEP: netip.MustParseAddr("1.1.1.1")}}}, want: `neighbor "n": mac`},
		"tables":    {l: func(l *topologyovs.Layout) { l.L3 = 1 }, want: "table 40 of l2 is not before 1 of l3"},
		"registers": {l: func(l *topologyovs.Layout) { l.Dest = 0 }, want: "are not different"},
	} {
		t.Run(name, func(t *testing.T) {
			l := topologyovs.DefaultLayout()
			if c.l != nil {
				c.l(&l)
			}
			_, err := topologyovs.Flows(c.in, l)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// bridge starts a switch with the flows and the least of the other stages.
// The function it returns traces a packet: the datapath's actions, before them
// where to the tunnel it goes.
func bridge(t *testing.T, host string, more ...string) (*ovstest.Instance, func(packet string) string) {
	ovstest.Require(t, "ovs", "root")
	in := ovstest.Start(t)
	in.AddBridge("br0")
	for i := range 4 { // ports 1..4; 4 stands for the tunnel
		name := fmt.Sprint("p", i+1)
		require.EqualValues(t, i+1, in.AddPort("br0", name, "type=internal", fmt.Sprintf("ofport_request=%d", i+1)))
	}
	more = append(more,
		"table=30,actions=goto_table:40", "table=70,actions=goto_table:80", "table=0,priority=0,actions=drop",
		"table=0,in_port=4,actions=move:NXM_NX_TUN_ID[0..31]->OXM_OF_METADATA[0..31],goto_table:40", "table=80,reg1=0,actions=output:4")
	for port, key := range map[int]uint32{1: 11, 2: 12, 3: 13} {
		more = append(more, fmt.Sprintf("table=80,reg1=%d,actions=load:0->NXM_OF_IN_PORT[],output:%d", key, port))
	}
	file := filepath.Join(t.TempDir(), "flows")
	require.NoError(t, os.WriteFile(file, []byte(text(flows(t, host))+strings.Join(more, "\n")+"\n"), 0o644))
	in.Ofctl("--bundle", "add-flows", "br0", file)
	return in, func(packet string) string {
		out := in.Trace("br0", packet)
		_, actions, ok := strings.Cut(out, "Datapath actions: ")
		require.True(t, ok, out)

		to := ""
		for _, m := range tunnelTo.FindAllStringSubmatch(out, -1) {
			to += fmt.Sprintf("tunnel %s %s: ", m[1], m[2])
		}
		actions, _, _ = strings.Cut(actions, "\n")
		return to + actions
	}
}

var tunnelTo = regexp.MustCompile(`set_field:(\S+)->tun_id\s+set_field:(\S+)->tun_dst`)

// dp returns the datapath's number of a port.
func dp(t *testing.T, in *ovstest.Instance) map[string]string {
	out := map[string]string{}
	for line := range strings.SplitSeq(in.Appctl("dpif/show"), "\n") {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		_, number, ok2 := strings.Cut(rest, "/")
		if n, _, ok3 := strings.Cut(number, ":"); ok && ok2 && ok3 {
			out[name] = n
		}
	}
	require.Contains(t, out, "p4")
	return out
}

func TestHostOnSwitch(t *testing.T) {
	in, trace := bridge(t, "h1",
		"table=0,in_port=1,actions=load:11->NXM_NX_REG0[],load:11->NXM_NX_REG5[],load:1001->OXM_OF_METADATA[],goto_table:20",
		"table=0,in_port=2,actions=load:12->NXM_NX_REG0[],load:12->NXM_NX_REG5[],load:1001->OXM_OF_METADATA[],goto_table:20",
		"table=0,in_port=3,actions=load:13->NXM_NX_REG0[],load:13->NXM_NX_REG5[],load:1002->OXM_OF_METADATA[],goto_table:20")
	p := dp(t, in)
	const a, ff = "dl_src=02:00:00:00:00:0a", "ff:ff:ff:ff:ff:ff"
	arp := func(tpa string) string {
		return fmt.Sprintf("in_port=1,arp,%s,dl_dst=%s,arp_op=1,arp_spa=10.4.1.2,arp_sha=02:00:00:00:00:0a,arp_tpa=%s", a, ff, tpa)
	}
	ip := func(dst, mac string) string {
		return fmt.Sprintf("in_port=1,udp,%s,dl_dst=%s,nw_src=10.4.1.2,nw_dst=%s,nw_ttl=64", a, mac, dst)
	}
	const gw = topology.DefaultRouterMAC
	for _, c := range []struct{ name, packet, want, wantNot string }{
		{"arp gateway", arp("10.4.1.1"), "set(arp(sip=10.4.1.1,tip=10.4.1.2,op=2,sha=02:74:6c:00:00:01,tha=02:00:00:00:00:0a))," + p["p1"], p["p4"]},
		{"arp local", arp("10.4.1.3"), "sha=02:00:00:00:00:0b", ""},
		{"arp remote", arp("10.4.1.4"), "sha=02:00:00:00:00:0c", ""},
		{"arp other segment floods", arp("10.4.2.2"), p["p4"] + "," + p["p2"], "sha="},
		{"arp own address floods", arp("10.4.1.2"), p["p4"] + "," + p["p2"], "sha="},
		{"l2 local", ip("10.4.1.3", "02:00:00:00:00:0b"), p["p2"], ""},
		{"l2 remote", ip("10.4.1.4", "02:00:00:00:00:0c"), "tunnel 0x3e9 172.16.0.2: ", ""},
		{"l2 unknown", ip("10.4.1.9", "02:00:00:00:00:99"), "drop", ""},
		{"l3 local", ip("10.4.2.2", gw), "set(eth(src=02:74:6c:00:00:01,dst=02:00:00:00:00:0d)),set(ipv4(ttl=63))," + p["p3"], ""},
		{"l3 remote", ip("10.4.2.3", gw), "tunnel 0x3ea 172.16.0.2: ", ""},
		{"l3 unknown address", ip("10.4.2.9", gw), "drop", ""},
		{"l3 default route", ip("8.8.8.8", gw), "tunnel 0x64 172.16.0.9: ", ""},
		{"l3 default route mac", ip("8.8.8.8", gw), "dst=02:74:6c:00:00:02", ""},
		{"l3 link-local", ip("169.254.1.1", gw), "drop", ""},
		{"ping gateway", strings.Replace(ip("10.4.1.1", gw), "udp", "icmp,icmp_type=8", 1), "set(icmp(type=0,code=0))," + p["p1"], ""},
		{"ping other gateway", strings.Replace(ip("10.4.2.1", gw), "udp", "icmp,icmp_type=8", 1), "set(icmp(type=0,code=0))," + p["p1"], ""},
		{"broadcast", ip("255.255.255.255", ff), p["p4"] + "," + p["p2"], p["p3"]},
		{"alone in its segment", "in_port=3,udp,dl_src=02:00:00:00:00:0d,dl_dst=" + ff + ",nw_src=10.4.2.2,nw_dst=10.4.2.255", "tunnel 0x3ea 172.16.0.2: ", p["p1"]},
		{"tunnel to local", "in_port=4,tun_id=1001,udp,dl_dst=02:00:00:00:00:0a", p["p1"], ""},
		{"tunnel broadcast", "in_port=4,tun_id=1001,udp,dl_dst=" + ff, p["p1"] + "," + p["p2"], p["p4"]},
		{"tunnel to tunnel", "in_port=4,tun_id=1001,udp,dl_dst=02:00:00:00:00:0c", "drop", ""},
		{"tunnel to router", "in_port=4,tun_id=1001,udp,nw_dst=8.8.8.8,nw_ttl=9,dl_dst=" + gw, "drop", ""},
		{"tunnel of unknown segment", "in_port=4,tun_id=5,udp,dl_dst=02:00:00:00:00:0a", "drop", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := trace(c.packet)
			require.Contains(t, got, c.want)
			if c.wantNot != "" {
				require.NotContains(t, strings.Split(got, ","), c.wantNot)
			}
		})
	}
}

func TestEdgeOnSwitch(t *testing.T) {
	_, trace := bridge(t, "edge", "table=0,in_port=1,actions=load:100->OXM_OF_METADATA[],goto_table:40")
	const in = "in_port=1,udp,dl_src=02:74:6c:00:00:02,nw_src=8.8.8.8,nw_ttl=9"
	require.Contains(t, trace(in+",dl_dst=02:74:6c:00:00:01,nw_dst=10.4.2.3"), "tunnel 0x3ea 172.16.0.2: ")
	require.Contains(t, trace(in+",dl_dst=02:74:6c:00:00:01,nw_dst=10.4.1.3"), "set(eth(src=02:74:6c:00:00:01,dst=02:00:00:00:00:0b))")
	require.Equal(t, "drop", trace(in+",dl_dst=02:74:6c:00:00:01,nw_dst=10.4.7.3"))
	require.Equal(t, "drop", trace(in+",dl_dst=02:74:6c:00:00:09,nw_dst=10.4.2.3"))
	require.Contains(t, trace("in_port=1,arp,dl_src=02:74:6c:00:00:02,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.4.2.3"),
		"sip=10.4.2.3,tip=10.0.0.1,op=2,sha=02:74:6c:00:00:01")
}
