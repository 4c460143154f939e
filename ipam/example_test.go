package ipam_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ipam"
)

func Example() {
	ctx := context.Background()
	r, _ := ipam.Open(ctx, ipam.NewMemoryStore(), ipam.Config{})
	pool, _ := r.Addresses("pods", ipam.AddressConfig{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/24")}, Exclude: []netip.Addr{netip.MustParseAddr("10.4.0.1")},
	})
	a, _ := pool.Acquire(ctx, "cluster/pod-1/eth0")
	b, _ := pool.Acquire(ctx, "cluster/pod-2/eth0")
	again, _ := pool.Acquire(ctx, "cluster/pod-1/eth0")
	fmt.Println(a, b, again)
	// Output: 10.4.0.2 10.4.0.3 10.4.0.2
}

func ExampleBlock() {
	b, err := ipam.NewBlock(ipam.SubnetConfig{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/22")},
		Exclude:  []netip.Prefix{netip.MustParsePrefix("10.4.0.0/24")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, bits := range []int{24, 25, 24, 24} {
		fmt.Println(b.Carve(bits))
	}
	// Output:
	// 10.4.1.0/24 <nil>
	// 10.4.2.0/25 <nil>
	// 10.4.3.0/24 <nil>
	// invalid Prefix ipam: /24 from 10.4.0.0/22: exhausted (3 subnets in use)
}
