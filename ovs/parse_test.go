package ovs_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// flowTexts are flows as String writes them.
var flowTexts = []string{
	"table=0,priority=0 actions=drop",
	"cookie=0x7401000000000001,table=0,priority=100,in_port=1,vlan_vid=0x1064 actions=pop_vlan,set_field:0x7->reg0,set_field:0x1000->metadata,goto_table:10",
	"table=1,hard_timeout=60,no_byte_counts,importance=7,priority=1 actions=drop",
	"table=1,idle_timeout=5,hard_timeout=60,send_flow_rem,priority=1,vlan_vid=0x0 actions=output:3",
	"table=10,priority=9,reg0=0x7,eth_src=02:74:6c:00:00:01,eth_type=0x800,ip_src=10.4.0.0/24 actions=goto_table:20",
	"table=20,priority=9,eth_type=0x806,arp_op=1,arp_tpa=10.4.0.1 actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:2->arp_op,IN_PORT",
	"table=30,priority=1,eth_type=0x800 actions=ct(table=31,zone=NXM_NX_REG5[0..15])",
	"table=31,priority=1,eth_type=0x800,ct_state=+est+rpl-inv+trk actions=resubmit(,40)",
	"table=31,priority=2,eth_type=0x800,ct_state=+dnat actions=NORMAL",
	"table=31,priority=3,eth_type=0x800,conj_id=77 actions=ct(commit,zone=5,exec(set_field:0x6->ct_mark))",
	"table=31,priority=4,reg0=0x7 actions=conjunction(77,1/2),conjunction(78,2/3)",
	"table=31,priority=5,eth_type=0x86dd,nw_proto=6,tcp_dst=4096/0xf000 actions=LOCAL",
	"table=40,priority=6,metadata=0xff00/0xff00,eth_type=0x800 actions=set_field:0x1001->tun_id,set_field:192.0.2.7->tun_dst,dec_ttl,output:NXM_NX_REG1[0..15]",
	"table=80,priority=6,reg1=0x7 actions=push_vlan:0x8100,set_field:4196->vlan_vid,load:0x0->NXM_OF_IN_PORT[],output:1",
	"table=81,priority=6,eth_type=0x800 actions=ct(commit,force,table=82,nat(src=10.0.0.1-10.0.0.9:80-90,persistent,hash))",
	"table=81,priority=7,eth_type=0x86dd actions=ct(commit,nat(dst=[fd00::1]-[fd00::2]:80,random))",
	"table=81,priority=8,eth_type=0x86dd actions=ct(nat)",
	"table=82,priority=6 actions=group:5,CONTROLLER:128,set_field:0x50/0xf0->reg3",
	"table=83,priority=6,eth_type=0x800,nw_proto=17 actions=learn(table=84,idle_timeout=60,priority=90,delete_learned,cookie=0x4d,eth_type=0x800,nw_proto=17,NXM_OF_IP_SRC[],NXM_OF_UDP_DST[],load:0x9->NXM_NX_REG3[],load:0x1->NXM_NX_REG4[3],load:NXM_NX_REG1[0..15]->NXM_NX_REG2[16..31])",
	"table=84,priority=6,eth_type=0x800,ct_label=0x10000000000000002/0xf000000000000000f actions=unknown(0xffff001000002320002500000000000a)",
}

func TestParseFlowReadsString(t *testing.T) {
	for _, text := range flowTexts {
		f, err := ovs.ParseFlow(text)
		require.NoError(t, err)
		require.Equal(t, text, f.String())
	}
}

