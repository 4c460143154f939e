package ovstest

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// conformanceCases are all cases of [TestSwitch].
func conformanceCases() []conformanceCase {
	cases := bundleCases()
	for _, text := range takenFlows {
		cases = append(cases, conformanceCase{"takes " + text, ovs.Changes{FlowAdd: []ovs.Flow{parseFlow(text)}}, true, 5, 2})
	}
	for _, text := range refusedFlows {
		cases = append(cases, conformanceCase{name: "refuses " + text, bundle: ovs.Changes{FlowAdd: []ovs.Flow{parseRefused(text)}}})
	}
	for _, f := range invalidFlows() {
		cases = append(cases, conformanceCase{name: "refuses " + f.String(), bundle: ovs.Changes{FlowAdd: []ovs.Flow{f}}})
	}
	for _, text := range takenGroups {
		cases = append(cases, conformanceCase{"takes " + text, ovs.Changes{GroupAdd: []ovs.Group{parseGroup(text)}}, true, 4, 3})
	}
	for i, g := range invalidGroups() {
		cases = append(cases, conformanceCase{name: fmt.Sprintf("refuses group %d", i), bundle: ovs.Changes{GroupAdd: []ovs.Group{g}}})
	}
	return cases
}

func bundleCases() []conformanceCase {
	flow := parseFlow("table=5,priority=1 actions=output:1")
	toNew := parseFlow("table=5,priority=1 actions=group:9")
	unknown := parseFlow("table=6,priority=1 actions=group:77")
	g1, g9 := parseGroup("group_id=1,type=all,bucket=bucket_id:3,actions=output:3"), parseGroup("group_id=9,type=all")
	flows := func(list ...ovs.Flow) []ovs.Flow { return list }
	groups := func(list ...ovs.Group) []ovs.Group { return list }
	return []conformanceCase{
		{"flow and its group", ovs.Changes{GroupAdd: groups(g9), FlowAdd: flows(toNew)}, true, 5, 3},
		{"flow of a group that is deleted with it", ovs.Changes{GroupAdd: groups(g9), FlowAdd: flows(toNew), GroupDelete: []uint32{9}}, true, 4, 2},
		{"good flow, then one to no group", ovs.Changes{FlowAdd: flows(flow, unknown)}, false, 0, 0},
		{"good groups, then a bad flow", ovs.Changes{GroupAdd: groups(g9), GroupModify: groups(g1), FlowAdd: flows(unknown), FlowDelete: standing.FlowAdd}, false, 0, 0},
		{"group that exists", ovs.Changes{FlowAdd: flows(flow), GroupAdd: groups(g1)}, false, 0, 0},
		{"group twice", ovs.Changes{GroupAdd: groups(g9, g9)}, false, 0, 0},
		{"modify", ovs.Changes{GroupModify: groups(g1)}, true, 4, 2},
		{"modify of an unknown group", ovs.Changes{GroupModify: groups(g9)}, false, 0, 0},
		{"modify of one added", ovs.Changes{GroupAdd: groups(g9), GroupModify: groups(g9)}, true, 4, 3},
		{"delete of a group takes its flows, in clone too", ovs.Changes{GroupDelete: []uint32{2}}, true, 2, 1},
		{"delete of an unknown group", ovs.Changes{GroupDelete: []uint32{5}}, true, 4, 2},
		{"delete of a group twice", ovs.Changes{GroupDelete: []uint32{1, 1}}, true, 3, 1},
		{"delete of a flow", ovs.Changes{FlowDelete: standing.FlowAdd[:1]}, true, 3, 2},
		{"delete is strict in the priority", ovs.Changes{FlowDelete: flows(parseFlow("table=0,priority=11,in_port=1 actions=drop"))}, true, 4, 2},
		{"delete is strict in the match", ovs.Changes{FlowDelete: flows(parseFlow("table=0,priority=10 actions=drop"))}, true, 4, 2},
		{"delete does not look at cookie and actions", ovs.Changes{FlowDelete: flows(parseFlow("cookie=0x9,table=0,priority=10,in_port=1 actions=drop"))}, true, 3, 2},
		{"delete of an unknown flow", ovs.Changes{FlowDelete: flows(flow)}, true, 4, 2},
		{"add then delete", ovs.Changes{FlowAdd: flows(flow), FlowDelete: flows(flow)}, true, 4, 2},
		{"add replaces", ovs.Changes{FlowAdd: flows(parseFlow("cookie=0x8,table=0,priority=10,in_port=1 actions=output:7"))}, true, 4, 2},
		{"flows that overlap", ovs.Changes{FlowAdd: flows(parseFlow("table=0,priority=10,metadata=0x1 actions=output:7"))}, true, 5, 2},
	}
}

