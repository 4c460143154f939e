package ovs

import (
	"fmt"
	"net"
)

// A MAC is an Ethernet address (EUI-48).
type MAC [6]byte

// ParseMAC reads an EUI-48 in any form that net.ParseMAC does.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, fmt.Errorf("ovs: %w", err)
	}
	if len(hw) != 6 {
		return MAC{}, fmt.Errorf("ovs: MAC address %q: %d bytes, want 6", s, len(hw))
	}
	return MAC(hw), nil
}

// String returns "02:74:6c:00:00:01".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
