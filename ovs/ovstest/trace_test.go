package ovstest_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

func bridge(t *testing.T, groups []ovs.Group, flows ...string) *ovstest.Bridge {
	t.Helper()
	c := ovs.Changes{GroupAdd: groups}
	for _, s := range flows {
		f, err := ovs.ParseFlow(s)
		require.NoError(t, err, s)
		c.FlowAdd = append(c.FlowAdd, f)
	}
	b := ovstest.NewBridge()
	require.NoError(t, b.Apply(t.Context(), c))
	return b
}

// sent is what a trace sent, a port and a field each.
func sent(trace ovstest.Trace, f ovs.Field) (list []string) {
	for _, o := range trace.Outputs {
		list = append(list, fmt.Sprintf("%d:%d", o.Port, o.Packet.Uint(f)))
	}
	return list
}

func TestTrace(t *testing.T) {
	tcp := ovstest.NewPacket(ovs.InPort(1), ovs.IPSrc(pfx("10.0.0.1/32")), ovs.IPDst(pfx("10.0.0.2/32")), ovs.TCPDst(80), ttl(64))
	groups := []ovs.Group{
		{ID: 1, Type: ovs.All, Buckets: []ovs.Bucket{
			{ID: 1, Actions: []ovs.Action{ovs.SetField(ovs.TCPDst(81)), ovs.Output(2)}}, {ID: 2, Actions: []ovs.Action{ovs.Output(3)}}}},
		{ID: 2, Type: ovs.Select, Buckets: []ovs.Bucket{
			{ID: 1, Weight: 1, Actions: []ovs.Action{ovs.Output(2)}}, {ID: 2, Weight: 9, Actions: []ovs.Action{ovs.Output(3)}}}},
		{ID: 3, Type: ovs.FastFailover, Buckets: []ovs.Bucket{
			{ID: 1, WatchPort: 2, Actions: []ovs.Action{ovs.Output(2)}}, {ID: 2, WatchPort: 3, Actions: []ovs.Action{ovs.Output(3)}}}},
	}
	for _, c := range []struct {
		name  string
		flows []string
		field ovs.Field
		want  []string
	}{
		{"no flow", nil, ovs.FieldTCPDst, nil},
		{"highest priority", []string{"priority=1,actions=output:2", "priority=9,tcp,actions=output:3"}, ovs.FieldTCPDst, []string{"3:80"}},
		{"not back", []string{"actions=output:1,output:2"}, ovs.FieldTCPDst, []string{"2:80"}},
		{"back when told", []string{"actions=in_port"}, ovs.FieldTCPDst, []string{"1:80"}},
		{"goto", []string{"actions=set_field:5->reg1,goto_table:3", "table=3,reg1=5,actions=output:2"}, ovs.FieldReg0 + 1, []string{"2:5"}},
		{"resubmit keeps changes", []string{"tcp,actions=resubmit(,4),output:3", "table=4,tcp,actions=set_field:81->tcp_dst"}, ovs.FieldTCPDst, []string{"3:81"}},
		{"clone does not", []string{"tcp,actions=clone(set_field:81->tcp_dst,output:2),output:3"}, ovs.FieldTCPDst, []string{"2:81", "3:80"}},
		{"group all", []string{"actions=group:1,output:4"}, ovs.FieldTCPDst, []string{"2:81", "3:80", "4:80"}},
		{"group select", []string{"actions=group:2"}, ovs.FieldTCPDst, []string{"3:80"}},
		{"group ff", []string{"actions=group:3"}, ovs.FieldTCPDst, []string{"2:80"}},
		{"exit ends the callers", []string{"actions=resubmit(,1),output:3", "table=1,actions=output:2,exit,output:4"}, ovs.FieldTCPDst, []string{"2:80"}},
		{"TTL", []string{"ip,actions=dec_ttl,output:2"}, ovs.FieldIPTTL, []string{"2:63"}},
		{"stack", []string{"actions=push:NXM_OF_IN_PORT[],pop:NXM_NX_REG2[0..15],output:2"}, ovs.FieldReg0 + 2, []string{"2:1"}},
		{"move", []string{"ip,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG3[],output:2"}, ovs.FieldReg0 + 3, []string{"2:167772161"}},
		{"VLAN", []string{"actions=push_vlan:0x8100,set_field:4103->vlan_vid,output:2,pop_vlan,output:3"}, ovs.FieldVLANVID, []string{"2:4103", "3:0"}},
		{"conjunction", []string{
			"priority=5,ip,nw_src=10.0.0.0/8,actions=conjunction(7,1/2)", "priority=5,tcp,tcp_dst=80,actions=conjunction(7,2/2)",
			"priority=5,conj_id=7,ip,actions=output:2", "priority=1,actions=output:3"}, ovs.FieldTCPDst, []string{"2:80"}},
		{"conjunction in part", []string{
			"priority=5,ip,nw_src=10.9.0.0/16,actions=conjunction(7,1/2)", "priority=5,tcp,tcp_dst=80,actions=conjunction(7,2/2)",
			"priority=5,conj_id=7,ip,actions=output:2", "priority=1,actions=output:3"}, ovs.FieldTCPDst, []string{"3:80"}},
		{"tracked", []string{"ip,ct_state=-trk,actions=ct(table=1,zone=4)", "table=1,ct_state=+trk+new,ip,actions=output:2"}, ovs.FieldCTZone, []string{"2:4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trace := bridge(t, groups, c.flows...).Trace(tcp, ovstest.TraceConfig{})
			require.NoError(t, trace.Err)
			require.Equal(t, c.want, sent(trace, c.field), "%s", trace)
		})
	}
	trace := bridge(t, groups, "actions=group:3").Trace(tcp, ovstest.TraceConfig{Down: map[uint32]bool{2: true}})
	require.Equal(t, []string{"3:80"}, sent(trace, ovs.FieldTCPDst))
	require.ErrorContains(t, bridge(t, nil, "actions=resubmit(,0)").Trace(tcp, ovstest.TraceConfig{}).Err, "deeper")
}

