package ipam_test

import (
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/ipam"
)

func BenchmarkPool(b *testing.B) {
	p, _ := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}})
	for range 60000 {
		_, _ = p.Allocate()
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := p.Allocate()
		if err != nil {
			b.Fatal(err)
		}
		p.Release(a)
	}
}
