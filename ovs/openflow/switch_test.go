package openflow_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

const owner = 0x54

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func mac(last byte) ovs.MAC { return ovs.MAC{2, 0x74, 0x6c, 0, 0, last} }

// everyKind has a flow of each kind that the pipelines use.
func everyKind() []ovs.Flow {
	zone := ovs.RegField(5).Bits(0, 16)
	match := func(m ...ovs.FieldMatch) ovs.Match { return ovs.NewMatch(m...) }
	var flows []ovs.Flow
	add := func(table uint8, m ovs.Match, actions ...ovs.Action) {
		n := len(flows) + 1
		flows = append(flows, ovs.Flow{Table: table, Priority: uint16(100 + n), Cookie: ovs.MakeCookie(owner, 3, uint32(n)), Match: m, Actions: actions})
	}
	add(0, match(ovs.InPort(1), ovs.VLANVID(100)), ovs.PopVLAN(), ovs.SetField(ovs.Reg(0, 7)), ovs.SetField(ovs.Reg(5, 7)), ovs.SetField(ovs.Metadata(4096)), ovs.Goto(10))
	add(0, match(ovs.InPort(1), ovs.NoVLAN()), ovs.Goto(10))
	add(0, match(ovs.InPort(2), ovs.TunID(4097)), ovs.SetField(ovs.Metadata(4097)), ovs.Goto(40))
	add(10, match(ovs.Reg(0, 7), ovs.EthSrc(mac(1)), ovs.IPSrc(pfx("10.4.0.5/32"))), ovs.Goto(20))
	add(10, match(ovs.Reg(0, 7), ovs.EthSrc(mac(1)), ovs.EthType(0x0806), ovs.ARPSpa(pfx("10.4.0.5/32")), ovs.ARPSha(mac(1))), ovs.Goto(20))
	add(10, match(ovs.Reg(0, 7), ovs.IPv6Src(pfx("fd00::5/128"))), ovs.Goto(20))
	add(10, match(ovs.EthType(0x86dd), ovs.ICMPv6Type(135), ovs.NDTarget(netip.MustParseAddr("fe80::1"))))
	add(10, match(ovs.Reg(0, 7)))
	add(20, match(ovs.Metadata(4096), ovs.EthType(0x0806), ovs.ARPOp(1), ovs.ARPTpa(pfx("10.4.0.1/32"))),
		ovs.Move(ovs.EthSrcField, ovs.EthDstField), ovs.SetField(ovs.EthSrc(mac(9))), ovs.SetField(ovs.ARPOp(2)),
		ovs.Move(ovs.ARPShaField, ovs.ARPThaField), ovs.SetField(ovs.ARPSha(mac(9))), ovs.Move(ovs.ARPSpaField, ovs.ARPTpaField),
		ovs.SetField(ovs.ARPSpa(pfx("10.4.0.1/32"))), ovs.SetField(ovs.Reg(1, 7)), ovs.Goto(80))
	add(20, match(ovs.Metadata(4096), ovs.IPDst(pfx("10.4.0.1/32")), ovs.IPProto(1), ovs.ICMPType(8), ovs.ICMPCode(0)),
		ovs.Move(ovs.IPv4SrcField, ovs.IPv4DstField), ovs.SetField(ovs.IPv4Src(pfx("10.4.0.1/32"))), ovs.SetField(ovs.ICMPType(0)), ovs.SetField(ovs.IPTTL(64)), ovs.Goto(80))
	add(30, match(ovs.EthType(0x0800)), ovs.CT(ovs.CTOptions{ZoneField: &zone, HasTable: true, Table: 31}))
	add(31, match(ovs.EthType(0x0800), ovs.CTState(ovs.CTTrk|ovs.CTEst|ovs.CTRpl, ovs.CTInv)), ovs.Goto(40))
	add(31, match(ovs.EthType(0x0800), ovs.CTState(ovs.CTTrk|ovs.CTInv, 0)))
	add(31, match(ovs.ConjID(77), ovs.EthType(0x0800)), ovs.CT(ovs.CTOptions{Commit: true, ZoneField: &zone}), ovs.Goto(40))
	add(31, match(ovs.Reg(0, 7)), ovs.Conjunction(77, 1, 2))
	add(31, match(ovs.IPDst(pfx("10.8.0.0/13"))), ovs.Conjunction(77, 2, 2), ovs.Conjunction(78, 1, 2))
	add(31, match(ovs.EthType(0x0800), ovs.TCPDstMasked(0x1000, 0xf000)), ovs.Goto(40))
	add(31, match(ovs.EthType(0x86dd), ovs.UDPDst(53)), ovs.Goto(40))
	add(31, match(ovs.EthType(0x0800), ovs.SCTPDst(99)), ovs.Goto(40))
	add(40, match(ovs.Metadata(4096), ovs.EthDst(mac(3))), ovs.SetField(ovs.TunID(4096)), ovs.SetField(ovs.TunDst(netip.MustParseAddr("192.0.2.7"))), ovs.Goto(80))
	add(40, match(ovs.Metadata(4096), ovs.Multicast()), ovs.SetField(ovs.Reg(1, 8)), ovs.SetField(ovs.Reg(5, 8)), ovs.Resubmit(70), ovs.SetField(ovs.Reg(1, 0)), ovs.Resubmit(80))
	add(50, match(ovs.Metadata(4096), ovs.IPDst(pfx("10.4.1.0/24"))), ovs.SetField(ovs.EthSrc(mac(9))), ovs.DecTTL(), ovs.SetField(ovs.Metadata(4097)), ovs.Goto(60))
	add(80, match(ovs.Reg(1, 7)), ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(100)), ovs.ClearInPort(), ovs.Output(1))
	add(80, match(ovs.Reg(1, 0)), ovs.Output(2))
	add(81, match(ovs.EthType(0x0800), ovs.CTZone(4)), ovs.CT(ovs.CTOptions{Commit: true, Zone: 4, HasTable: true, Table: 82, NAT: &ovs.NAT{Src: true, Min: netip.MustParseAddr("169.254.169.252")}}))
	add(81, match(ovs.EthType(0x0800)), ovs.CT(ovs.CTOptions{Zone: 4, HasTable: true, Table: 82, NAT: &ovs.NAT{}}))
	add(82, match(ovs.IPDst(pfx("10.96.0.10/32")), ovs.TCPDst(80)), ovs.ToGroup(5))
	add(82, match(ovs.EthType(0x0800), ovs.UDPDst(80)), ovs.Learn(ovs.LearnSpec{
		Table: 83, Priority: 90, IdleTimeout: 60, Cookie: 0x4d << 56,
		Match: []ovs.FieldMatch{ovs.EthType(0x0800), ovs.IPProto(17)}, Copy: []ovs.Field{ovs.FieldIPv4Src, ovs.FieldUDPDst},
		Load: []ovs.FieldMatch{ovs.Reg(3, 9)},
	}), ovs.Resubmit(84))
	add(84, match(ovs.EthType(0x0800), ovs.CTMark(5)), ovs.CT(ovs.CTOptions{Commit: true, Force: true, Zone: 9, Exec: []ovs.Action{ovs.SetField(ovs.CTMark(6))}}))
	add(84, match(), ovs.Controller(128))
	return flows
}

