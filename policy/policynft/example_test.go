package policynft_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policynft"
)

// What the table is for a database that the shop may use.
func ExampleCompile() {
	prog := policy.NewProgram(policy.Drop, []policy.ProgramRule{{
		ID: "db/allow/in", Section: "db", Rule: "allow", Direction: policy.Ingress, Action: policy.Allow,
		AppliedTo: []string{"db-1"}, Peers: &policy.AddressSet{Sets: []string{"shop"}},
		Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(5432)}}},
	}}, map[string][]netip.Prefix{"shop": {netip.MustParsePrefix("10.4.1.2/32"), netip.MustParsePrefix("fd00:4::2/128")}})
	rules, err := policynft.Compile(prog, []policynft.Port{{ID: "db-1", Interface: "veth1"}}, policynft.Config{Table: "pods"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(rules)
	// Output:
	// table inet pods {
	//   counter rule-1c26667a75bb383bdcdba4c9fbe42bc9 # db/allow/in
	//   counter rule-40ac06c1c9546730f1eb554cbad1c35b # default/in
	//   counter rule-b1ccca03ef78be981089227ce07fc86a # default/out
	//   set group4-8f3cb786d3e1535126279b779a4878ad { 10.4.1.2/32 } # shop
	//   set group6-8f3cb786d3e1535126279b779a4878ad { fd00:4::2/128 } # shop
	//   map egress {
	//     veth1 : jump egress-e3b0c44298fc1c149afbf4c8996fb924
	//   }
	//   map ingress {
	//     veth1 : jump ingress-1c26667a75bb383bdcdba4c9fbe42bc9
	//   }
	//   map to-itself {
	//     veth1 . veth1 : return
	//   }
	//   chain forward.0 { type filter hook forward priority 0
	//     iifname . oifname vmap @to-itself
	//     iifname vmap @egress
	//     oifname vmap @ingress
	//   }
	//   chain egress-allow {
	//     ct direction original ct mark set ct mark | 0x10000000
	//   }
	//   chain egress-app-e3b0c44298fc1c149afbf4c8996fb924 {
	//     counter name rule-b1ccca03ef78be981089227ce07fc86a goto egress-drop
	//   }
	//   chain egress-drop {
	//     ct direction original ct mark set ct mark & ~0x10000000
	//     drop
	//   }
	//   chain egress-e3b0c44298fc1c149afbf4c8996fb924 {
	//     ct state invalid drop
	//     ct direction reply ct mark & 0x20000000 != 0 return
	//     ct state related ct direction original ct mark & 0x10000000 != 0 return
	//     goto egress-app-e3b0c44298fc1c149afbf4c8996fb924
	//   }
	//   chain egress-reject {
	//     ct direction original ct mark set ct mark & ~0x10000000
	//     meta l4proto 6 reject with tcp reset
	//     reject with icmpx admin-prohibited
	//   }
	//   chain ingress-1c26667a75bb383bdcdba4c9fbe42bc9 {
	//     ct state invalid drop
	//     ct direction reply ct mark & 0x10000000 != 0 return
	//     ct state related ct direction original ct mark & 0x20000000 != 0 return
	//     goto ingress-app-1c26667a75bb383bdcdba4c9fbe42bc9
	//   }
	//   chain ingress-allow {
	//     ct direction original ct mark set ct mark | 0x20000000
	//   }
	//   chain ingress-app-1c26667a75bb383bdcdba4c9fbe42bc9 {
	//     meta nfproto ipv4 ip saddr @group4-8f3cb786d3e1535126279b779a4878ad meta l4proto 6 th dport 5432 counter name rule-1c26667a75bb383bdcdba4c9fbe42bc9 goto ingress-allow comment "db/allow/in"
	//     meta nfproto ipv6 ip6 saddr @group6-8f3cb786d3e1535126279b779a4878ad meta l4proto 6 th dport 5432 counter name rule-1c26667a75bb383bdcdba4c9fbe42bc9 goto ingress-allow comment "db/allow/in"
	//     counter name rule-40ac06c1c9546730f1eb554cbad1c35b goto ingress-drop
	//   }
	//   chain ingress-drop {
	//     ct direction original ct mark set ct mark & ~0x20000000
	//     drop
	//   }
	//   chain ingress-reject {
	//     ct direction original ct mark set ct mark & ~0x20000000
	//     meta l4proto 6 reject with tcp reset
	//     reject with icmpx admin-prohibited
	//   }
	// }
}
