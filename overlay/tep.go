package overlay

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// A TEPTable says behind which tunnel endpoint each host is and which hosts
// take part in which network. The zero value is empty and ready to use.
type TEPTable struct {
	teps    map[string]netip.Addr
	members map[VNI]map[string]bool
}

// SetHost records a host's endpoint. Two hosts cannot have the same.
func (t *TEPTable) SetHost(host string, tep netip.Addr) error {
	if host == "" || !tep.IsValid() || tep.Zone() != "" || tep.Is4In6() {
		return fmt.Errorf("overlay: host %q: tep %v: %w", host, tep, ErrInvalid)
	}
	for other, a := range t.teps {
		if a == tep && other != host {
			return fmt.Errorf("overlay: host %q: tep %v: %w by host %q", host, tep, ErrInUse, other)
		}
	}
	if t.teps == nil {
		t.teps = map[string]netip.Addr{}
	}
	t.teps[host] = tep
	return nil
}

// DeleteHost forgets a host and its memberships.
func (t *TEPTable) DeleteHost(host string) {
	delete(t.teps, host)
	for vni := range t.members {
		t.Leave(vni, host)
	}
}

// TEP returns a host's endpoint.
func (t *TEPTable) TEP(host string) (netip.Addr, bool) {
	a, ok := t.teps[host]
	return a, ok
}

// Join records that a host takes part in a network.
func (t *TEPTable) Join(vni VNI, host string) {
	if t.members == nil {
		t.members = map[VNI]map[string]bool{}
	}
	if t.members[vni] == nil {
		t.members[vni] = map[string]bool{}
	}
	t.members[vni][host] = true
}

// Leave is the opposite of Join.
func (t *TEPTable) Leave(vni VNI, host string) {
	delete(t.members[vni], host)
	if len(t.members[vni]) == 0 {
		delete(t.members, vni)
	}
}

// Peers returns the endpoints that a host sends broadcasts of a network to:
// those of all other members, sorted.
func (t *TEPTable) Peers(vni VNI, host string) []netip.Addr {
	var out []netip.Addr
	for m := range maps.Keys(t.members[vni]) {
		if a, ok := t.teps[m]; ok && m != host {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
