package overlay

import "fmt"

// A VNI is a virtual network identifier of 24 bits (RFC 8926, section 3.3).
type VNI uint32

// MaxVNI is the largest VNI.
const MaxVNI VNI = 1<<24 - 1

// NewVNI returns n as a VNI, or [ErrInvalid] if it is not 1 to [MaxVNI].
func NewVNI(n uint32) (VNI, error) {
	if n == 0 || n > uint32(MaxVNI) {
		return 0, fmt.Errorf("overlay: vni %d: %w: want 1 to %d", n, ErrInvalid, MaxVNI)
	}
	return VNI(n), nil
}

// VLAN ids that a trunk gives to its child ports (IEEE 802.1Q; 4094 is left
// to the node itself, 0 and 4095 are reserved by the standard).
const (
	MinVLAN uint16 = 1
	MaxVLAN uint16 = 4093
)
