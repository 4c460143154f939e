package openflow_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// TestOlderVersions does with 1.3 and 1.4 what the other tests do with 1.5.
func TestOlderVersions(t *testing.T) {
	for _, v := range []openflow.Version{openflow.OpenFlow13, openflow.OpenFlow14} {
		t.Run(v.String(), func(t *testing.T) {
			in := ovstest.Start(t)
			in.AddBridge("br0")
			c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: []openflow.Version{v}})
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, v, c.Version())
			olderFlowsAndGroups(t, c)
			olderEvents(t, in, c)
			olderQueries(t, c)
			olderRefusals(t, c)
		})
	}
}

func olderFlowsAndGroups(t *testing.T, c *openflow.Conn) {
	flows, groups := everyKind(), everyGroup()
	for i := range groups { // what a version before 1.5 cannot say
		groups[i].Selection, groups[i].Fields = "", nil
		for j := range groups[i].Buckets {
			groups[i].Buckets[j].ID = uint32(j)
		}
	}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: flows, GroupAdd: groups}))
	gotGroups, err := c.Groups(t.Context())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(groups), text(gotGroups)))
	got, err := c.Flows(t.Context(), owner<<56, ovs.OwnerMask)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(flows), text(got)))
	a, err := c.Aggregate(t.Context(), openflow.FlowFilter{})
	require.NoError(t, err)
	require.Equal(t, uint32(len(flows)), a.Flows)

	n, err := c.AddFlows(t.Context(), typicals(2500))
	require.NoError(t, err)
	require.Equal(t, 2500, n)
	bad := ovs.Flow{Table: 2, Priority: 2, Actions: []ovs.Action{ovs.ToGroup(999)}}
	refusal(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{{Table: 200}, bad}}), "add-flow "+bad.String())
	list, err := c.FilteredStats(t.Context(), openflow.FlowFilter{HasTable: true, Table: 200})
	require.NoError(t, err)
	require.Empty(t, list, "a bundle that was refused left nothing")
}

func olderEvents(t *testing.T, in *ovstest.Instance, c *openflow.Conn) {
	s := subscribe(t, c, 100)
	primary := openflow.Async{PacketIn: 1<<openflow.PacketAction | 1<<openflow.PacketNoMatch, PortStatus: 7, FlowRemoved: 1 << openflow.RemovedDelete}
	if c.Version() > openflow.OpenFlow13 { // which tells this reason from PacketAction
		primary.PacketIn |= 1 << openflow.PacketPacketOut
	}
	require.NoError(t, c.SetAsync(t.Context(), primary, openflow.Async{PortStatus: 1}))
	now, secondary, err := c.Async(t.Context())
	require.NoError(t, err)
	require.Equal(t, []uint32{7, 1 << openflow.RemovedDelete, 1}, []uint32{now.PortStatus, now.FlowRemoved, secondary.PortStatus})
	number := in.AddPort("br0", "p1", "type=internal")
	require.Equal(t, number, next[openflow.PortStatus](t, s).Port.Number)
	f := flow(t, "cookie=0x5,table=3,idle_timeout=60,send_flow_rem,priority=7,tcp,nw_dst=10.0.0.0/8,reg3=4 actions=goto_table:9")
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{f}}))
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowDelete: []ovs.Flow{f}}))
	f.Actions = nil
	require.Equal(t, f.String(), next[openflow.FlowRemoved](t, s).Flow.String())
	require.NoError(t, c.PacketOut(t.Context(), number, udp(), ovs.Move(ovs.RegField(0), ovs.RegField(1)), ovs.Controller(0xffff)))
	p := next[openflow.PacketIn](t, s)
	require.Equal(t, udp(), p.Frame)
	_, _, err = c.SetRole(t.Context(), openflow.RolePrimary, 1)
	require.NoError(t, err)
	other, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	defer other.Close()
	_, _, err = other.SetRole(t.Context(), openflow.RolePrimary, 2)
	require.NoError(t, err)
	require.Equal(t, openflow.RoleSecondary, next[openflow.RoleStatus](t, s).Role)
	_, _, err = c.SetRole(t.Context(), openflow.RoleEqual, 0)
	require.NoError(t, err)
	port, _ := p.Metadata.Field(ovs.FieldInPort)
	require.Equal(t, uint64(number), port.Uint())
}