func everyGroup() []ovs.Group {
	dnat := func(ip string) []ovs.Action {
		z := ovs.RegField(5).Bits(0, 16)
		return []ovs.Action{ovs.CT(ovs.CTOptions{Commit: true, ZoneField: &z, HasTable: true, Table: 84, NAT: &ovs.NAT{Dst: true, Min: netip.MustParseAddr(ip), PortMin: 8080}})}
	}
	return []ovs.Group{
		{ID: 5, Type: ovs.Select, Selection: "dp_hash", Buckets: []ovs.Bucket{{ID: 1, Weight: 100, Actions: dnat("10.4.0.5")}, {ID: 2, Weight: 100, Actions: dnat("10.4.0.6")}}},
		{ID: 6, Type: ovs.Select, Selection: "hash", Fields: []ovs.Field{ovs.FieldIPv4Src, ovs.FieldIPProto}, Buckets: []ovs.Bucket{{ID: 3, Weight: 50, Actions: dnat("fd00::5")}}},
		{ID: 7, Type: ovs.All, Buckets: []ovs.Bucket{{ID: 1, Actions: []ovs.Action{ovs.Output(1)}}}},
		{ID: 8, Type: ovs.Select},
	}
}

func dial(t *testing.T) (*ovstest.Instance, *openflow.Conn) {
	t.Helper()
	in := ovstest.Start(t)
	in.AddBridge("br0")
	c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return in, c
}