func ttl(n byte) ovs.FieldMatch { return ovs.NewFieldMatch(ovs.FieldIPTTL, []byte{n}, nil) }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestTraceTranslates sends a connection through a NAT, and its answer.
func TestTraceTranslates(t *testing.T) {
	b := bridge(t, nil,
		"in_port=1,ip,ct_state=-trk,actions=ct(table=1,zone=3,nat)", "in_port=2,ip,ct_state=-trk,actions=ct(table=1,zone=3,nat)",
		"table=1,in_port=1,ip,ct_state=+new,actions=ct(commit,zone=3,nat(dst=10.1.0.9:8080),exec(set_field:0x5->ct_mark),table=2)",
		"table=1,ip,ct_state=+est,actions=goto_table:2", "table=2,in_port=1,ip,actions=output:2", "table=2,in_port=2,ip,actions=output:1")
	request := ovstest.NewPacket(ovs.InPort(1), ovs.IPSrc(pfx("10.0.0.1/32")), ovs.IPDst(pfx("10.96.0.1/32")), ovs.TCPSrc(4000), ovs.TCPDst(80))
	answer := ovstest.NewPacket(ovs.InPort(2), ovs.IPSrc(pfx("10.1.0.9/32")), ovs.IPDst(pfx("10.0.0.1/32")), ovs.TCPSrc(8080), ovs.TCPDst(4000))
	require.Empty(t, b.Trace(answer, ovstest.TraceConfig{}).Outputs, "of no connection")
	require.Equal(t, []string{"2:8080"}, sent(b.Trace(request, ovstest.TraceConfig{}), ovs.FieldTCPDst))
	require.Empty(t, b.Trace(answer, ovstest.TraceConfig{}).Outputs, "a trace leaves nothing behind")
	for range 2 {
		require.Equal(t, []string{"2:8080"}, sent(b.Send(request, ovstest.TraceConfig{}), ovs.FieldTCPDst))
		require.Equal(t, []string{"1:80"}, sent(b.Send(answer, ovstest.TraceConfig{}), ovs.FieldTCPSrc))
		require.Equal(t, []string{"1:5"}, sent(b.Send(answer, ovstest.TraceConfig{}), ovs.FieldCTMark))
	}
}

// pick returns one of the list.
func pick[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }
