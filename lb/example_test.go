package lb_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/lb"
)

func ExampleTable() {
	table := lb.NewTable(lb.Config{Node: "n1"})
	web := lb.Service{
		ID:    "default/web",
		VIPs:  []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports: []lb.ServicePort{{Protocol: lb.TCP, Port: 80}},
	}
	if err := table.SetService(web); err != nil {
		fmt.Println(err)
	}
	a := lb.Endpoint{Addr: netip.MustParseAddr("10.4.0.7"), Port: 8080, Ready: true}
	b := lb.Endpoint{Addr: netip.MustParseAddr("10.4.0.8"), Port: 8080, Ready: true}
	_ = table.SetEndpoints(web.ID, []lb.Endpoint{a, b})
	before := table.State()
	for _, f := range before {
		fmt.Println(f)
	}

	_ = table.SetEndpoints(web.ID, []lb.Endpoint{b})
	after := table.State()
	fmt.Print(lb.Diff(before, after))
	fmt.Println("flush", lb.Removals(before, after))
	// Output:
	// 10.96.0.10:80/tcp default/web -> 10.4.0.7:8080 10.4.0.8:8080
	// ~ 10.96.0.10:80/tcp default/web -> 10.4.0.8:8080
	// flush [10.96.0.10:80/tcp -> 10.4.0.7:8080]
}
