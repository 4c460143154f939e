package ovstest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

const (
	traceTables   = 5
	tracePorts    = 4
	tracePipes    = 40
	tracesOfAPipe = 25
)

// TestTraceAgainstSwitch puts random pipelines on a real switch and on the
// bridge in memory, and traces random packets through both: the same packets
// leave by the same ports in the same order.
func TestTraceAgainstSwitch(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	for i := range tracePorts {
		in.AddPort("br0", fmt.Sprint("p", i+1), "type=internal", fmt.Sprint("ofport_request=", i+1))
	}
	conn, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	defer conn.Close()
	ports := datapathPorts(t, in.Appctl("dpif/show"))
	passed := 0
	for seed := range uint64(tracePipes) {
		rng := rand.New(rand.NewPCG(seed, 11))
		pipe := randomPipeline(rng)
		memory := ovstest.NewBridge()
		pipe.FlowAdd = slices.DeleteFunc(pipe.FlowAdd, func(f ovs.Flow) bool { // what a bridge would refuse, both refuse
			return ovstest.NewBridge().Apply(t.Context(), ovs.Changes{GroupAdd: pipe.GroupAdd, FlowAdd: []ovs.Flow{f}}) != nil
		})
		require.NoError(t, memory.Apply(t.Context(), pipe), "seed %d\n%s", seed, pipe)
		require.NoError(t, replace(t.Context(), conn, pipe), "seed %d\n%s", seed, pipe)
		for range tracesOfAPipe {
			match := randomPacket(rng)
			p := ovstest.NewPacket(match.Fields()...)
			mine := memory.Trace(p, ovstest.TraceConfig{})
			theirs := in.Trace("br0", match.String())
			where := func() string {
				return fmt.Sprintf("seed %d, packet %s\n%s\n%s\n%s", seed, match, pipe, mine, theirs)
			}
			require.NoError(t, mine.Err, where())
			want := datapathOutputs(t, p, theirs, ports)
			got := []string{}
			for _, o := range mine.Outputs {
				got = append(got, fmt.Sprintf("%d %s", o.Port, headerOf(o.Packet)))
			}
			if fmt.Sprint(want) != fmt.Sprint(got) {
				require.Equal(t, want, got, where())
			}
			if len(got) > 0 {
				passed++
			}
		}
	}
	require.Greater(t, passed, tracePipes*tracesOfAPipe/3, "most packets were dropped: the test says little")
}

// replace puts a pipeline in the place of what was there.
func replace(ctx context.Context, c *openflow.Conn, pipe ovs.Changes) error {
	flows, err := c.Flows(ctx, 0, 0)
	if err != nil {
		return err
	}
	groups, err := c.Groups(ctx)
	if err != nil {
		return err
	}
	gone := ovs.Changes{FlowDelete: flows}
	for _, g := range groups {
		gone.GroupDelete = append(gone.GroupDelete, g.ID)
	}
	if err := c.Apply(ctx, gone); err != nil {
		return err
	}
	return c.Apply(ctx, pipe)
}

// datapathPorts returns the OpenFlow port of each port of the datapath.
func datapathPorts(t *testing.T, show string) map[string]uint32 {
	ports := map[string]uint32{}
	for _, m := range regexp.MustCompile(`p\d (\d+)/(\d+):`).FindAllStringSubmatch(show, -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		ports[m[2]] = uint32(n)
	}
	require.Len(t, ports, tracePorts, show)
	return ports
}

