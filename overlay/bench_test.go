package overlay_test

import (
	"testing"

	"github.com/tierloom/tierloom/overlay"
)

func BenchmarkParse(b *testing.B) {
	packet, _ := overlay.Header{VNI: 4096, Protocol: overlay.ProtocolEthernet}.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := overlay.Parse(packet); err != nil {
			b.Fatal(err)
		}
	}
}