func TestParseFlowReadsOfctl(t *testing.T) {
	for text, want := range map[string]string{
		" cookie=0x0, duration=3.2s, table=2, n_packets=0, n_bytes=0, idle_age=3, priority=1,tcp,nw_dst=10.0.0.1,tp_dst=80 actions=drop": "table=2,priority=1,eth_type=0x800,nw_proto=6,ip_dst=10.0.0.1,tcp_dst=80 actions=drop",
		"arp,nw_src=10.0.0.1,dl_vlan=5,actions=normal":               "table=0,priority=32768,eth_type=0x806,vlan_vid=0x1005,arp_spa=10.0.0.1 actions=NORMAL",
		"actions=enqueue:1:2,output:3":                               "table=0,priority=32768 actions=set_queue:2,output:1,pop_queue,output:3",
		"actions=enqueue(LOCAL,2)":                                   "table=0,priority=32768 actions=set_queue:2,LOCAL,pop_queue",
		"actions=mod_vlan_vid:5,mod_vlan_pcp:3":                      "table=0,priority=32768 actions=push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp",
		"dl_vlan=3 actions=mod_vlan_pcp:3,strip_vlan,mod_vlan_vid:5": "table=0,priority=32768,vlan_vid=0x1003 actions=set_field:3->vlan_pcp,pop_vlan,push_vlan:0x8100,set_field:4101->vlan_vid",
		"actions=clone(mod_vlan_vid:7),mod_vlan_vid:8":               "table=0,priority=32768 actions=clone(push_vlan:0x8100,set_field:4103->vlan_vid),push_vlan:0x8100,set_field:4104->vlan_vid",
		"udp actions=mod_tp_src:1,mod_tp_dst:2":                      "table=0,priority=32768,eth_type=0x800,nw_proto=17 actions=set_field:1->udp_src,set_field:2->udp_dst",
		"sctp6 actions=mod_tp_dst:2":                                 "table=0,priority=32768,eth_type=0x86dd,nw_proto=132 actions=set_field:2->sctp_dst",
		"udp6,tp_src=0x35,actions=5":                                 "table=0,priority=32768,eth_type=0x86dd,nw_proto=17,udp_src=53 actions=output:5",
		"vlan_tci=0x0000/0x1fff actions=drop":                        "table=0,priority=32768,vlan_vid=0x0 actions=drop",
		"ip,nw_src=10.0.0.0/255.0.0.0 actions=":                      "table=0,priority=32768,eth_type=0x800,ip_src=10.0.0.0/8 actions=drop",
		"dl_vlan=0xffff actions=load:0x5->reg0[0..3]":                "table=0,priority=32768,vlan_vid=0x0 actions=set_field:0x5/0xf->reg0",
		"ct_state=+trk,ip actions=ct(commit,zone=reg5[0..15])":       "table=0,priority=32768,eth_type=0x800,ct_state=+trk actions=ct(commit,zone=NXM_NX_REG5[0..15])",
	} {
		f, err := ovs.ParseFlow(text)
		require.NoError(t, err)
		require.Equal(t, want, f.String())
	}
}

func TestParseFlowRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                           "no actions=",
		"table=1":                                    "no actions=",
		"table=256 actions=drop":                     "table=256",
		"priority=-1 actions=drop":                   "priority=-1",
		"shoe_size=43 actions=drop":                  `no field "shoe_size"`,
		"reg0=1,reg0=2 actions=drop":                 "reg0 given twice",
		"tcp,nw_proto=17 actions=drop":               "nw_proto given twice",
		"tp_dst=80 actions=drop":                     "which field it is",
		"tcp_dst=80 actions=drop":                    "nw_proto needs",
		"reg0=0x100000000 actions=drop":              "does not fit 32 bits",
		"tun_id=0x actions=drop":                     "is not a number",
		"vlan_vid=0x2000 actions=drop":               "does not fit 13 bits",
		"ip,ip_src=10.0.0.0/33 actions=drop":         "/33",
		"ip,ip_src=fd00:: actions=drop":              "32 bits",
		"ip,ct_state=+trk-trk actions=drop":          "ct_state",
		"ip,ct_state=+wet actions=drop":              "+wet",
		"actions=enqueue:1":                          "want a port and a queue",
		"actions=mod_vlan_vid:4096":                  "more than 4095",
		"ip actions=mod_tp_src:1":                    "mod_tp_src:1 without a protocol",
		"ip actions=ct(commit,exec(mod_vlan_vid:1))": "exec of ct",
		"actions=explode":                            `action "explode": no such action`,
		"actions=ct(commit":                          "parentheses",
		"actions=ct(commit))":                        "parentheses",
		"actions=move:reg0[]->eth_src[]":             "32 bits to 48",
		"actions=set_field:1->reg99":                 `no field "reg99"`,
		"actions=load:16->reg0[0..3]":                "does not fit 4 bits",
		"actions=load:1->reg0[30..33]":               "not bits of a field of 32 bits",
		"actions=goto_table:1,drop":                  "no such action",
		"table=1 actions=goto_table:1":               "not a later table",
		"actions=ct(nat(src=1.2.3))":                 "1.2.3",
		"actions=conjunction(1,2)":                   "want conjunction",
		"actions=learn(size=4)":                      `no field "size"`,
		"actions=" + strings.Repeat("ct(", 99) + strings.Repeat(")", 99): "parentheses",
	} {
		_, err := ovs.ParseFlow(text)
		require.ErrorIs(t, err, ovs.ErrInvalid, text)
		require.ErrorContains(t, err, want)
	}
}