func randomPipeline(rng *rand.Rand) ovs.Changes {
	var c ovs.Changes
	for id := range uint32(3) {
		g := ovs.Group{ID: id + 1, Type: pick(rng, ovs.All, ovs.Indirect)}
		n := 1
		if g.Type == ovs.All {
			n = 1 + rng.IntN(3)
		}
		for k := range n {
			g.Buckets = append(g.Buckets, ovs.Bucket{ID: uint32(k), Actions: randomActions(rng, traceTables-1, false)})
		}
		c.GroupAdd = append(c.GroupAdd, g)
	}
	seen := map[ovs.Key]bool{}
	add := func(f ovs.Flow) {
		for g := range 4 { // two of one priority that a packet could meet are left to chance
			f.Priority = f.Priority*4 + uint16(g)
			if !seen[f.Key()] && f.Validate() == nil {
				break
			}
		}
		if f.Validate() == nil && !seen[f.Key()] {
			seen[f.Key()] = true
			c.FlowAdd = append(c.FlowAdd, f)
		}
	}
	rank := uint16(10)
	for table := range uint8(traceTables) {
		for range 7 {
			rank++ // a priority each
			m := randomMatch(rng)
			add(ovs.Flow{Table: table, Priority: rank, Match: m, Actions: ipActions(rng, table, m)})
		}
		add(ovs.Flow{Table: table, Priority: 1, Actions: randomActions(rng, table, true)})
		if rng.IntN(2) == 0 {
			id := uint32(table)*10 + 1
			rank++
			for _, m := range []ovs.Match{ovs.NewMatch(ovs.EthType(0x0800), ovs.IPSrc(randomNet(rng))), ovs.NewMatch(ovs.EthType(0x0800), ovs.IPSrc(randomNet(rng)))} {
				add(ovs.Flow{Table: table, Priority: rank, Match: m, Actions: []ovs.Action{ovs.Conjunction(id, 1, 2)}})
			}
			add(ovs.Flow{Table: table, Priority: rank, Match: ovs.NewMatch(ovs.EthType(0x0800), ovs.IPDst(randomNet(rng))), Actions: []ovs.Action{ovs.Conjunction(id, 2, 2)}})
			add(ovs.Flow{Table: table, Priority: rank, Match: ovs.NewMatch(ovs.ConjID(id), ovs.EthType(0x0800)), Actions: randomActions(rng, table, true)})
		}
	}
	return c
}

func randomNet(rng *rand.Rand) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(2)), byte(rng.IntN(4))}), pick(rng, 8, 23, 24, 30, 31, 32)).Masked()
}

func randomMatch(rng *rand.Rand) ovs.Match {
	var list []ovs.FieldMatch
	for range 1 + rng.IntN(2) {
		list = append(list, pick(rng,
			ovs.InPort(1+rng.Uint32N(tracePorts)), ovs.EthType(0x0800), ovs.Reg(rng.IntN(3), rng.Uint32N(3)), ovs.Metadata(rng.Uint64N(3)),
			ovs.VLANVID(uint16(rng.IntN(3))), ovs.NewFieldMatch(ovs.FieldEthSrc, []byte{2, 0, 0, 0, 0, byte(rng.IntN(3))}, nil)))
	}
	if rng.IntN(2) == 0 {
		list = append(list, ovs.EthType(0x0800), pick(rng, ovs.IPSrc(randomNet(rng)), ovs.IPDst(randomNet(rng)), ovs.TCPDst(uint16(80+rng.IntN(2))), ovs.UDPSrc(uint16(53+rng.IntN(2)))))
	}
	return ovs.NewMatch(list...)
}

