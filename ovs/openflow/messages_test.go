package openflow_test

import (
	"context"
	"fmt"
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

// next waits for an event of a type and passes over others.
func next[T openflow.Event](t *testing.T, s *openflow.Subscription) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		e, err := s.Next(ctx)
		require.NoError(t, err)
		if e, ok := e.(T); ok {
			return e
		}
	}
}

func subscribe(t *testing.T, c *openflow.Conn, max int) *openflow.Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), max)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func flow(t *testing.T, s string) ovs.Flow {
	t.Helper()
	f, err := ovs.ParseFlow(s)
	require.NoError(t, err)
	return f
}

// refusal returns the reason of an error that must name what it is about.
func refusal(t *testing.T, err error, about string) openflow.Error {
	t.Helper()
	var refused *openflow.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, about, refused.About)
	require.NotContains(t, refused.Error(), "experimenter 0x", "every error that Open vSwitch sends has a name")
	return *refused
}

func TestEchoFeaturesAndDescription(t *testing.T) {
	_, c := dial(t)
	require.NoError(t, c.Echo(t.Context(), []byte("ping")))
	require.NoError(t, c.Echo(t.Context(), nil))
	f, err := c.Features(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint8(254), f.Tables)
	require.NotZero(t, f.Capabilities&openflow.CanFlowStats&^openflow.CanBlockPorts)
	d, err := c.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Open vSwitch", d.Hardware)
	require.NotEmpty(t, d.Software)
}

func TestSwitchConfig(t *testing.T) {
	_, c := dial(t)
	want := openflow.SwitchConfig{Fragments: openflow.FragmentMatch, MissSendLen: 77}
	require.NoError(t, c.SetConfig(t.Context(), want))
	got, err := c.Config(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	e := refusal(t, c.SetConfig(t.Context(), openflow.SwitchConfig{Fragments: 0xfff0}), "set-config")
	require.Equal(t, "openflow: switch refused set-config: switch config failed, bad flags (type 10, code 0)", e.Error())
}

func TestRoles(t *testing.T) {
	in, c := dial(t)
	now, _, err := c.SetRole(t.Context(), openflow.RoleKeep, 0)
	require.NoError(t, err)
	require.Equal(t, openflow.RoleEqual, now)
	now, generation, err := c.SetRole(t.Context(), openflow.RolePrimary, 7)
	require.NoError(t, err)
	require.Equal(t, openflow.RolePrimary, now)
	require.Equal(t, uint64(7), generation)
	s := subscribe(t, c, 10)

	other, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	defer other.Close()
	_, _, err = other.SetRole(t.Context(), openflow.RolePrimary, 6)
	e := refusal(t, err, "role-request")
	require.Equal(t, [2]uint16{11, 0}, [2]uint16{e.Type, e.Code})
	now, _, err = other.SetRole(t.Context(), openflow.RolePrimary, 8)
	require.NoError(t, err)
	require.Equal(t, openflow.RolePrimary, now)
	require.Equal(t, openflow.RoleStatus{Role: openflow.RoleSecondary, Generation: 8}, next[openflow.RoleStatus](t, s))
	err = c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Priority: 1}}})
	require.ErrorContains(t, err, "connection is secondary")
}

func TestAsyncConfig(t *testing.T) {
	_, c := dial(t)
	primary := openflow.Async{PacketIn: 1<<openflow.PacketAction | 1<<openflow.PacketInvalidTTL, PortStatus: 7, FlowRemoved: 1 << openflow.RemovedDelete, TableStatus: 1 << 3}
	secondary := openflow.Async{PortStatus: 1 << openflow.PortAdded, RoleStatus: 1}
	require.NoError(t, c.SetAsync(t.Context(), primary, secondary))
	gotPrimary, gotSecondary, err := c.Async(t.Context())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]openflow.Async{primary, secondary}, []openflow.Async{gotPrimary, gotSecondary}))
	refusal(t, c.SetAsync(t.Context(), openflow.Async{TableStatus: 1 << 20}, openflow.Async{}), "set-async")
}

