package ovs_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

func ExampleFlow() {
	f := ovs.Flow{
		Table: 40, Priority: 100, Cookie: ovs.MakeCookie(0x74, 2, 1),
		Match:   ovs.NewMatch(ovs.Metadata(7), ovs.EthDst(ovs.MAC{2, 0x74, 0x6c, 0, 0, 5})),
		Actions: []ovs.Action{ovs.SetField(ovs.Reg(1, 5)), ovs.Goto(70)},
	}
	fmt.Println(f)
	// Output: cookie=0x7402000000000001,table=40,priority=100,metadata=0x7,eth_dst=02:74:6c:00:00:05 actions=set_field:0x5->reg1,goto_table:70
}

func ExampleParseFlow() {
	f, err := ovs.ParseFlow("table=5,priority=10,tcp,nw_dst=10.0.0.0/8,tp_dst=443 actions=ct(commit,zone=4),output:2")
	fmt.Println(f, err)
	_, err = ovs.ParseFlow("tcp_dst=443 actions=drop")
	fmt.Println(err)
	// Output:
	// table=5,priority=10,eth_type=0x800,nw_proto=6,ip_dst=10.0.0.0/8,tcp_dst=443 actions=ct(commit,zone=4),output:2 <nil>
	// ovs: parse flow "tcp_dst=443 actions=drop": ovs: flow table=0,priority=32768,nw_proto=6,tcp_dst=443 actions=drop: invalid: nw_proto needs eth_type=0x800 or eth_type=0x86dd
}

func ExampleBridge() {
	ctx := context.Background()
	b := ovs.NewBridge(newFake(), ovs.Share{Cookie: 0x74 << 56, Mask: ovs.OwnerMask})
	fmt.Println(b.Set("port web-1", []ovs.Flow{flow(1, 2), flow(2, 2)}, nil))
	fmt.Println(b.Set("port web-2", []ovs.Flow{flow(3, 3)}, nil))
	r, err := b.Sync(ctx)
	fmt.Println(r.Added, r.Deleted, err)

	b.Remove("port web-1")
	fmt.Println(b.Set("port web-2", []ovs.Flow{flow(3, 4)}, nil))
	r, err = b.Sync(ctx)
	fmt.Println(r.Added, r.Modified, r.Deleted, err)
	// Output:
	// <nil>
	// <nil>
	// 3 0 <nil>
	// <nil>
	// 0 1 2 <nil>
}

func ExampleBridge_Audit() {
	ctx := context.Background()
	sw := newFake()
	b := ovs.NewBridge(sw, share)
	if err := b.Set("port web-1", []ovs.Flow{flow(1, 2), flow(2, 2)}, nil); err != nil {
		fmt.Println(err)
	}
	_, err := b.Sync(ctx)
	fmt.Println(err)

	delete(sw.flows, flow(1, 2).Key()) // as somebody with ovs-ofctl might
	r, err := b.Audit(ctx)
	fmt.Println(r.Added, err)
	for _, repair := range r.Repairs {
		fmt.Println(repair)
	}
	// Output:
	// <nil>
	// 1 <nil>
	// missing flow cookie=0x7400000000000000,table=1,priority=1,in_port=1 actions=output:2 of owner "port web-1"
}

func ExampleBridge_Sync_conflict() {
	b := ovs.NewBridge(newFake(), share)
	for owner, out := range map[string]uint32{"port web-1": 2, "port web-2": 3} {
		if err := b.Set(owner, []ovs.Flow{flow(1, out)}, nil); err != nil {
			fmt.Println(err)
		}
	}
	_, err := b.Sync(context.Background())
	fmt.Println(errors.Is(err, ovs.ErrConflict))
	b.Remove("port web-2")
	r, err := b.Sync(context.Background())
	fmt.Println(r.Added, err)
	// Output:
	// true
	// 1 <nil>
}