func TestParseGroup(t *testing.T) {
	for _, text := range groupTexts {
		g, err := ovs.ParseGroup(text)
		require.NoError(t, err)
		require.Equal(t, text, g.String())
	}
	g, err := ovs.ParseGroup("group_id=1,type=select,bucket=actions=output:1,bucket=weight:5,actions=output:2")
	require.NoError(t, err)
	require.Equal(t, "group_id=1,type=select,bucket=bucket_id:0,weight:1,actions=output:1,bucket=bucket_id:1,weight:5,actions=output:2", g.String())
	for _, bad := range []string{"", "group_id=1", "type=all", "group_id=1,type=some", "group_id=1,type=all,bucket=weight:1", "group_id=1,type=all,colour=red",
		"group_id=1,type=select,selection_method=hash,fields(shoe)", "group_id=1,type=all,bucket=bucket_id:x,actions=drop", "group_id=1,type=indirect"} {
		_, err := ovs.ParseGroup(bad)
		require.ErrorIs(t, err, ovs.ErrInvalid, bad)
	}
}

var groupTexts = []string{
	"group_id=5,type=select,selection_method=dp_hash,bucket=bucket_id:1,weight:100,actions=ct(commit,table=84,zone=NXM_NX_REG5[0..15],nat(dst=10.4.0.5:8080)),bucket=bucket_id:2,weight:0,actions=drop",
	"group_id=6,type=select,selection_method=hash,fields(ip_src,tcp_dst)",
	"group_id=7,type=all,bucket=bucket_id:1,actions=set_field:0x8->reg1,resubmit(,70),bucket=bucket_id:2,actions=output:2",
	"group_id=8,type=ff,bucket=bucket_id:1,watch_port:3,actions=output:3",
	"group_id=9,type=indirect,bucket=bucket_id:1,actions=IN_PORT",
}

func FuzzParseFlow(f *testing.F) {
	for _, text := range flowTexts {
		f.Add(text)
	}
	f.Add("tcp,nw_dst=10.0.0.1/8,tp_dst=80,ct_state=+trk-new actions=load:5->reg0[3..7],nat")
	f.Add("udp actions=mod_vlan_vid:5,clone(mod_tp_src:1),enqueue:1:2")
	f.Fuzz(func(t *testing.T, text string) {
		flow, err := ovs.ParseFlow(text)
		if err != nil {
			require.ErrorIs(t, err, ovs.ErrInvalid)
			return
		}
		again, err := ovs.ParseFlow(flow.String())
		require.NoError(t, err, "parsed from %q", text)
		require.Equal(t, flow, again, "parsed from %q", text)
		require.Zero(t, ovs.Diff([]ovs.Flow{flow}, nil, []ovs.Flow{again}, nil).Len())
	})
}

func FuzzParseGroup(f *testing.F) {
	for _, text := range groupTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ovs.ParseGroup(text)
		if err != nil {
			require.ErrorIs(t, err, ovs.ErrInvalid)
			return
		}
		again, err := ovs.ParseGroup(g.String())
		require.NoError(t, err, "parsed from %q", text)
		require.Zero(t, ovs.Diff(nil, []ovs.Group{g}, nil, []ovs.Group{again}).Len(), "parsed from %q", text)
	})
}
