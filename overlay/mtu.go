package overlay

import "fmt"

// Sizes of what encapsulation adds, in bytes.
const (
	innerEthernet = 14
	outerIPv4     = 20
	outerIPv6     = 40
	outerUDP      = 8
)

// MTU returns the largest inner IP packet that a GENEVE packet of the
// underlay's MTU can hold, in bytes: the outer IP and UDP headers, GENEVE with
// the given bytes of options, and the inner Ethernet header go off it. A VLAN
// tag costs nothing, as it is not carried in the tunnel.
func MTU(underlay int, ipv6 bool, options int) (int, error) {
	if options < 0 || options > maxOptions || options%4 != 0 {
		return 0, fmt.Errorf("overlay: mtu: %w: %d bytes of options, want a multiple of 4 up to %d", ErrInvalid, options, maxOptions)
	}
	outer := outerIPv4
	if ipv6 {
		outer = outerIPv6
	}
	inner := underlay - outer - outerUDP - headerLen - options - innerEthernet
	if inner < 576 {
		return 0, fmt.Errorf("overlay: mtu: %w: an underlay of %d bytes leaves %d, want 576 or more", ErrInvalid, underlay, inner)
	}
	return inner, nil
}