func TestPortStatus(t *testing.T) {
	in, c := dial(t)
	s := subscribe(t, c, 100)
	number := in.AddPort("br0", "p1", "type=internal")
	added := next[openflow.PortStatus](t, s)
	for ; added.Port.Name != "p1"; added = next[openflow.PortStatus](t, s) {
	}
	require.Equal(t, openflow.PortAdded, added.Reason)
	require.Equal(t, number, added.Port.Number)
	_, err := in.Vsctl(t.Context(), "del-port", "br0", "p1")
	require.NoError(t, err)
	for e := next[openflow.PortStatus](t, s); e.Reason != openflow.PortDeleted; e = next[openflow.PortStatus](t, s) {
		require.Equal(t, openflow.PortModified, e.Reason)
	}
}

func TestFlowRemoved(t *testing.T) {
	_, c := dial(t)
	s := subscribe(t, c, 10)
	f := flow(t, "cookie=0x5,table=3,idle_timeout=60,hard_timeout=90,send_flow_rem,priority=7,tcp,nw_dst=10.0.0.0/8,reg3=4 actions=goto_table:9")
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{f}}))
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowDelete: []ovs.Flow{f}}))
	e := next[openflow.FlowRemoved](t, s)
	require.Equal(t, openflow.RemovedDelete, e.Reason)
	f.Actions = nil
	require.Equal(t, f.String(), e.Flow.String())
	f.HardTimeout, f.IdleTimeout = 1, 0
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{f}}))
	require.Equal(t, openflow.RemovedHard, next[openflow.FlowRemoved](t, s).Reason)
}

func TestPacketIn(t *testing.T) {
	in, c := dial(t)
	one := in.AddPort("br0", "p1", "type=internal")
	s := subscribe(t, c, 10)
	f := ovs.Flow{Table: 4, Cookie: 99, Actions: []ovs.Action{ovs.SetField(ovs.Reg(3, 5)), ovs.Controller(0xffff)}}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{f}}))
	require.NoError(t, c.PacketOut(t.Context(), one, udp(), ovs.Resubmit(4)))
	p := next[openflow.PacketIn](t, s)
	require.Equal(t, udp(), p.Frame)
	require.Equal(t, len(udp()), p.Length)
	require.Equal(t, uint8(4), p.Table)
	require.Equal(t, uint64(99), p.Cookie)
	reg, _ := p.Metadata.Field(ovs.FieldReg0 + 3)
	require.Equal(t, uint64(5), reg.Uint())
	port, _ := p.Metadata.Field(ovs.FieldInPort)
	require.Equal(t, uint64(one), port.Uint())

	// A paused packet goes on where it was, when it is let.
	in.Ofctl("add-flow", "br0", "table=5,actions=controller(pause,userdata=01.02.03),set_field:6->reg4,resubmit(,6)")
	in.Ofctl("add-group", "br0", "group_id=1,type=all,bucket=actions=drop")
	in.Ofctl("add-flow", "br0", "table=6,reg4=6,udp,actions=group:1")
	require.NoError(t, c.PacketOut(t.Context(), one, udp(), ovs.Resubmit(5)))
	p = next[openflow.PacketIn](t, s)
	require.Equal(t, []byte{1, 2, 3}, p.UserData)
	require.NotEmpty(t, p.Continuation)
	counted := func() uint64 {
		stats, err := c.GroupStats(t.Context())
		require.NoError(t, err)
		return stats[0].Packets
	}
	require.Zero(t, counted())
	require.NoError(t, c.Resume(t.Context(), p))
	require.Eventually(t, func() bool { return counted() == 1 }, 30*time.Second, 10*time.Millisecond)
	p.Continuation = p.Continuation[:8]
	refusal(t, c.Resume(t.Context(), p), "resume")
}