func olderQueries(t *testing.T, c *openflow.Conn) {
	ports, err := c.PortDesc(t.Context())
	require.NoError(t, err)
	names := map[string]bool{}
	for _, p := range ports {
		names[p.Name] = true
	}
	require.Equal(t, map[string]bool{"br0": true, "p1": true}, names)
	stats, err := c.PortStats(t.Context())
	require.NoError(t, err)
	require.Len(t, stats, 2)
	groups, err := c.GroupStats(t.Context())
	require.NoError(t, err)
	require.Len(t, groups, len(everyGroup()))
	tables, err := c.TableStats(t.Context())
	require.NoError(t, err)
	require.Len(t, tables, 254)
	features, err := c.TableFeatures(t.Context())
	require.NoError(t, err)
	require.Len(t, features, 254)
	_, err = c.QueueStats(t.Context())
	require.NoError(t, err)
	m := openflow.Meter{ID: 5, Flags: openflow.MeterKbps, Bands: []openflow.Band{{Type: openflow.BandDrop, Rate: 100}}}
	require.NoError(t, c.AddMeter(t.Context(), m))
	meters, err := c.Meters(t.Context())
	require.NoError(t, err)
	require.Len(t, meters, 1)
	require.NoError(t, c.AddTunnelOptions(t.Context(), openflow.TunnelOption{Class: 1, Type: 2, Length: 4}))
	require.NoError(t, c.FlushCT(t.Context(), openflow.CTFilter{}))
	require.NoError(t, c.FlushCTZone(t.Context(), 4))
	require.NoError(t, c.Echo(t.Context(), []byte("ping")))
	_, err = c.Describe(t.Context())
	require.NoError(t, err)
}

// olderRefusals has what a version cannot do refused by name, unsent.
func olderRefusals(t *testing.T, c *openflow.Conn) {
	require.ErrorIs(t, c.InsertBuckets(t.Context(), ovs.Group{ID: 5}, 1), errors.ErrUnsupported)
	require.ErrorContains(t, c.RemoveBucket(t.Context(), 5, 1), "remove-buckets group_id=5,command_bucket_id=1: unsupported operation: needs OpenFlow 1.5, the connection has "+c.Version().String())
	hashed := ovs.Group{ID: 77, Type: ovs.Select, Selection: "dp_hash"}
	require.ErrorContains(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: []ovs.Group{hashed}}), `group 77: `+c.Version().String()+`: selection method "dp_hash" needs OpenFlow 1.5`)
	_, err := c.Tables(t.Context())
	_, queues := c.Queues(t.Context())
	config := c.SetTable(t.Context(), openflow.TableConfig{Table: 3})
	async := c.SetAsync(t.Context(), openflow.Async{TableStatus: 1 << 3}, openflow.Async{})
	for _, err := range []error{err, queues, config, async} {
		if c.Version() == openflow.OpenFlow13 {
			require.ErrorContains(t, err, "OpenFlow 1.4")
		} else {
			require.NoError(t, err)
		}
	}
}

