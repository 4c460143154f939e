package policyovs_test

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// A bench is a switch with the flows, which puts a packet before a stage by
// the port that it comes in by.
type bench struct {
	t      *testing.T
	bridge *ovs.Bridge
	ctl    *control
}

func newBench(t *testing.T, more ...string) bench {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	return benchOn(t, in, more...)
}

// benchOn uses a bridge br0 that is there, with more flows.
func benchOn(t *testing.T, in *ovstest.Instance, more ...string) bench {
	conn, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	b := bench{t, ovs.NewBridge(conn, ovs.Share{Cookie: ovs.MakeCookie(policyovs.DefaultOwner, 0, 0), Mask: ovs.OwnerMask}), newControl(t, in)}
	text := more
	for _, table := range []uint8{10, 30, 70} {
		for key := range uint32(10) {
			text = append(text, fmt.Sprintf("table=0,priority=1,in_port=%d,actions=set_field:%d->reg%d,set_field:%d->reg5,resubmit(,%d)",
				inPort(table, key), key, map[uint8]int{10: 0, 30: 0, 70: 1}[table], key, table))
		}
	}
	for _, table := range []int{20, 40, 80} {
		text = append(text, fmt.Sprintf("table=%d,priority=0,actions=CONTROLLER:0", table))
	}
	var flows []ovs.Flow
	for _, line := range text {
		f, err := ovs.ParseFlow(line)
		require.NoError(t, err, "%s", line)
		f.Cookie = ovs.MakeCookie(policyovs.DefaultOwner, 0, 0)
		flows = append(flows, f)
	}
	require.NoError(t, b.bridge.Set("bench", flows, nil))
	return b
}

// inPort encodes table and key in a port number.
func inPort(table uint8, key uint32) int { return int(table)*100 + int(key) }

func (b bench) load(flows []ovs.Flow) {
	require.NoError(b.t, b.bridge.Set("policy", flows, nil))
	b.sync()
}

func (b bench) sync() {
	_, err := b.bridge.Sync(b.t.Context())
	require.NoError(b.t, err)
}

// reaches reports whether a packet gets from a stage to a table.
func (b bench) reaches(from uint8, key uint32, flow string, to uint8, args ...string) (bool, string) {
	out := b.ctl.call("ofproto/trace", append([]string{"br0", fmt.Sprintf("in_port=%d,%s", inPort(from, key), flow)}, args...)...)
	return strings.Contains(out, fmt.Sprintf("\n%d. ", to)) || strings.Contains(out, fmt.Sprintf(" %d. ", to)), out
}

// A control is a connection to ovs-vswitchd of the kind that ovs-appctl makes:
// JSON-RPC 1.0 (ovs-appctl(8)), one call at a time.
type control struct {
	t    *testing.T
	conn net.Conn
	dec  *json.Decoder
	id   int
}

func newControl(t *testing.T, in *ovstest.Instance) *control {
	conn, err := net.Dial("unix", filepath.Join(in.RunDir, "ovs-vswitchd.ctl"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &control{t: t, conn: conn, dec: json.NewDecoder(conn)}
}

func (c *control) call(method string, args ...string) string {
	c.id++
	require.NoError(c.t, c.conn.SetDeadline(time.Now().Add(time.Minute)))
	if args == nil {
		args = []string{}
	}
	require.NoError(c.t, json.NewEncoder(c.conn).Encode(map[string]any{"id": c.id, "method": method, "params": args}))
	var reply struct{ Result, Error any }
	require.NoError(c.t, c.dec.Decode(&reply))
	require.Nil(c.t, reply.Error, "%s %v", method, args)
	return fmt.Sprint(reply.Result)
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

// A real switch decides as the objects do, for all pairs of addresses, and goes
// on to do so as they change and it is given what differs.
func TestSwitchProperty(t *testing.T) {
	b := newBench(t)
	tries, conjunctions := map[policy.Action]int{}, 0
	for seed := range world.Worlds(t, 100) {
		s := newStory(t, seed)
		for range 40 {
			_, err := s.h.Step(s.rnd, s.e)
			require.NoError(t, err)
		}
		b.load(nil)
		for range 3 {
			_, d := s.follow(s.movePorts())
			require.NoError(t, b.bridge.Update("policy", d.Put, d.Gone))
			b.sync()
			b.allPairs(s, tries)
			_, err := s.h.Step(s.rnd, s.e)
			require.NoError(t, err)
		}
		report, err := b.bridge.Audit(t.Context())
		require.NoError(t, err)
		s.must(!report.Changed(), "the switch says that it has something else: %v", report.Repairs)
		conjunctions += strings.Count(dump(s.c.Flows()), "conj_id=")
	}
	t.Log(tries, conjunctions)
	require.Greater(t, conjunctions, 20, "conjunctions are hardly tried")
	require.Greater(t, min(tries[policy.Allow], tries[policy.Drop], tries[policy.Reject]), 20, "an action is hardly tried")
}

// allPairs traces a packet of a random service between any two members, from
// and to the ports that are here.
func (b bench) allPairs(s *story, tries map[policy.Action]int) {
	reference := policy.NewEvaluator(s.h.Objects(s.prog.Default))
	for _, src := range s.h.Members {
		for _, dst := range s.h.Members {
			for _, from := range src.IPs {
				for _, to := range dst.IPs {
					if src.ID == dst.ID || from.Is4() != to.Is4() {
						continue
					}
					k := world.Traffic(s.rnd, from.Is4())
					k.SrcPort, k.Src, k.DstPort, k.Dst = src.ID, from, dst.ID, to
					b.agrees(s, reference, k, tries)
				}
			}
		}
	}
}

// agrees traces a packet at both its ends.
func (b bench) agrees(s *story, reference *policy.Evaluator, k policy.Packet, tries map[policy.Action]int) {
	for _, end := range []struct {
		port, other *string
		from, to    uint8
	}{{&k.SrcPort, &k.DstPort, s.l.EgressCT, s.l.L2}, {&k.DstPort, &k.SrcPort, s.l.IngressCT, s.l.Output}} {
		p, here := s.ports[*end.port]
		if !here {
			continue
		}
		other := *end.other
		*end.other = ""
		want := reference.Eval(k)
		*end.other = other
		tries[want.Verdict]++
		got, out := b.reaches(end.from, p.Key, describe(k), end.to, "--ct-next", "trk,new")
		s.must(want.Allowed() == got, "%+v: %s\n%s", k, want.Why, out)
	}
}

func TestSwitchSpoofguard(t *testing.T) {
	b := newBench(t)
	l := policyovs.DefaultLayout()
	e, ports := shop(t)
	flows, err := policyovs.Flows(program(e, ports), ports, l)
	require.NoError(t, err)
	b.load(flows)
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
	b.load(flows)
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