func TestSlowSubscriberIsToldWhatItLost(t *testing.T) {
	in, c := dial(t)
	one := in.AddPort("br0", "p1", "type=internal")
	slow, fast := subscribe(t, c, 3), subscribe(t, c, 1000)
	for range 10 {
		require.NoError(t, c.PacketOut(t.Context(), one, udp(), ovs.Controller(0xffff)))
	}
	for range 10 {
		next[openflow.PacketIn](t, fast)
	}
	for range 3 {
		e, err := slow.Next(t.Context())
		require.NoError(t, err)
		require.IsType(t, openflow.PacketIn{}, e)
	}
	e, err := slow.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, openflow.Lost{PacketIns: 7}, e)
	require.NoError(t, c.PacketOut(t.Context(), one, udp(), ovs.Controller(0xffff)))
	next[openflow.PacketIn](t, slow)
	slow.Close()
	slow.Close()
	_, err = slow.Next(t.Context())
	require.ErrorIs(t, err, openflow.ErrClosed)
	require.NoError(t, c.Close())
	next[openflow.PacketIn](t, fast)
	_, err = fast.Next(t.Context())
	require.ErrorIs(t, err, openflow.ErrClosed)
}

func TestTables(t *testing.T) {
	in, c := dial(t)
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Table: 3}, {Table: 3, Priority: 1}}}))
	stats, err := c.TableStats(t.Context())
	require.NoError(t, err)
	require.Len(t, stats, 254)
	require.Equal(t, openflow.TableStat{Table: 3, Flows: 2}, stats[3])

	features, err := c.TableFeatures(t.Context())
	require.NoError(t, err)
	require.Len(t, features, 254)
	require.Len(t, features[3].Next, 250)
	require.Contains(t, features[3].Match, ovs.FieldIPv4Src)
	require.Contains(t, features[3].Wildcards, ovs.FieldIPv4Src)
	require.Contains(t, features[3].SetField, ovs.FieldReg0)
	require.Equal(t, ^uint64(0), features[3].MetadataMatch)

	_, err = in.Vsctl(t.Context(), "--id=@t", "create", "Flow_Table", "flow_limit=10", "--", "set", "bridge", "br0", "flow_tables:3=@t")
	require.NoError(t, err)
	s := subscribe(t, c, 10)
	require.NoError(t, c.SetAsync(t.Context(), openflow.Async{TableStatus: 1<<3 | 1<<4}, openflow.Async{}))
	set := openflow.TableConfig{Table: 3, VacancyDown: 40, VacancyUp: 60}
	require.NoError(t, c.SetTable(t.Context(), set))
	tables, err := c.Tables(t.Context())
	require.NoError(t, err)
	set.Vacancy = 80
	require.Equal(t, set, tables[3])
	for p := range 6 {
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Table: 3, Priority: uint16(10 + p)}}}))
	}
	e := next[openflow.TableStatus](t, s)
	require.False(t, e.Rising)
	require.Equal(t, uint8(3), e.Table.Table)
	require.Less(t, e.Table.Vacancy, uint8(40))
	for p := range 6 {
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowDelete: []ovs.Flow{{Table: 3, Priority: uint16(10 + p)}}}))
	}
	require.True(t, next[openflow.TableStatus](t, s).Rising)
	require.NoError(t, c.SetTable(t.Context(), openflow.TableConfig{Table: 3, Evict: true}))
	tables, err = c.Tables(t.Context())
	require.NoError(t, err)
	require.Equal(t, openflow.TableConfig{Table: 3, Evict: true}, tables[3])
}

func TestMeters(t *testing.T) {
	in, c := dial(t)
	one := in.AddPort("br0", "p1", "type=internal")
	f, err := c.MeterFeatures(t.Context())
	require.NoError(t, err)
	require.NotZero(t, f.Max)
	require.NotZero(t, f.BandTypes&(1<<openflow.BandDrop))
	m := openflow.Meter{ID: 5, Flags: openflow.MeterPktps | openflow.MeterBurst | openflow.MeterStats, Bands: []openflow.Band{{Type: openflow.BandDrop, Rate: 100, Burst: 200}}}
	require.NoError(t, c.AddMeter(t.Context(), m))
	require.Equal(t, uint16(1), refusal(t, c.AddMeter(t.Context(), m), "add-meter meter=5").Code)
	m.Bands[0].Rate = 300
	require.NoError(t, c.ModifyMeter(t.Context(), m))
	meters, err := c.Meters(t.Context())
	require.NoError(t, err)
	require.Equal(t, []openflow.Meter{m}, meters)
	in.Ofctl("add-flow", "br0", "table=4,actions=meter:5,resubmit(,6)")
	require.NoError(t, c.PacketOut(t.Context(), one, udp(), ovs.Resubmit(4)))
	require.Eventually(t, func() bool {
		stats, err := c.MeterStats(t.Context())
		return err == nil && len(stats) == 1 && stats[0].ID == 5 && stats[0].Flows == 1 && stats[0].Packets == 1 && len(stats[0].Bands) == 1
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, c.DeleteMeter(t.Context(), openflow.MeterAll))
	meters, err = c.Meters(t.Context())
	require.NoError(t, err)
	require.Empty(t, meters)
}

func TestQueues(t *testing.T) {
	in, c := dial(t)
	queues, err := c.Queues(t.Context())
	require.NoError(t, err)
	require.Empty(t, queues)
	_, dev, number := in.AddNS("br0")
	_, err = in.Vsctl(t.Context(), "set", "port", dev, "qos=@q", "--", "--id=@q", "create", "qos", "type=linux-htb",
		"queues:3=@a", "--", "--id=@a", "create", "queue", "other-config:max-rate=500000")
	require.NoError(t, err)
	queues, err = c.Queues(t.Context())
	require.NoError(t, err)
	ids := map[uint32]uint32{}
	for _, q := range queues {
		ids[q.ID] = q.Port
	}
	require.Equal(t, map[uint32]uint32{0: number, 3: number}, ids)
	stats, err := c.QueueStats(t.Context())
	require.NoError(t, err)
	clear(ids)
	for _, q := range stats {
		ids[q.ID] = q.Port
	}
	require.Equal(t, map[uint32]uint32{0: number, 3: number}, ids)
}

func TestAggregateAndFilters(t *testing.T) {
	_, c := dial(t)
	var flows []ovs.Flow
	for i := range 30 {
		flows = append(flows, ovs.Flow{Table: uint8(i % 3), Cookie: uint64(i), Match: ovs.NewMatch(ovs.Reg(0, uint32(i))), Actions: []ovs.Action{ovs.Output(uint32(1 + i%2))}})
	}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: flows}))
	for _, c2 := range []struct {
		filter openflow.FlowFilter
		want   int
	}{
		{openflow.FlowFilter{}, 30},
		{openflow.FlowFilter{HasTable: true}, 10},
		{openflow.FlowFilter{HasTable: true, Table: 2}, 10},
		{openflow.FlowFilter{OutPort: 1}, 15},
		{openflow.FlowFilter{Cookie: 1, CookieMask: 1}, 15},
		{openflow.FlowFilter{Match: ovs.NewMatch(ovs.Reg(0, 4))}, 1},
		{openflow.FlowFilter{OutGroup: 4}, 0},
	} {
		a, err := c.Aggregate(t.Context(), c2.filter)
		require.NoError(t, err)
		require.Equal(t, openflow.Aggregate{Flows: uint32(c2.want)}, a, "%+v", c2.filter)
		list, err := c.FilteredStats(t.Context(), c2.filter)
		require.NoError(t, err)
		require.Len(t, list, c2.want, "%+v", c2.filter)
	}
}

func TestFlowMonitor(t *testing.T) {
	for _, v := range []openflow.Version{openflow.OpenFlow13, openflow.OpenFlow14, openflow.OpenFlow15} {
		t.Run(v.String(), func(t *testing.T) {
			in := ovstest.Start(t)
			in.AddBridge("br0")
			c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: []openflow.Version{v}})
			require.NoError(t, err)
			defer c.Close()
			flowMonitor(t, in, c)
		})
	}
}

