package policyovs_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

func BenchmarkFlows(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := &policy.Program{Sets: map[string][]netip.Prefix{}}
			for i := range n {
				id := fmt.Sprintf("r%06d", i)
				for j := range 10 {
					p.Sets[id] = append(p.Sets[id], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(3 * j)}), 32))
				}
				p.Rules = append(p.Rules, policy.ProgramRule{ID: id, Section: "s", Rule: id, Direction: policy.Ingress, Action: policy.Allow, AppliedTo: []string{"p1", "p2"},
					Peers: &policy.AddressSet{Sets: []string{id}}, Order: policy.Order{Rule: 1, Position: i}})
			}
			ports := []policyovs.Port{{ID: "p1", Key: 1, MAC: ovs.MAC{2}}, {ID: "p2", Key: 2, MAC: ovs.MAC{2}}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := policyovs.Flows(p, ports, policyovs.DefaultLayout()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
