package ipam_test

import (
	"context"
	"errors"
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
	// invalid Prefix ipam: subnet /24 from 10.4.0.0/22: exhausted (3 in use)
}

func ExamplePool() {
	pool, err := ipam.NewPool(ipam.AddressConfig{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/29")},
		Exclude:  []netip.Addr{netip.MustParseAddr("10.4.0.1")}, // the gateway
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		fmt.Println(pool.Allocate())
	}
	fmt.Println(pool.Reserve(netip.MustParseAddr("10.4.0.3")))
	err = pool.Reconfigure(ipam.AddressConfig{Ranges: []ipam.Range{{
		First: netip.MustParseAddr("10.4.0.3"), Last: netip.MustParseAddr("10.4.0.20"),
	}}})
	used, total := pool.Usage()
	fmt.Println(err, used, total, pool.Leaving())
	// Output:
	// 10.4.0.2 <nil>
	// 10.4.0.3 <nil>
	// ipam: address 10.4.0.3 from 10.4.0.1-10.4.0.6: in use (2 of 5 in use)
	// <nil> 1 18 [10.4.0.2]
}

func ExampleAllocatePair() {
	v4, _ := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/24")}})
	v6, _ := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("fd00:4::/64")}})
	fmt.Println(ipam.AllocatePair(v4, v6))
	// Output: 10.4.0.1 fd00:4::1 <nil>
}

func ExampleIDPool() {
	vlans, _ := ipam.NewIDPool(ipam.VLANs(1, 4094))
	a, _ := vlans.Allocate()
	vlans.Release(a)
	b, _ := vlans.Allocate() // the last one rests
	fmt.Println(a, b, vlans.Reserve(4094))
	// Output: 2 3 ipam: id 4094 from 1 to 4094: out of range (1 of 4092 in use)
}

func ExampleIDPools() {
	vlans, _ := ipam.NewIDPools(ipam.VLANs(1))
	a, _ := vlans.Allocate("node-1/trunk")
	b, _ := vlans.Allocate("node-1/trunk")
	c, _ := vlans.Allocate("node-2/trunk")
	fmt.Println(a, b, c)
	// Output: 2 3 2
}

func ExampleRefusedError() {
	vnis, _ := ipam.NewIDPool(ipam.VNIs())
	_ = vnis.Reserve(5000)
	err := vnis.Reserve(5000)
	if refused, ok := errors.AsType[*ipam.RefusedError](err); ok && errors.Is(err, ipam.ErrInUse) {
		fmt.Printf("%s: %d of %d in use\n", refused.Asked, refused.Used, refused.Total)
	}
	// Output: id 5000: 1 of 16777215 in use
}

func ExampleMACPool() {
	macs, _ := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{0x02, 0x74, 0x6c}})
	fmt.Println(macs.Allocate())
	// Output: 02:74:6c:00:01:00 <nil>
}

func ExampleBlockSet() {
	block := func(prefix string) *ipam.Block {
		b, _ := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}})
		return b
	}
	blocks, _ := ipam.NewBlockSet(ipam.InOrder,
		ipam.SetBlock{Name: "shared", Block: block("10.4.0.0/16")},
		ipam.SetBlock{Name: "billing", Block: block("10.8.0.0/16"), Owners: []string{"ns:3f1c"}})
	fmt.Println(blocks.Carve(24, "cluster:lab", "ns:3f1c"))
	fmt.Println(blocks.Carve(24, "cluster:lab", "ns:77a0"))
	// Output:
	// billing 10.8.0.0/24 <nil>
	// shared 10.4.0.0/24 <nil>
}
