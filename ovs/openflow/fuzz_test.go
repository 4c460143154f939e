package openflow

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

var seeds = []string{
	"table=1,reg1=7,reg2=0x5/0xff,metadata=0x1/0xff,tcp,dl_vlan=5,nw_dst=10.0.0.0/8,tp_dst=80 actions=pop_vlan,load:5->reg0[3..7],goto_table:9",
	"table=1,ip,ct_state=+trk-new actions=ct(commit,force,table=4,zone=NXM_NX_REG5[0..15],nat(src=10.0.0.1-10.0.0.9:80-90,random),exec(set_field:0x6/0xf->ct_mark))",
	"table=1,udp6,vlan_vid=0x1005 actions=learn(table=84,idle_timeout=60,delete_learned,eth_type=0x86dd,NXM_NX_IPV6_SRC[],load:0x1->NXM_NX_REG4[3],load:NXM_NX_REG1[0..15]->NXM_NX_REG2[16..31]),ct(nat)",
	"table=1,conj_id=5,ip actions=move:reg0[]->reg1[],output:reg1[0..15],group:5,CONTROLLER:9,resubmit(,7),dec_ttl,IN_PORT",
	"table=1 actions=conjunction(5,1/2),conjunction(6,2/2)",
	"table=1,tcp actions=multipath(nw_src,1,hrw,4,0,reg0[0..7]),bundle_load(eth_src,0,hrw,ofport,reg1[],members:1,2),sample(probability=5,collector_set_id=1,obs_domain_id=2,obs_point_id=3,sampling_port=1,egress),fin_timeout(idle_timeout=1,hard_timeout=2),note:01.02",
	"table=1,ip actions=controller(max_len=9,reason=no_match,id=4,userdata=01.02,pause,meter_id=3),dec_ttl(1,2),clone(set_queue:1,output(port=1,max_len=99),pop_queue),check_pkt_larger(99)->reg0[3],push:reg0[1..5],pop:reg1[1..5],exit,clear_actions,write_actions(output:1),write_metadata:0x5/0xf",
	"table=1 actions=learn(table=5,limit=7,result_dst=reg0[1],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),delete_field:tun_metadata5,encap(nsh(md_type=2,tlv(0x1000,3,0x123456))),dec_nsh_ttl,decap()",
	"table=1,tun_metadata0=0x123/0xfff,tun_metadata1=0x5 actions=push_vlan:0x8100,set_field:4196->vlan_vid,load:0->NXM_OF_IN_PORT[],unknown(0xffff001000002320002500000000000a)",
}

// FuzzInstructions holds that what is read is written, and read, the same again.
func FuzzInstructions(f *testing.F) {
	for _, s := range seeds {
		flow, err := ovs.ParseFlow(s)
		require.NoError(f, err)
		b, err := appendInstructions(nil, flow.Actions)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := readInstructions(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		_ = ovs.Flow{Actions: list}.String()
		if (ovs.Flow{Actions: list}).Validate() != nil {
			return // read, but nothing that could be sent
		}
		once, err := appendInstructions(nil, list)
		if err != nil || len(once) > maxLen {
			return
		}
		again, err := readInstructions(once)
		require.NoError(t, err)
		twice, err := appendInstructions(nil, again)
		require.NoError(t, err)
		require.Equal(t, once, twice)
		require.Zero(t, ovs.Diff([]ovs.Flow{{Actions: list}}, nil, []ovs.Flow{{Actions: again}}, nil).Len(), "%s", ovs.Flow{Actions: list})
	})
}

// FuzzReplies feeds the decoders of replies.
func FuzzReplies(f *testing.F) {
	for _, s := range seeds {
		flow, err := ovs.ParseFlow(s)
		require.NoError(f, err)
		f.Add(flowDescription(f, flow))
	}
	g, err := ovs.ParseGroup("group_id=5,type=select,selection_method=hash,fields(ip_src),bucket=bucket_id:1,weight:5,watch_port:3,actions=output:1")
	require.NoError(f, err)
	b, err := appendGroupMod(nil, 0, groupAdd, &g)
	require.NoError(f, err)
	f.Add(b[headerLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxLen {
			return
		}
		flows, err := readFlowStats(b)
		if err == nil {
			for _, s := range flows {
				m := appendMatch(nil, s.Flow.Match)
				r := reader{b: m}
				again, err := readMatch(&r)
				require.NoError(t, err)
				require.True(t, s.Flow.Match.Equal(again), "%s and %s", s.Flow.Match, again)
			}
		} else {
			require.ErrorIs(t, err, ErrMalformed)
		}
		groups, err := readGroups(b)
		for _, g := range groups {
			_ = g.String()
		}
		for _, err := range []error{err, second(readPorts(b)), second(readPortStats(b)), second(readGroupStats(b)), second(readVersions(header{}, b))} {
			if err != nil {
				require.ErrorIs(t, err, ErrMalformed)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// flowDescription lays a flow out as a switch describes it (section 7.3.5.2).
func flowDescription(t testing.TB, f ovs.Flow) []byte {
	b := append([]byte{0, 0, 0, 0}, f.Table, 0)
	b = be.AppendUint16(be.AppendUint16(be.AppendUint16(b, f.Priority), f.IdleTimeout), f.HardTimeout)
	b = be.AppendUint64(be.AppendUint16(be.AppendUint16(b, uint16(f.Flags)), f.Importance), f.Cookie)
	b = append(b, switchMatch(f.Match)...)
	b = append(b, 0, 0, 0, 16, 0x80, 0x02, oxsPackets<<1, 8, 0, 0, 0, 0, 0, 0, 0, 9)
	b, err := appendInstructions(b, f.Actions)
	require.NoError(t, err)
	be.PutUint16(b, uint16(len(b)))
	return b
}

// switchMatch is a match with its fields as Open vSwitch reports them: metadata last.
func switchMatch(m ovs.Match) []byte {
	fields := m.Fields()
	slices.SortStableFunc(fields, func(a, b ovs.FieldMatch) int {
		last := func(m ovs.FieldMatch) int {
			if m.Field == ovs.FieldMetadata {
				return 1
			}
			return 0
		}
		return last(a) - last(b)
	})
	b := []byte{0, 1, 0, 0}
	for i := range fields {
		b = fields[i].AppendOXM(b)
	}
	be.PutUint16(b[2:], uint16(len(b)))
	return pad(b, 0)
}

func TestFlowDescription(t *testing.T) {
	f, err := ovs.ParseFlow(seeds[0])
	require.NoError(t, err)
	got, err := readFlowStats(flowDescription(t, f))
	require.NoError(t, err)
	require.Equal(t, []FlowStat{{Flow: f, Packets: 9}}, got)
}