// randomActions returns actions that look only into later tables.
func randomActions(rng *rand.Rand, table uint8, flow bool) []ovs.Action {
	var list []ovs.Action
	later := func() uint8 { return table + 1 + uint8(rng.IntN(traceTables-1-int(table))) }
	for range 1 + rng.IntN(4) {
		switch k := rng.IntN(16); {
		case k < 4:
			list = append(list, ovs.Output(1+rng.Uint32N(tracePorts)))
		case k == 4:
			list = append(list, ovs.OutputInPort())
		case k == 5:
			list = append(list, ovs.SetField(ovs.Reg(rng.IntN(3), rng.Uint32N(3))))
		case k == 6:
			list = append(list, ovs.SetField(ovs.NewFieldMatch(ovs.FieldEthSrc, []byte{2, 0, 0, 0, 0, byte(rng.IntN(3))}, nil)))
		case k == 7:
			list = append(list, ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(uint16(rng.IntN(3)))))
		case k == 8:
			list = append(list, ovs.PushVLAN(), ovs.Output(1+rng.Uint32N(tracePorts)), ovs.PopVLAN())
		case k == 9:
			list = append(list, ovs.Load(uint64(rng.IntN(256)), ovs.Subfield{Field: ovs.FieldReg0, Offset: rng.IntN(24), Size: 8}))
		case k == 10:
			list = append(list, ovs.Move(ovs.Subfield{Field: ovs.FieldInPort, Size: 16}, ovs.Subfield{Field: ovs.FieldReg0 + 1, Size: 16}))
		case k == 11:
			list = append(list, ovs.OutputField(ovs.Subfield{Field: ovs.FieldReg0 + 2, Size: 16}))
		case k == 12:
			list = append(list, ovs.Clone(randomActions(rng, traceTables-1, false)...))
		case k == 13 && flow:
			list = append(list, ovs.ToGroup(1+rng.Uint32N(3)))
		case int(table) < traceTables-1:
			list = append(list, ovs.Resubmit(later()))
		}
	}
	if flow && int(table) < traceTables-1 {
		if rng.IntN(2) == 0 {
			list = append(list, ovs.Goto(later()))
		}
	}
	return list
}

// ipActions are random actions, among them those that only IPv4 has.
func ipActions(rng *rand.Rand, table uint8, m ovs.Match) []ovs.Action {
	list := randomActions(rng, table, true)
	if vid, ok := m.Field(ovs.FieldVLANVID); ok && vid.Uint() != 0 && rng.IntN(2) == 0 {
		list = append([]ovs.Action{ovs.PopVLAN()}, list...)
	}
	if ether, ok := m.Field(ovs.FieldEthType); !ok || ether.Uint() != 0x0800 {
		return list
	}
	if rng.IntN(3) == 0 {
		list = append([]ovs.Action{ovs.DecTTL()}, list...)
	}
	if int(table) < traceTables-1 && rng.IntN(3) == 0 {
		later := table + 1 + uint8(rng.IntN(traceTables-1-int(table)))
		list = append([]ovs.Action{ovs.CT(ovs.CTOptions{Zone: 7, HasTable: true, Table: later})}, list...)
	}
	return list
}

func randomPacket(rng *rand.Rand) ovs.Match {
	list := []ovs.FieldMatch{
		ovs.InPort(1 + rng.Uint32N(tracePorts)),
		ovs.NewFieldMatch(ovs.FieldEthSrc, []byte{2, 0, 0, 0, 0, byte(rng.IntN(3))}, nil),
		ovs.NewFieldMatch(ovs.FieldEthDst, []byte{2, 0, 0, 0, 1, byte(rng.IntN(3))}, nil),
	}
	if rng.IntN(4) == 0 {
		list = append(list, ovs.VLANVID(uint16(1+rng.IntN(3))))
	}
	if rng.IntN(5) == 0 {
		return ovs.NewMatch(append(list, ovs.EthType(0x88cc))...)
	}
	host := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(2)), byte(rng.IntN(4))}), 32)
	}
	list = append(list, ovs.IPSrc(host()), ovs.IPDst(host()), ttl(byte(pick(rng, 1, 2, 64))))
	if rng.IntN(2) == 0 {
		return ovs.NewMatch(append(list, ovs.TCPSrc(4000), ovs.TCPDst(uint16(80+rng.IntN(2))))...)
	}
	return ovs.NewMatch(append(list, ovs.UDPSrc(uint16(53+rng.IntN(2))), ovs.UDPDst(4000))...)
}

// headerOf is what of a packet is on the wire and was played with.
func headerOf(p ovstest.Packet) string {
	s := fmt.Sprintf("%x vlan=%x ", p.Uint(ovs.FieldEthSrc), p.Uint(ovs.FieldVLANVID))
	if p.Uint(ovs.FieldEthType) == 0x0800 {
		s += fmt.Sprintf("src=%x dst=%x ttl=%d", p.Uint(ovs.FieldIPv4Src), p.Uint(ovs.FieldIPv4Dst), p.Uint(ovs.FieldIPTTL))
	}
	return s
}
