package topologyovs_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologyovs"
)

func ExampleFlows() {
	l := topologyovs.DefaultLayout()
	flows, err := topologyovs.Flows(topologyovs.Input{
		Segments: []topology.SpanSegment{{ID: "red", VNI: 1001, Router: 100, Gateways: []netip.Prefix{netip.MustParsePrefix("10.4.1.1/24")}}},
		Ports: []topologyovs.Port{{ID: "web", Key: 7, VNI: 1001, MAC: ovs.MAC{2, 0, 0, 0, 0, 1},
			IPs: []netip.Addr{netip.MustParseAddr("10.4.1.2")}}},
	}, l)
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range flows {
		if f.Table == l.Neighbor {
			f.Cookie = 0
			fmt.Println(f)
		}
	}
	// Output:
	// table=60,priority=100,metadata=0x3e9,eth_type=0x800,ip_dst=10.4.1.2 actions=set_field:02:00:00:00:00:01->eth_dst,set_field:0x7->reg1,set_field:0x7->reg5,goto_table:70
	// table=60,priority=0 actions=drop
}
