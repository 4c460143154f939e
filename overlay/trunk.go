package overlay

import (
	"fmt"
	"maps"
	"slices"
)

// A Trunk is a vNIC that carries child ports (CIFs), each by a VLAN id of its
// own. Ids mean something on this vNIC only. The zero value is empty and ready.
type Trunk struct {
	byVLAN map[uint16]string
	byPort map[string]uint16
}

// Attach gives a child port a VLAN id: the one it has, else vlan, or the
// lowest free one for vlan 0.
func (t *Trunk) Attach(port string, vlan uint16) (uint16, error) {
	if have, ok := t.byPort[port]; ok {
		if vlan != 0 && vlan != have {
			return 0, fmt.Errorf("overlay: port %q: vlan %d: %w: it has %d", port, vlan, ErrInUse, have)
		}
		return have, nil
	}
	if port == "" {
		return 0, fmt.Errorf("overlay: attach: %w: a port without a name", ErrInvalid)
	}
	if vlan == 0 {
		for vlan = MinVLAN; t.byVLAN[vlan] != "" && vlan <= MaxVLAN; vlan++ {
		}
		if vlan > MaxVLAN {
			return 0, fmt.Errorf("overlay: port %q: vlan ids %w: %d of %d in use", port, ErrExhausted, len(t.byVLAN), MaxVLAN)
		}
	}
	if vlan < MinVLAN || vlan > MaxVLAN {
		return 0, fmt.Errorf("overlay: port %q: vlan %d: %w: want %d to %d", port, vlan, ErrInvalid, MinVLAN, MaxVLAN)
	}
	if other, ok := t.byVLAN[vlan]; ok {
		return 0, fmt.Errorf("overlay: port %q: vlan %d: %w by port %q", port, vlan, ErrInUse, other)
	}
	if t.byVLAN == nil {
		t.byVLAN, t.byPort = map[uint16]string{}, map[string]uint16{}
	}
	t.byVLAN[vlan], t.byPort[port] = port, vlan
	return vlan, nil
}

// Detach frees a child port's id. A port that has none is no error.
func (t *Trunk) Detach(port string) {
	if vlan, ok := t.byPort[port]; ok {
		delete(t.byVLAN, vlan)
		delete(t.byPort, port)
	}
}

// Port returns the child port behind a VLAN id.
func (t *Trunk) Port(vlan uint16) (string, bool) {
	p, ok := t.byVLAN[vlan]
	return p, ok
}

// Ports returns the child ports, sorted.
func (t *Trunk) Ports() []string { return slices.Sorted(maps.Keys(t.byPort)) }