func text[T interface{ String() string }](list []T) map[string]bool {
	m := map[string]bool{}
	for _, x := range list {
		m[x.String()] = true
	}
	return m
}

func TestReadBackEqualsSent(t *testing.T) {
	_, c := dial(t)
	flows, groups := everyKind(), everyGroup()
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: flows, GroupAdd: groups}))
	gotGroups, err := c.Groups(t.Context())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(groups), text(gotGroups)))
	got, err := c.Flows(t.Context(), owner<<56, ovs.OwnerMask)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(flows), text(got)))
	require.Zero(t, ovs.Diff(flows, groups, got, gotGroups).Len())
}

func TestTextIsOfctls(t *testing.T) {
	in, c := dial(t)
	for _, g := range everyGroup() {
		in.Ofctl("add-group", "br0", g.String())
	}
	for _, f := range everyKind() {
		in.Ofctl("add-flow", "br0", f.String())
	}
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(everyKind()), text(got)))
}

func TestSyncSendsOnlyTheDifference(t *testing.T) {
	in, c := dial(t)
	in.Ofctl("add-flow", "br0", "cookie=0x1,table=9,actions=drop")
	share := ovs.Share{Cookie: owner << 56, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 100}
	b := ovs.NewBridge(c, share)
	flows, groups := everyKind(), everyGroup()
	r, err := syncAll(t, b, flows, groups)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: len(flows), GroupsAdded: len(groups)}, r)
	r, err = syncAll(t, b, flows, groups)
	require.NoError(t, err)
	require.False(t, r.Changed())
	r, err = syncAll(t, ovs.NewBridge(c, share), flows, groups)
	require.NoError(t, err)
	require.False(t, r.Changed(), "after a restart")

	changed := append([]ovs.Flow(nil), flows[1:]...)
	changed[0].Actions = nil
	r, err = syncAll(t, b, changed, groups)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Modified: 1, Deleted: 1}, r)
	_, err = syncAll(t, b, nil, nil)
	require.NoError(t, err)
	left, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, left, 1, "the flow of another owner stays")
}

func TestApplyIsAllOrNothingAndNamesTheFlow(t *testing.T) {
	_, c := dial(t)
	good := ovs.Flow{Table: 1, Priority: 1, Match: ovs.NewMatch(), Actions: []ovs.Action{ovs.Output(1)}}
	bad := ovs.Flow{Table: 2, Priority: 2, Match: ovs.NewMatch(), Actions: []ovs.Action{ovs.ToGroup(999)}}
	err := c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{good, bad}})
	var refused *openflow.Error
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.About, bad.String())
	left, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCloseAndLostSwitch(t *testing.T) {
	in, c := dial(t)
	require.NoError(t, c.FlushCTZone(t.Context(), 7))
	in.KillVSwitchd()
	select {
	case <-c.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the loss of the switch went unnoticed")
	}
	require.ErrorIs(t, c.Wait(), openflow.ErrClosed)
	_, err := c.Flows(t.Context(), 0, 0)
	require.ErrorIs(t, err, openflow.ErrClosed)
}

func TestContextEndsARequest(t *testing.T) {
	_, c := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Flows(ctx, 0, 0)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Flows(t.Context(), 0, 0)
	require.NoError(t, err, "the connection goes on")
}