var takenFlows = []string{
	"table=0,priority=5,eth_type=0x800,ip_proto=6,tcp_dst=80 actions=set_field:81->tcp_dst,output:1",
	"table=0,priority=5,eth_type=0x800 actions=dec_ttl,output:1",
	"table=0,priority=5,eth_type=0x86dd actions=dec_ttl,set_field:fd00::1->ipv6_src,output:1",
	"table=0,priority=5 actions=push_vlan:0x8100,set_field:4101->vlan_vid,output:1",
	"table=0,priority=5,vlan_vid=0x1005 actions=pop_vlan,output:1",
	"table=0,priority=5,eth_type=0x806 actions=move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],IN_PORT",
	"table=0,priority=5,eth_type=0x800 actions=ct(commit,zone=5,exec(set_field:0x1->ct_mark)),goto_table:1",
	"table=0,priority=5,eth_type=0x800 actions=ct(commit,table=3,nat(dst=10.0.0.1:80))",
	"table=0,priority=5,eth_type=0x800 actions=conjunction(3,1/2),conjunction(4,2/3)",
	"table=0,priority=5,conj_id=3 actions=output:1",
	"table=0,priority=5 actions=resubmit(,0),resubmit(,7),goto_table:254",
	"table=7,priority=5 actions=resubmit(,3)",
	"table=0,priority=5 actions=group:1,group:2",
	"table=0,priority=5 actions=write_actions(group:1)",
	"table=0,priority=5 actions=set_field:0x5->reg3,output:NXM_NX_REG3[0..15]",
	"table=0,priority=5 actions=output:65279",
	"table=0,priority=5 actions=NORMAL",
	"table=0,priority=5 actions=CONTROLLER:128",
	"table=0,priority=5,eth_type=0x800 actions=learn(table=2,priority=9,eth_type=0x800,NXM_OF_IP_SRC[])",
	"table=0,priority=5 actions=learn(table=2,priority=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
}

var refusedFlows = []string{
	"table=0,priority=5 actions=group:77",
	"table=0,priority=5 actions=clone(group:77)",
	"table=0,priority=5 actions=write_actions(group:77)",
	"table=0,priority=5 actions=meter:77,output:1",
	"table=0,priority=5 actions=set_field:80->tcp_dst",
	"table=0,priority=5,eth_type=0x800 actions=set_field:80->tcp_dst",
	"table=0,priority=5,eth_type=0x800,ip_proto=17 actions=set_field:80->tcp_dst",
	"table=0,priority=5,eth_type=0x86dd actions=set_field:10.0.0.1->ip_src",
	"table=0,priority=5 actions=set_field:4101->vlan_vid",
	"table=0,priority=5 actions=pop_vlan",
	"table=0,priority=5,vlan_vid=0 actions=pop_vlan",
	"table=0,priority=5,vlan_vid=0x1005 actions=pop_vlan,pop_vlan",
	"table=0,priority=5 actions=dec_ttl",
	"table=0,priority=5,eth_type=0x806 actions=dec_ttl",
	"table=0,priority=5 actions=ct(commit)",
	"table=0,priority=5,eth_type=0x86dd actions=ct(commit,nat(src=10.0.0.1))",
	"table=0,priority=5 actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[]",
	"table=0,priority=5,eth_type=0x800 actions=move:NXM_OF_ARP_SPA[]->NXM_NX_REG0[]",
	"table=0,priority=5 actions=clone(dec_ttl)",
	"table=0,priority=5,eth_type=0x800 actions=learn(table=2,priority=9,NXM_OF_IP_SRC[])",
	"table=0,priority=5 actions=learn(table=2,priority=9,eth_type=0x800,NXM_OF_IP_SRC[])",
}

