package lbovs_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbovs"
)

func BenchmarkFlows(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("frontends=%d", n), func(b *testing.B) {
			var state []lb.Frontend
			for i := range n {
				f := frontend("10.96.0.1:80", lb.TCP, 0, "10.4.0.2:8080", "10.4.0.3:8080", "10.4.0.4:8080")
				f.Key.Addr = netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
				state = append(state, f)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := lbovs.Flows(state, nil, lbovs.Uplink{OFPort: 1}, lbovs.DefaultLayout()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