func TestPortsCountersAndPacketOut(t *testing.T) {
	in, c := dial(t)
	one, two := in.AddPort("br0", "p1", "type=internal"), in.AddPort("br0", "p2", "type=internal")
	f, err := c.Features(t.Context())
	require.NoError(t, err)
	require.NotZero(t, f.DatapathID)
	require.Equal(t, uint8(254), f.Tables)

	ports, err := c.PortDesc(t.Context())
	require.NoError(t, err)
	names := map[string]uint32{}
	for _, p := range ports {
		names[p.Name] = p.Number
		require.NotEqual(t, ovs.MAC{}, p.MAC)
	}
	require.Equal(t, map[string]uint32{"br0": ovs.PortLocal, "p1": one, "p2": two}, names)

	g := ovs.Group{ID: 9, Type: ovs.All, Buckets: []ovs.Bucket{{ID: 1, Actions: []ovs.Action{ovs.Output(two)}}}}
	flow := ovs.Flow{Priority: 5, Match: ovs.NewMatch(ovs.InPort(one)), Actions: []ovs.Action{ovs.ToGroup(9)}}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{flow}, GroupAdd: []ovs.Group{g}}))
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 50)...)
	for range 3 {
		require.NoError(t, c.PacketOut(t.Context(), one, frame, ovs.Resubmit(0)))
	}
	require.Eventually(t, func() bool {
		stats, err := c.GroupStats(t.Context())
		return err == nil && len(stats) == 1 && stats[0].ID == 9 && len(stats[0].Buckets) == 1 && stats[0].Packets == 3 && stats[0].Bytes == 192
	}, 30*time.Second, 10*time.Millisecond)
	stats, err := c.FlowStats(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, stats, 1)
	require.Equal(t, []uint64{3, 192}, []uint64{stats[0].Packets, stats[0].Bytes})
	require.Eventually(t, func() bool { // the switch's clock ticks in milliseconds
		stats, err := c.FlowStats(t.Context(), 0, 0)
		return err == nil && stats[0].Duration > 0
	}, 30*time.Second, 10*time.Millisecond)
	counters, err := c.PortStats(t.Context())
	require.NoError(t, err)
	require.Len(t, counters, 3)

	err = c.PacketOut(t.Context(), one, frame, ovs.ToGroup(12345))
	var refused *openflow.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "packet-out", refused.About)
}

// TestForeignGroupsDoNotBreakADump has a group that is another program's.
func TestForeignGroupsDoNotBreakADump(t *testing.T) {
	in, c := dial(t)
	in.Ofctl("add-group", "br0", "group_id=500,type=all,bucket=actions=note:01.02,push_mpls:0x8847,clone(output:1)")
	groups, err := c.Groups(t.Context())
	require.NoError(t, err)
	require.Equal(t, "group_id=500,type=all,bucket=bucket_id:0,actions=note:01.02.00.00.00.00,push_mpls:0x8847,clone(output:1)", groups[0].String())
	groups[0].ID = 501
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: groups}), "kept as they are")
	again, err := c.Groups(t.Context())
	require.NoError(t, err)
	require.Len(t, again, 2)
	r, err := ovs.NewBridge(c, ovs.Share{Cookie: owner << 56, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 100}).Sync(t.Context())
	require.NoError(t, err)
	require.False(t, r.Changed())
}

func TestBigBundle(t *testing.T) {
	_, c := dial(t)
	flows := make([]ovs.Flow, 20000)
	for i := range flows {
		flows[i] = ovs.Flow{Table: 7, Priority: 9, Match: ovs.NewMatch(ovs.Reg(0, uint32(i)), ovs.IPDst(pfx("10.0.0.0/8"))), Actions: []ovs.Action{ovs.Goto(8)}, Cookie: owner << 56}
	}
	b := ovs.NewBridge(c, ovs.Share{Cookie: owner << 56, Mask: ovs.OwnerMask})
	start := time.Now()
	r, err := syncAll(t, b, flows, nil)
	require.NoError(t, err)
	require.Equal(t, len(flows), r.Added)
	t.Logf("%d flows in %v", len(flows), time.Since(start))
	b.Use(c)
	r, err = syncAll(t, b, flows, nil)
	require.NoError(t, err)
	require.False(t, r.Changed())

	// One that is refused among many leaves all as it was.
	bad := append([]ovs.Flow(nil), flows...)
	for i := range bad {
		bad[i].Actions = nil
	}
	bad[12345].Actions = []ovs.Action{ovs.ToGroup(77)}
	_, err = syncAll(t, b, bad, nil)
	var refused *openflow.Error
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.About, bad[12345].String())
	r, err = syncAll(t, b, flows, nil)
	require.NoError(t, err)
	require.False(t, r.Changed())
}

// udp is a UDP packet from 10.0.0.1 to 10.0.0.2 in an Ethernet frame.
func udp() []byte {
	ip := []byte{0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = sum>>16 + sum&0xffff
	ip[10], ip[11] = byte(^sum>>8), byte(^sum)
	frame := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, ip...)
	return append(frame, 0x10, 0, 0x20, 0, 0, 12, 0, 0, 'h', 'e', 'y', '!') // without a checksum
}

