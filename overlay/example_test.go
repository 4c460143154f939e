package overlay_test

import (
	"fmt"

	"github.com/tierloom/tierloom/overlay"
)

func ExampleParse() {
	packet, _ := overlay.Header{VNI: 4096, Protocol: overlay.ProtocolEthernet}.Append(nil)
	h, frame, err := overlay.Parse(append(packet, "inner frame"...))
	fmt.Println(h.VNI, string(frame), err)
	// Output: 4096 inner frame <nil>
}

func ExampleTrunk() {
	var trunk overlay.Trunk
	a, _ := trunk.Attach("pod-a", 0)
	b, _ := trunk.Attach("pod-b", 0)
	fmt.Println(a, b, trunk.Ports())
	// Output: 1 2 [pod-a pod-b]
}

func ExampleMTU() {
	fmt.Println(overlay.MTU(1500, false, 0))
	fmt.Println(overlay.MTU(600, false, 0))
	// Output:
	// 1450 <nil>
	// 0 overlay: mtu: invalid: an underlay of 600 bytes leaves 550, want 576 or more
}
