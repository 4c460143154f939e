package lb

import (
	"fmt"
	"net/netip"
	"testing"
)

func BenchmarkSetEndpoints(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			table := NewTable(Config{})
			for i := range n {
				vip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
				if err := table.SetService(Service{ID: fmt.Sprint(i), VIPs: []netip.Addr{vip}, Ports: []ServicePort{{Protocol: TCP, Port: 80}}}); err != nil {
					b.Fatal(err)
				}
			}
			endpoints := []Endpoint{ep("10.4.0.1:80", "rs"), ep("10.4.0.2:80", "rs")}
			b.ReportAllocs()
			for b.Loop() {
				_ = table.SetEndpoints("5", endpoints)
			}
		})
	}
}