func TestFlushCTZone(t *testing.T) {
	in, c := dial(t)
	port := in.AddPort("br0", "p1", "type=internal")
	commit := func(zone uint16) ovs.Action { return ovs.CT(ovs.CTOptions{Commit: true, Zone: zone}) }
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{
		{Priority: 1, Match: ovs.NewMatch(ovs.EthType(0x0800)), Actions: []ovs.Action{commit(7), commit(8)}},
	}}))
	require.NoError(t, c.PacketOut(t.Context(), port, udp(), ovs.Resubmit(0)))
	connections := func(zone string) bool { return strings.Contains(in.Appctl("dpctl/dump-conntrack"), "zone="+zone) }
	require.Eventually(t, func() bool { return connections("7") && connections("8") }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, c.FlushCTZone(t.Context(), 7))
	require.Eventually(t, func() bool { return !connections("7") }, 30*time.Second, 10*time.Millisecond)
	require.True(t, connections("8"), "another zone stays")
}

// A port's configuration is set bit by bit, in each version, and only of the
// port that is meant.
func TestSetPort(t *testing.T) {
	in, _ := dial(t)
	number := in.AddPort("br0", "p1", "type=internal")
	for _, v := range []openflow.Version{openflow.OpenFlow13, openflow.OpenFlow14, openflow.OpenFlow15} {
		c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: []openflow.Version{v}})
		require.NoError(t, err)
		port := func() openflow.Port {
			t.Helper()
			ports, err := c.PortDesc(t.Context())
			require.NoError(t, err)
			i := slices.IndexFunc(ports, func(p openflow.Port) bool { return p.Number == number })
			require.GreaterOrEqual(t, i, 0)
			return ports[i]
		}
		mac := port().MAC
		set := func(config, mask, want openflow.PortConfig) {
			t.Helper()
			require.NoError(t, c.SetPort(t.Context(), number, mac, config, mask), v)
			const kept = openflow.PortNoReceive | openflow.PortNoForward | openflow.PortNoPacketIn
			require.Equal(t, want, port().Config&kept, v)
		}
		set(openflow.PortNoForward|openflow.PortNoPacketIn, openflow.PortNoForward|openflow.PortNoPacketIn, openflow.PortNoForward|openflow.PortNoPacketIn)
		set(openflow.PortNoReceive, openflow.PortNoReceive|openflow.PortNoForward, openflow.PortNoReceive|openflow.PortNoPacketIn)
		set(0, openflow.PortNoReceive|openflow.PortNoPacketIn, 0)
		var refused *openflow.Error
		require.ErrorAs(t, c.SetPort(t.Context(), number, ovs.MAC{2, 0, 0, 0, 0, 9}, 0, openflow.PortNoReceive), &refused, v)
		err = c.SetPort(t.Context(), 4000, mac, 0, openflow.PortNoReceive)
		require.ErrorAs(t, err, &refused, v)
		require.ErrorContains(t, err, "mod-port 4000")
		require.NoError(t, c.Close())
	}
}

// Shorthands stand for the actions that ovs-ofctl makes of them.
func TestShorthandsAreOfctls(t *testing.T) {
	in, c := dial(t)
	for _, s := range []string{
		"actions=enqueue(1,2)", "actions=enqueue:1:2,output:3", "actions=mod_vlan_vid:5", "dl_vlan=3,actions=mod_vlan_vid:5",
		"actions=mod_vlan_pcp:3", "dl_vlan=3,actions=mod_vlan_pcp:3", "actions=mod_vlan_vid:5,mod_vlan_pcp:3", "vlan_tci=0,actions=mod_vlan_vid:5",
		"actions=push_vlan:0x8100,mod_vlan_vid:5", "dl_vlan=3,actions=strip_vlan,mod_vlan_vid:5", "actions=clone(mod_vlan_vid:7),mod_vlan_vid:8",
		"tcp,actions=mod_tp_src:80", "udp6,actions=mod_tp_dst:80", "sctp,actions=mod_tp_src:1,mod_tp_dst:2", "ip,actions=mod_nw_tos:32,mod_nw_ecn:1,mod_nw_ttl:9",
		"importance=7,actions=mod_dl_src:02:00:00:00:00:01,mod_dl_dst:02:00:00:00:00:02",
	} {
		_ = in.Ofctl("del-flows", "br0")
		_ = in.Ofctl("add-flow", "br0", s)
		got, err := c.Flows(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Len(t, got, 1, s)
		want, err := ovs.ParseFlow(s)
		require.NoError(t, err)
		require.Equal(t, got[0].String(), want.String(), s)
	}
}
