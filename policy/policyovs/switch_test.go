package policyovs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// A bench is a switch with the flows, which puts a packet before a stage by
// the port that it comes in by.
type bench struct {
	t  *testing.T
	in *ovstest.Instance
}

func newBench(t *testing.T) bench {
	b := bench{t, ovstest.Start(t)}
	b.in.AddBridge("br0")
	return b
}

// inPort encodes table and key in a port number.
func inPort(table uint8, key uint32) int { return int(table)*100 + int(key) }

func (b bench) load(flows []ovs.Flow, ports []policyovs.Port) {
	var text strings.Builder
	text.WriteString(dump(flows))
	for _, table := range []uint8{10, 30, 70} {
		for key := range uint32(len(ports) + 1) {
			fmt.Fprintf(&text, "table=0,in_port=%d,actions=load:%d->NXM_NX_REG%d[],load:%d->NXM_NX_REG5[],resubmit(,%d)\n",
				inPort(table, key), key, map[uint8]int{10: 0, 30: 0, 70: 1}[table], key, table)
		}
	}
	for _, table := range []int{20, 40, 80} {
		fmt.Fprintf(&text, "table=%d,actions=CONTROLLER\n", table)
	}
	name := filepath.Join(b.t.TempDir(), "flows")
	require.NoError(b.t, os.WriteFile(name, []byte(text.String()), 0o644))
	b.in.Ofctl("--bundle", "replace-flows", "br0", name)
}

// reaches reports whether a packet gets from a stage to a table.
func (b bench) reaches(from uint8, key uint32, flow string, to uint8, args ...string) (bool, string) {
	out := b.in.Trace("br0", fmt.Sprintf("in_port=%d,%s", inPort(from, key), flow), args...)
	return strings.Contains(out, fmt.Sprintf("\n%d. ", to)) || strings.Contains(out, fmt.Sprintf(" %d. ", to)), out
}

// describe writes a packet as ofproto/trace takes it.
func describe(k policy.Packet) string {
	family, src, dst := "eth_type=0x86dd", "ipv6_src", "ipv6_dst"
	if k.Src.Is4() {
		family, src, dst = "eth_type=0x0800", "nw_src", "nw_dst"
	}
	s := fmt.Sprintf("%s,nw_proto=%d,%s=%s,%s=%s", family, k.Proto, src, k.Src, dst, k.Dst)
	switch policy.Protocol(k.Proto) {
	case policy.TCP, policy.UDP, policy.SCTP:
		name := strings.ToLower(policy.Protocol(k.Proto).String())
		s += fmt.Sprintf(",%s_src=%d,%s_dst=%d", name, k.SrcPortNo, name, k.DstPortNo)
	case policy.ICMP:
		s += fmt.Sprintf(",icmp_type=%d,icmp_code=%d", k.ICMPType, k.ICMPCode)
	case policy.ICMPv6:
		s += fmt.Sprintf(",icmpv6_type=%d,icmpv6_code=%d", k.ICMPType, k.ICMPCode)
	}
	return s
}

// A real switch decides as the objects do.
func TestSwitchProperty(t *testing.T) {
	b := newBench(t)
	l := policyovs.DefaultLayout()
	for worlds, seed := 0, uint64(0); worlds < 10; seed++ {
		rnd := rand.New(rand.NewPCG(seed, 11))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		ports := portsOf(w)
		flows, err := policyovs.Flows(e.Program(w.Local), ports, l)
		require.NoError(t, err)
		if !strings.Contains(dump(flows), "conj_id=") {
			continue
		}
		worlds++
		b.load(flows, ports)
		for range 25 {
			k := w.Packet(rnd)
			for d, x := range ends(w, k) {
				from, to, key := l.EgressCT, l.L2, keyOf(ports, k.SrcPort)
				if d == policy.Ingress {
					from, to, key = l.IngressCT, l.Output, keyOf(ports, k.DstPort)
				}
				want := e.Eval(x)
				for _, state := range []string{"trk,new", "trk,est"} {
					got, out := b.reaches(from, key, describe(x), to, "--ct-next", state)
					require.Equal(t, want.Allowed(), got, "seed %d %s %s %+v: %s\n%s", seed, d, state, x, want.Why, out)
				}
			}
		}
	}
}

