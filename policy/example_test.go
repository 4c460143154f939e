package policy_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
)

func Example() {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	for i, app := range []string{"web", "web", "db"} {
		err := e.SetMember(policy.Member{
			ID: fmt.Sprintf("%s-%d", app, i), Tags: []policy.Tag{{Scope: "app", Tag: app}},
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 4, 1, byte(2 + i)})},
		})
		if err != nil {
			panic(err)
		}
	}
	for _, app := range []string{"web", "db"} {
		if err := e.SetGroup(policy.Group{ID: app, Criteria: policy.TagEquals("app", app)}); err != nil {
			panic(err)
		}
	}
	err := e.SetSection(policy.Section{ID: "tiers", AppliedTo: []string{"db"}, Rules: []policy.Rule{
		{ID: "sql", Sources: []string{"web"}, Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432)}}},
			Action: policy.Allow, Direction: policy.Ingress},
		{ID: "rest", Action: policy.Drop, Direction: policy.Ingress},
	}})
	if err != nil {
		panic(err)
	}
	fmt.Println("web:", e.Members("web"), e.Addresses("web"))

	program := e.Program([]string{"db-2"})
	for _, r := range program.Rules {
		fmt.Println(r.ID, r.Direction, r.Action, r.AppliedTo)
	}
	for _, port := range []uint16{5432, 22} {
		d := e.Eval(policy.Packet{SrcPort: "web-0", DstPort: "db-2", Src: netip.MustParseAddr("10.4.1.2"), Dst: netip.MustParseAddr("10.4.1.4"),
			Proto: uint8(policy.TCP), SrcPortNo: 40000, DstPortNo: port})
		fmt.Println(port, d.Allowed(), d.Why)
	}
	// Output:
	// web: [web-0 web-1] [10.4.1.2/31]
	// tiers/sql/in IN ALLOW [db-2]
	// tiers/rest/in IN DROP [db-2]
	// 5432 true IN at port db-2: ALLOW by rule "sql" of section "tiers"
	// 22 false IN at port db-2: DROP by rule "rest" of section "tiers"
}

func ExampleExpr() {
	e := policy.And(
		policy.NamespaceTagEquals("stage", "production"),
		policy.When(policy.Condition{Operator: policy.NotIn, Scope: "tier", Values: []string{"front", "edge"}}),
	)
	m := policy.Member{ID: "p", Namespace: "shop", NamespaceTags: []policy.Tag{{Scope: "stage", Tag: "production"}}}
	fmt.Println(e.Matches(m))
	m.Tags = []policy.Tag{{Scope: "tier", Tag: "front"}}
	fmt.Println(e.Matches(m))
	// Output:
	// true
	// false
}
