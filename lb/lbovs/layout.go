package lbovs

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrInvalid is wrapped by every fault in what Flows is given.
var ErrInvalid = errors.New("invalid")

// MaxVLAN is the highest VLAN id of a pod; 4095 is reserved by IEEE 802.1Q.
const MaxVLAN = 4094

// Layout places the pipeline in a bridge: tables, registers, zones, ids. Take
// DefaultLayout and change what collides.
type Layout struct {
	// Tables of the stages; they must increase in this order.
	Classify, ServiceCT, Affinity, Service, Hairpin, Mux uint8

	// Registers, 0..15: VLAN of the pod that sends (0: from the uplink), VLAN of
	// the pod that receives, bucket id chosen by affinity, ct zone.
	SourceReg, DestReg, BackendReg, ZoneReg int

	// ZoneBase is added to a pod's VLAN id to make its ct zone; 4095 more is
	// the zone of hairpin connections. So 4096 zones are used.
	ZoneBase uint16
	// Hairpin4 and Hairpin6 are where a pod sees its own connections come from
	// when a service chose itself. Pods must send to them by way of their gateway.
	Hairpin4, Hairpin6 netip.Addr

	// GroupMin and GroupMax bound the group ids, both included.
	GroupMin, GroupMax uint32
	// Selection is the selection method of groups: "dp_hash", or "" for the
	// switch's own, which in Open vSwitch leaves UDP ports out of the hash, so that
	// a pod's datagrams all go to one backend. Groups with affinity hash the
	// client's address instead.
	Selection string

	// Owner is the first byte of the cookie of each flow, LearnOwner that of learned ones.
	Owner, LearnOwner uint8
}

// DefaultLayout is tables 0, 10, 20, 30, 40, 50, registers 0, 1, 3 and 5,
// zones 0..4095, hairpin addresses 169.254.169.252 and fd74:6c00::252,
// groups 0x10000..0xfffff selected by dp_hash, cookie owners 0x4c and 0x4d.
func DefaultLayout() Layout {
	return Layout{
		Classify: 0, ServiceCT: 10, Affinity: 20, Service: 30, Hairpin: 40, Mux: 50,
		SourceReg: 0, DestReg: 1, BackendReg: 3, ZoneReg: 5,
		Hairpin4: netip.AddrFrom4([4]byte{169, 254, 169, 252}),
		Hairpin6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x74, 2: 0x6c, 14: 0x02, 15: 0x52}),
		GroupMin: 0x10000, GroupMax: 0xfffff, Selection: "dp_hash",
		Owner: 0x4c, LearnOwner: 0x4d,
	}
}

// HairpinZone is the ct zone of hairpin connections.
func (l Layout) HairpinZone() uint16 { return l.ZoneBase + MaxVLAN + 1 }

// Zone is the ct zone of the pod with a VLAN id.
func (l Layout) Zone(vlan uint16) uint16 { return l.ZoneBase + vlan }

// Validate reports all faults of the layout.
func (l Layout) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("lbovs: layout: %s: %w", fmt.Sprintf(format, args...), ErrInvalid))
	}
	tables := []uint8{l.Classify, l.ServiceCT, l.Affinity, l.Service, l.Hairpin, l.Mux}
	for i := 1; i < len(tables); i++ {
		if tables[i] <= tables[i-1] {
			fault("tables %v do not increase", tables)
			break
		}
	}
	if l.Mux == 255 {
		fault("table 255 is not to be had")
	}
	seen := map[int]bool{}
	for _, r := range []int{l.SourceReg, l.DestReg, l.BackendReg, l.ZoneReg} {
		if r < 0 || r > 15 || seen[r] {
			fault("register %d is not in 0..15 or used twice", r)
		}
		seen[r] = true
	}
	if l.ZoneBase > 0xffff-MaxVLAN-1 {
		fault("zone base %d leaves less than 4096 zones", l.ZoneBase)
	}
	if !l.Hairpin4.Is4() {
		fault("hairpin address %s is not IPv4", l.Hairpin4)
	}
	if !l.Hairpin6.Is6() || l.Hairpin6.Is4In6() {
		fault("hairpin address %s is not IPv6", l.Hairpin6)
	}
	if l.GroupMin == 0 || l.GroupMin > l.GroupMax || l.GroupMax > 0xffffff00 {
		fault("group ids %#x..%#x", l.GroupMin, l.GroupMax)
	}
	switch l.Selection {
	case "", "dp_hash":
	default:
		fault("selection method %q", l.Selection)
	}
	if l.Owner == l.LearnOwner {
		fault("cookie owner %#x is also that of learned flows", l.Owner)
	}
	return errors.Join(faults...)
}