func TestSwitchSpoofguard(t *testing.T) {
	b := newBench(t)
	l := policyovs.DefaultLayout()
	e, ports := shop(t)
	flows, err := policyovs.Flows(program(e, ports), ports, l)
	require.NoError(t, err)
	b.load(flows, ports)
	const own, other = "dl_src=02:74:6c:00:01:03", "dl_src=02:74:6c:00:01:01"
	const ll = "fe80::74:6cff:fe00:103"
	for _, c := range []struct {
		name, flow string
		key        uint32
		want       bool
	}{
		{"own addresses", own + ",ip,nw_src=10.4.1.4", 3, true},
		{"own IPv6 address", own + ",ipv6,ipv6_src=fd00:4::4", 3, true},
		{"source address of another", own + ",ip,nw_src=10.4.1.2", 3, false},
		{"IPv6 source address of another", own + ",ipv6,ipv6_src=fd00:4::5", 3, false},
		{"source MAC of another", other + ",ip,nw_src=10.4.1.4", 3, false},
		{"both of another", other + ",ip,nw_src=10.4.1.2", 3, false},
		{"unknown key", own + ",ip,nw_src=10.4.1.4", 0, false},
		{"own ARP", own + ",arp,arp_op=1,arp_spa=10.4.1.4,arp_sha=02:74:6c:00:01:03", 3, true},
		{"ARP reply for another", own + ",arp,arp_op=2,arp_spa=10.4.1.2,arp_sha=02:74:6c:00:01:03", 3, false},
		{"ARP with another's hardware address", own + ",arp,arp_op=2,arp_spa=10.4.1.4,arp_sha=02:74:6c:00:01:01", 3, false},
		{"no IP at all", own + ",dl_type=0x88cc", 3, false},
		{"solicitation", own + ",icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=fd00:4::4,nd_sll=02:74:6c:00:01:03", 3, true},
		{"solicitation, link-local", own + ",icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=" + ll + ",nd_sll=02:74:6c:00:01:03", 3, true},
		{"solicitation with another's MAC", own + ",icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=fd00:4::4,nd_sll=02:74:6c:00:01:01", 3, false},
		{"duplicate address detection", own + ",icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=::,nd_target=fd00:4::4", 3, true},
		{"duplicate address detection for another", own + ",icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=::,nd_target=fd00:4::5", 3, false},
		{"advertisement", own + ",icmp6,icmpv6_type=136,icmpv6_code=0,ipv6_src=fd00:4::4,nd_target=fd00:4::4,nd_tll=02:74:6c:00:01:03", 3, true},
		{"advertisement of another's address", own + ",icmp6,icmpv6_type=136,icmpv6_code=0,ipv6_src=fd00:4::4,nd_target=fd00:4::5,nd_tll=02:74:6c:00:01:03", 3, false},
		{"advertisement of another's MAC", own + ",icmp6,icmpv6_type=136,icmpv6_code=0,ipv6_src=fd00:4::4,nd_target=fd00:4::4,nd_tll=02:74:6c:00:01:01", 3, false},
		{"router advertisement", own + ",icmp6,icmpv6_type=134,icmpv6_code=0,ipv6_src=" + ll, 3, false},
		{"redirect", own + ",icmp6,icmpv6_type=137,icmpv6_code=0,ipv6_src=fd00:4::4", 3, false},
		{"TCP from link-local", own + ",tcp6,ipv6_src=" + ll + ",tcp_dst=80", 3, false},
		{"IPv6 of a port without", "dl_src=02:74:6c:00:01:01,icmp6,icmpv6_type=135,icmpv6_code=0,ipv6_src=fe80::74:6cff:fe00:101", 1, false},
	} {
		got, out := b.reaches(l.Spoofguard, c.key, c.flow, l.ARP)
		require.Equal(t, c.want, got, "%s\n%s", c.name, out)
	}
}

func TestSwitchStates(t *testing.T) {
	b := newBench(t)
	l := policyovs.DefaultLayout()
	e, ports := shop(t)
	flows, err := policyovs.Flows(program(e, ports), ports, l)
	require.NoError(t, err)
	b.load(flows, ports)
	const allowed, denied = "tcp,nw_src=10.4.1.2,nw_dst=10.4.1.4,tcp_dst=5432", "tcp,nw_src=10.4.1.2,nw_dst=10.4.1.4,tcp_dst=80"
	for _, c := range []struct {
		flow, state string
		key         uint32
		want        bool
	}{
		{allowed, "trk,new", 3, true}, {allowed, "trk,est", 3, true}, {allowed, "trk,inv", 3, false},
		{denied, "trk,new", 3, false}, {denied, "trk,est", 3, false}, {denied, "trk,est,rpl", 3, true}, {denied, "trk,rel,new", 3, true},
		{allowed, "trk,new", 0, false}, {denied, "trk,est,rpl", 0, false},
	} {
		got, out := b.reaches(l.IngressCT, c.key, c.flow, l.Output, "--ct-next", c.state)
		require.Equal(t, c.want, got, "%+v\n%s", c, out)
	}
	// ARP and neighbour discovery are not subject to rules, but want a known port.
	for flow, want := range map[string]bool{"arp": true, "icmp6,icmpv6_type=135": true, "icmp6,icmpv6_type=136": true, "dl_type=0x88cc": false} {
		got, out := b.reaches(l.IngressCT, 3, flow, l.Output)
		require.Equal(t, want, got, "%s\n%s", flow, out)
		got, out = b.reaches(l.IngressCT, 0, flow, l.Output)
		require.False(t, got, "%s\n%s", flow, out)
	}
}
