package ovs_test

import (
	"fmt"
	"testing"

	"github.com/tierloom/tierloom/ovs"
)

func BenchmarkSyncUnchanged(b *testing.B) {
	for _, n := range []int{10, 1000, 50000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			flows := make([]ovs.Flow, n)
			for i := range flows {
				flows[i] = flow(i, 1)
				flows[i].Match = ovs.NewMatch(ovs.Metadata(7), ovs.EthType(0x800), ovs.Reg(0, uint32(i)))
			}
			br := ovs.NewBridge(newFake(), share)
			if _, err := sync(b, br, flows, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r, err := sync(b, br, flows, nil); err != nil || r.Changed() {
					b.Fatal(r, err)
				}
			}
		})
	}
}
