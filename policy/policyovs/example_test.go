package policyovs_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

func ExampleFlows() {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	db := policy.Member{ID: "db-1", IPs: []netip.Addr{netip.MustParseAddr("10.4.1.4")}}
	err := e.SetMember(db)
	if err != nil {
		panic(err)
	}
	err = e.SetSection(policy.Section{ID: "db", Rules: []policy.Rule{
		{ID: "sql", Sources: []string{"10.4.1.0/30", "10.4.2.0/24", "10.9.0.7"}, Action: policy.Allow, Direction: policy.Ingress,
			Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432), {From: 6000, To: 6009}, policy.Port(22)}}}},
		{ID: "rest", Action: policy.Drop, Direction: policy.Ingress},
	}})
	if err != nil {
		panic(err)
	}
	l := policyovs.DefaultLayout()
	flows, err := policyovs.Flows(e.Program([]string{"db-1"}), []policyovs.Port{{ID: "db-1", Key: 7, MAC: ovs.MAC{2, 0, 0, 0, 0, 1}, IPs: db.IPs}}, l)
	if err != nil {
		panic(err)
	}
	for _, f := range flows {
		if f.Table == l.IngressRules && f.Priority < 64000 && f.Priority > 1000 {
			f.Cookie = 0
			fmt.Println(f)
		}
	}
	// Output:
	// table=72,priority=28001,eth_type=0x800,conj_id=3591299153 actions=set_field:0x400/0x1f00->reg6,goto_table:73
	// table=72,priority=28001,eth_type=0x800,nw_proto=6,tcp_dst=22 actions=conjunction(3591299153,2/2)
	// table=72,priority=28001,eth_type=0x800,nw_proto=6,tcp_dst=5432 actions=conjunction(3591299153,2/2)
	// table=72,priority=28001,eth_type=0x800,nw_proto=6,tcp_dst=6000/0xfff8 actions=conjunction(3591299153,2/2)
	// table=72,priority=28001,eth_type=0x800,nw_proto=6,tcp_dst=6008/0xfffe actions=conjunction(3591299153,2/2)
	// table=72,priority=28001,eth_type=0x800,ip_src=10.9.0.7 actions=conjunction(3591299153,1/2)
	// table=72,priority=28001,eth_type=0x800,ip_src=10.4.1.0/30 actions=conjunction(3591299153,1/2)
	// table=72,priority=28001,eth_type=0x800,ip_src=10.4.2.0/24 actions=conjunction(3591299153,1/2)
	// table=72,priority=20001,eth_type=0x800 actions=drop
	// table=72,priority=20001,eth_type=0x86dd actions=drop
}

func ExampleLayout_RuleCookie() {
	l := policyovs.DefaultLayout()
	r := policy.ProgramRule{Section: "db", Rule: "rest"}
	fmt.Printf("%#x\n", l.RuleCookie(r))
	// Output:
	// 0x74120000086ce833
}