// TestOlderVersionsHaveEveryAction sends each kind of action with the older
// versions, also within others.
func TestOlderVersionsHaveEveryAction(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	in.Ofctl("add-meter", "br0", "meter=5,kbps,band=type=drop,rate=100")
	for _, v := range []openflow.Version{openflow.OpenFlow13, openflow.OpenFlow14} {
		c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: []openflow.Version{v}})
		require.NoError(t, err)
		for _, actions := range []string{
			"meter:5", "meter:5,output:1", "meter:5,goto_table:9", "note:01.02.03.04.05.06,exit",
			"multipath(symmetric_l4,50,modulo_n,4,0,NXM_NX_REG0[0..3])", "bundle(eth_src,0,hrw,ofport,members:1,2)",
			"clone(set_field:0x5/0xf->reg0,move:NXM_NX_REG0[0..7]->NXM_NX_REG1[8..15],clone(set_field:0x50/0xf0->reg2),output:1)",
			"output(port=1,max_len=100)", "push:NXM_NX_REG0[],pop:NXM_NX_REG1[]", "set_queue:3,pop_queue", "ct_clear",
			"controller(max_len=100,reason=action,id=0,userdata=01.02)", "write_actions(set_field:0x5/0xf->reg0,output:1)", "clear_actions", "write_metadata:0x5/0xf,goto_table:9",
			"sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4)", "push_vlan:0x8100,set_field:4100->vlan_vid", "set_field:0x5/0xf->metadata",
		} {
			f := flow(t, "table=1,priority=1,tcp actions="+actions)
			require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{f}}), v)
			got, err := c.Flows(t.Context(), 0, 0)
			require.NoError(t, err)
			require.Equal(t, f.String(), got[0].String(), v)
		}
		late := flow(t, "table=1,priority=1 actions=output:1,meter:5")
		if v == openflow.OpenFlow13 {
			important := ovs.Flow{Importance: 5}
			require.ErrorContains(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{important}}), "importance=5")
			require.ErrorContains(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{important}}), v.String()+": importance needs OpenFlow 1.4")
		}
		require.ErrorContains(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{late}}), v.String()+": meter that is not the first action needs OpenFlow 1.5")
		require.NoError(t, c.Close())
	}
}

// TestVersionIsTheLatestOfBoth has bridges that speak only some.
func TestVersionIsTheLatestOfBoth(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	for _, c := range []struct {
		protocols string
		offer     []openflow.Version
		want      openflow.Version
		fault     string
	}{
		{"OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15", nil, openflow.OpenFlow15, ""},
		{"OpenFlow13,OpenFlow14", nil, openflow.OpenFlow14, ""},
		{"OpenFlow10,OpenFlow13", nil, openflow.OpenFlow13, ""},
		{"OpenFlow13,OpenFlow15", []openflow.Version{openflow.OpenFlow13}, openflow.OpenFlow13, ""},
		{"OpenFlow10", nil, 0, "OpenFlow 1.0"},
		{"OpenFlow15", []openflow.Version{openflow.OpenFlow14}, 0, "OpenFlow 1.4"},
		{"OpenFlow15", []openflow.Version{2}, 0, "OpenFlow 1.1: unsupported"},
	} {
		_, err := in.Vsctl(t.Context(), "set", "bridge", "br0", "protocols="+c.protocols)
		require.NoError(t, err)
		conn, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: c.offer})
		if c.fault != "" {
			require.ErrorContains(t, err, c.fault, c.protocols)
			continue
		}
		require.NoError(t, err, c.protocols)
		require.Equal(t, c.want, conn.Version(), c.protocols)
		require.NoError(t, conn.Barrier(t.Context()))
		require.NoError(t, conn.Close())
	}
}

// TestOlderVersionsSayTheSame sends random flows with an older version and
// reads them back with it and with 1.5.
func TestOlderVersionsSayTheSame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	in := ovstest.Start(t)
	in.AddBridge("br0")
	dial := func(v openflow.Version) *openflow.Conn {
		c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{Versions: []openflow.Version{v}})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	newest := dial(openflow.OpenFlow15)
	for _, v := range []openflow.Version{openflow.OpenFlow13, openflow.OpenFlow14} {
		older := dial(v)
		r := maker{rand.New(rand.NewPCG(seed, uint64(v)))}
		require.NoError(t, older.Apply(t.Context(), ovs.Changes{GroupDelete: []uint32{5}}))
		require.NoError(t, newest.Apply(t.Context(), ovs.Changes{GroupAdd: everyGroup()[:1]}))
		var flows []ovs.Flow
		for i := range 400 {
			f := r.olderFlow(i)
			if v == openflow.OpenFlow13 {
				f.Importance = 0
			}
			flows = append(flows, f)
		}
		require.NoError(t, older.Apply(t.Context(), ovs.Changes{FlowAdd: flows}), v)
		for _, c := range []*openflow.Conn{newest, older} {
			got, err := c.Flows(t.Context(), 0, 0)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(text(flows), text(got)), "sent by %s, read by %s", v, c.Version())
		}
		require.NoError(t, older.Apply(t.Context(), ovs.Changes{FlowDelete: flows}))
		left, err := older.Flows(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
