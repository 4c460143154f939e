package openflow_test

import (
	"context"
	"net/netip"
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
		{ID: 6, Type: ovs.Select, Selection: "hash", Fields: []ovs.Field{ovs.FieldIPv4Src}, Buckets: []ovs.Bucket{{ID: 3, Weight: 50, Actions: dnat("fd00::5")}}},
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
	share := ovs.Owner{Cookie: owner << 56, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 100}
	b := ovs.NewBridge(c, share)
	flows, groups := everyKind(), everyGroup()
	r, err := b.Sync(t.Context(), flows, groups)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: len(flows), GroupsAdded: len(groups)}, r)
	r, err = b.Sync(t.Context(), flows, groups)
	require.NoError(t, err)
	require.False(t, r.Changed())
	r, err = ovs.NewBridge(c, share).Sync(t.Context(), flows, groups)
	require.NoError(t, err)
	require.False(t, r.Changed(), "after a restart")

	changed := append([]ovs.Flow(nil), flows[1:]...)
	changed[0].Actions = nil
	r, err = b.Sync(t.Context(), changed, groups)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Modified: 1, Deleted: 1}, r)
	_, err = b.Sync(t.Context(), nil, nil)
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
	case <-time.After(10 * time.Second):
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