func flowMonitor(t *testing.T, in *ovstest.Instance, c *openflow.Conn) {
	before := ovs.Flow{Table: 1, Priority: 1, Cookie: 5, Actions: []ovs.Action{ovs.Goto(2)}}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{before, {Table: 2}}}))
	s := subscribe(t, c, 10)
	flows, err := c.MonitorFlows(t.Context(), 7, openflow.FlowFilter{HasTable: true, Table: 1})
	require.NoError(t, err)
	require.Equal(t, []string{before.String()}, []string{flows[0].String()})
	require.Len(t, flows, 1)
	in.Ofctl("add-flow", "br0", "table=1,cookie=6,priority=9,ip,actions=goto_table:3")
	u := next[openflow.FlowUpdate](t, s).Changes
	require.Len(t, u, 1)
	require.Equal(t, openflow.FlowAdded, u[0].Kind)
	require.Equal(t, "cookie=0x6,table=1,priority=9,eth_type=0x800 actions=goto_table:3", u[0].Flow.String())
	in.Ofctl("mod-flows", "br0", "table=1,ip,actions=goto_table:4")
	require.Equal(t, openflow.FlowModified, next[openflow.FlowUpdate](t, s).Changes[0].Kind)
	in.Ofctl("del-flows", "br0", "table=1,ip")
	u = next[openflow.FlowUpdate](t, s).Changes
	require.Equal(t, openflow.FlowGone, u[0].Kind)
	require.Equal(t, openflow.RemovedDelete, u[0].Reason)
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Table: 1, Priority: 3}}}))
	u = next[openflow.FlowUpdate](t, s).Changes
	require.Equal(t, openflow.FlowOwn, u[0].Kind)
	require.NotZero(t, u[0].XID)
	_, err = c.MonitorFlows(t.Context(), 7, openflow.FlowFilter{})
	refusal(t, err, "monitor 7")
	require.NoError(t, c.CancelMonitor(t.Context(), 7))
	refusal(t, c.CancelMonitor(t.Context(), 7), "monitor-cancel 7")
}

func TestBuckets(t *testing.T) {
	_, c := dial(t)
	bucket := func(id uint32) ovs.Bucket {
		return ovs.Bucket{ID: id, Weight: uint16(id), Actions: []ovs.Action{ovs.Output(id)}}
	}
	g := ovs.Group{ID: 5, Type: ovs.Select, Buckets: []ovs.Bucket{bucket(1), bucket(2)}}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: []ovs.Group{g}}))
	insert := func(after uint32, ids ...uint32) {
		more := ovs.Group{ID: 5, Type: ovs.Select}
		for _, id := range ids {
			more.Buckets = append(more.Buckets, bucket(id))
		}
		require.NoError(t, c.InsertBuckets(t.Context(), more, after))
	}
	require.NoError(t, c.RemoveBucket(t.Context(), 5, 2))
	insert(openflow.BucketLast, 3, 4)
	insert(openflow.BucketFirst, 5)
	insert(1, 6)
	groups, err := c.Groups(t.Context())
	require.NoError(t, err)
	g.Buckets = []ovs.Bucket{bucket(5), bucket(1), bucket(6), bucket(3), bucket(4)}
	require.Equal(t, g.String(), groups[0].String())
	e := refusal(t, c.RemoveBucket(t.Context(), 5, 77), "remove-buckets group_id=5,command_bucket_id=77")
	require.Equal(t, [2]uint16{6, 15}, [2]uint16{e.Type, e.Code})
	require.NoError(t, c.RemoveBucket(t.Context(), 5, openflow.BucketAll))
	groups, err = c.Groups(t.Context())
	require.NoError(t, err)
	require.Empty(t, groups[0].Buckets)
}

func TestChangesOfOthers(t *testing.T) {
	in, c := dial(t)
	s := subscribe(t, c, 10)
	require.NoError(t, c.SetAsync(t.Context(), openflow.Async{Forwarded: 3}, openflow.Async{}))
	in.Ofctl("add-group", "br0", "group_id=5,type=select,bucket=bucket_id:7,weight:9,actions=output:1")
	g := next[openflow.GroupChanged](t, s)
	require.Equal(t, "group_id=5,type=select,bucket=bucket_id:7,weight:9,actions=output:1", g.Group.String())
	in.Ofctl("add-meter", "br0", "meter=5,kbps,band=type=drop,rate=100")
	m := next[openflow.MeterChanged](t, s)
	require.Equal(t, openflow.MeterChanged{Meter: openflow.Meter{ID: 5, Flags: openflow.MeterKbps, Bands: []openflow.Band{{Type: openflow.BandDrop, Rate: 100, Burst: 100}}}}, m)
}