// invalidFlows are those that package ovs refuses too.
func invalidFlows() []ovs.Flow {
	flow := func(table uint8, m ovs.Match, actions ...ovs.Action) ovs.Flow {
		return ovs.Flow{Table: table, Priority: 5, Match: m, Actions: actions}
	}
	any, ip := ovs.NewMatch(), ovs.NewMatch(ovs.EthType(0x0800))
	return []ovs.Flow{
		flow(0, ovs.NewMatch(ovs.IPProto(6))),
		flow(0, ovs.NewMatch(ovs.TCPDst(80))),
		flow(0, ovs.NewMatch(ovs.EthType(0x0806), ovs.IPSrc(netip.MustParsePrefix("10.0.0.0/8")))),
		flow(0, ovs.NewMatch(ovs.EthType(0x0800), ovs.IPProto(17), ovs.TCPDst(80))),
		flow(0, ovs.NewMatch(ovs.EthType(0x0800), ovs.ICMPv6Type(135))),
		flow(0, any, ovs.Goto(0)),
		flow(4, any, ovs.Goto(3)),
		flow(0, any, ovs.Goto(1), ovs.Output(1)),
		flow(0, any, ovs.Conjunction(1, 1, 2), ovs.Output(1)),
		flow(0, any, ovs.Conjunction(1, 3, 2)),
		flow(0, any, ovs.Conjunction(1, 1, 1)),
		flow(0, any, ovs.Conjunction(1, 1, 65)),
		flow(0, any, ovs.SetField(ovs.CTMark(5))),
		flow(0, any, ovs.SetField(ovs.EthType(5))),
		flow(0, ip, ovs.CT(ovs.CTOptions{Force: true})),
		flow(0, ip, ovs.CT(ovs.CTOptions{Commit: true, Exec: []ovs.Action{ovs.Output(1)}})),
		flow(0, any, ovs.Output(65280)),
	}
}

var takenGroups = []string{
	"group_id=9,type=all",
	"group_id=9,type=select",
	"group_id=9,type=select,bucket=bucket_id:0,weight:0,actions=output:1",
	"group_id=9,type=select,selection_method=dp_hash,bucket=bucket_id:5,weight:3,actions=output:1",
	"group_id=9,type=select,selection_method=hash,fields(ip_src),bucket=bucket_id:5,weight:3,actions=output:1",
	"group_id=9,type=indirect,bucket=bucket_id:0,actions=output:1",
	"group_id=9,type=ff,bucket=bucket_id:0,watch_port:1,actions=output:1",
	"group_id=9,type=all,bucket=bucket_id:0,actions=group:1",
	"group_id=9,type=all,bucket=bucket_id:0,actions=dec_ttl",
}

func invalidGroups() []ovs.Group {
	out := []ovs.Action{ovs.Output(1)}
	return []ovs.Group{
		{ID: 9, Type: ovs.Indirect},
		{ID: 9, Type: ovs.Indirect, Buckets: []ovs.Bucket{{ID: 1, Actions: out}, {ID: 2, Actions: out}}},
		{ID: 9, Type: ovs.All, Buckets: []ovs.Bucket{{ID: 1, Actions: out}, {ID: 1, Actions: out}}},
		{ID: 9, Type: ovs.FastFailover, Buckets: []ovs.Bucket{{ID: 1, Actions: out}}},
		{ID: 9, Type: 4},
		{ID: 9, Type: ovs.All, Selection: "hash"},
		{ID: 9, Type: ovs.Select, Selection: "best"},
		{ID: 0xffffff01, Type: ovs.All},
	}
}
