package lbovs_test

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbovs"
	"github.com/tierloom/tierloom/ovs"
)

func ExampleFlows() {
	layout := lbovs.DefaultLayout()
	layout.GroupMin, layout.GroupMax = 100, 199
	web := lb.Frontend{
		Key:      lb.Key{Addr: netip.MustParseAddr("10.96.0.10"), Proto: lb.TCP, Port: 80},
		Backends: []lb.Backend{{Addr: netip.MustParseAddr("10.4.0.8"), Port: 8080}},
	}
	client := lbovs.Pod{ID: "a", OFPort: 5, VLAN: 101, MAC: ovs.MAC{2, 0, 0, 0, 0, 1}, IPs: []netip.Addr{netip.MustParseAddr("10.4.0.7")}}
	flows, groups, err := lbovs.Flows([]lb.Frontend{web}, []lbovs.Pod{client}, lbovs.Uplink{OFPort: 1}, layout)
	if err != nil {
		fmt.Println(err)
	}
	tables := map[uint8]int{}
	for _, f := range flows {
		tables[f.Table]++
	}
	fmt.Println("flows by table:", tables)
	fmt.Println("groups:", len(groups), "buckets:", len(groups[0].Buckets))
	// Output:
	// flows by table: map[0:3 10:18 30:3 40:5 50:3]
	// groups: 1 buckets: 1
}