func TestTunnelOptions(t *testing.T) {
	_, c := dial(t)
	one := openflow.TunnelOption{Class: 0x102, Type: 0x80, Length: 4, Index: 0}
	two := openflow.TunnelOption{Class: 0x102, Type: 0x81, Length: 8, Index: 3}
	require.NoError(t, c.AddTunnelOptions(t.Context(), one, two))
	table, err := c.TunnelOptions(t.Context())
	require.NoError(t, err)
	slices.SortFunc(table.Options, func(a, b openflow.TunnelOption) int { return int(a.Index) - int(b.Index) })
	require.Equal(t, openflow.TunnelTable{MaxSpace: 256, MaxFields: 64, Options: []openflow.TunnelOption{one, two}}, table)
	e := refusal(t, c.AddTunnelOptions(t.Context(), one), "add-tlv-map")
	require.Equal(t, uint32(0x2320), e.Experimenter)
	require.Equal(t, "openflow: switch refused add-tlv-map: field already mapped (Nicira, code 20)", e.Error())
	require.NoError(t, c.DeleteTunnelOptions(t.Context(), one))
	table, err = c.TunnelOptions(t.Context())
	require.NoError(t, err)
	require.Equal(t, []openflow.TunnelOption{two}, table.Options)
	require.NoError(t, c.ClearTunnelOptions(t.Context()))
	table, err = c.TunnelOptions(t.Context())
	require.NoError(t, err)
	require.Empty(t, table.Options)
}

func TestFlushCT(t *testing.T) {
	in, c := dial(t)
	port := in.AddPort("br0", "p1", "type=internal")
	src, dst := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	refill := func() {
		require.NoError(t, c.PacketOut(t.Context(), port, udp(), ovs.CT(ovs.CTOptions{Commit: true, Zone: 7}), ovs.CT(ovs.CTOptions{Commit: true, Zone: 8})))
		require.Eventually(t, func() bool { return zones(in.Appctl("dpctl/dump-conntrack")) == "78" }, 30*time.Second, 5*time.Millisecond)
	}
	for _, c2 := range []struct {
		filter openflow.CTFilter
		left   string
	}{
		{openflow.CTFilter{HasZone: true, Zone: 7}, "8"},
		{openflow.CTFilter{Original: openflow.CTTuple{Src: src}}, ""},
		{openflow.CTFilter{Original: openflow.CTTuple{Dst: src}}, "78"},
		{openflow.CTFilter{HasZone: true, Zone: 8, Reply: openflow.CTTuple{Src: dst, Dst: src}}, "7"},
		{openflow.CTFilter{Proto: 17, Original: openflow.CTTuple{Src: src, DstPort: 0x2000}}, ""},
		{openflow.CTFilter{Proto: 17, Original: openflow.CTTuple{Src: src, DstPort: 1}}, "78"},
		{openflow.CTFilter{Proto: 6, Original: openflow.CTTuple{Src: src}}, "78"},
		{openflow.CTFilter{Proto: 1, Original: openflow.CTTuple{Src: src, ICMPID: 3, ICMPType: 8}}, "78"},
		{openflow.CTFilter{}, ""},
	} {
		refill()
		require.NoError(t, c.FlushCT(t.Context(), c2.filter), "%+v", c2.filter)
		require.Eventually(t, func() bool { return zones(in.Appctl("dpctl/dump-conntrack")) == c2.left }, 30*time.Second, 5*time.Millisecond, "%+v", c2.filter)
	}
	require.ErrorContains(t, c.FlushCT(t.Context(), openflow.CTFilter{Original: openflow.CTTuple{SrcPort: 1}}), "without a protocol")
}

// zones are the zones of a dump, in order.
func zones(dump string) string {
	out := ""
	for _, zone := range []string{"7", "8"} {
		if strings.Contains(dump, fmt.Sprintf("zone=%s", zone)) {
			out += zone
		}
	}
	return out
}
