package lbovs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/ovs"
)

// Pod is a pod on the node.
type Pod struct {
	// ID is for cookies and errors, such as the pod's UID.
	ID string
	// OFPort is the OpenFlow number of its untagged port.
	OFPort uint32
	// VLAN is its id on the uplink, 1..MaxVLAN.
	VLAN uint16
	MAC  ovs.MAC
	IPs  []netip.Addr
}

// Uplink is the trunk to the host.
type Uplink struct {
	OFPort uint32
}

// Features in a cookie, after the owner: what a flow is for.
const (
	FeaturePipeline  uint8 = iota // common to all; object 0
	FeaturePod                    // object: ObjectHash(Pod.ID)
	FeatureFrontend               // object: ObjectHash(Key.String())
	FeatureNoBackend              // drops of a frontend without backends; object as above
	FeatureVIP                    // drops of a cluster IP's other packets; object: ObjectHash(address)
	FeatureHairpin                // object: ObjectHash(Pod.ID)
)

// Flows compiles the pipeline of a node. It is pure; flows are sorted by table,
// falling priority and match, groups by id. State and pods may be in any order.
func Flows(state []lb.Frontend, pods []Pod, uplink Uplink, l Layout) ([]ovs.Flow, []ovs.Group, error) {
	if err := errors.Join(l.Validate(), check(state, pods, uplink, l)); err != nil {
		return nil, nil, err
	}
	c := &compiler{Layout: l, uplink: uplink}
	c.common()
	for _, p := range pods {
		c.pod(p)
	}
	ids := GroupIDs(state, l)
	vips := map[netip.Addr]bool{}
	for _, f := range state {
		c.frontend(f, ids[f.Key])
		if f.Kind == lb.ClusterIP && !vips[f.Key.Addr] {
			vips[f.Key.Addr] = true
			c.add(l.Service, prioVIP, FeatureVIP, f.Key.Addr.String(), ovs.NewMatch(ovs.IPDst(host(f.Key.Addr))))
		}
	}
	type keyed struct {
		flow ovs.Flow
		text string
	}
	sorted := make([]keyed, len(c.flows))
	for i, f := range c.flows {
		sorted[i] = keyed{f, f.String()}
	}
	slices.SortFunc(sorted, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.flow.Table, b.flow.Table), cmp.Compare(b.flow.Priority, a.flow.Priority), cmp.Compare(a.text, b.text))
	})
	for i, k := range sorted {
		c.flows[i] = k.flow
	}
	slices.SortFunc(c.groups, func(a, b ovs.Group) int { return cmp.Compare(a.ID, b.ID) })
	return c.flows, c.groups, nil
}

// check reports all faults of the input.
func check(state []lb.Frontend, pods []Pod, uplink Uplink, l Layout) error {
	var faults []error
	fault := func(what fmt.Stringer, format string, args ...any) {
		faults = append(faults, fmt.Errorf("lbovs: %s: %s: %w", what, fmt.Sprintf(format, args...), ErrInvalid))
	}
	if uplink.OFPort == 0 {
		fault(label("uplink"), "port 0")
	}
	vlans, ports := map[uint16]string{}, map[uint32]string{uplink.OFPort: "the uplink"}
	for _, p := range pods {
		name := label("pod " + p.ID)
		if p.VLAN < 1 || p.VLAN > MaxVLAN {
			fault(name, "VLAN id %d is not in 1..%d", p.VLAN, MaxVLAN)
		}
		if other, ok := vlans[p.VLAN]; ok {
			fault(name, "VLAN id %d is that of pod %s", p.VLAN, other)
		}
		if other, ok := ports[p.OFPort]; ok || p.OFPort == 0 {
			fault(name, "port %d is that of %s", p.OFPort, cmp.Or(other, "none"))
		}
		vlans[p.VLAN], ports[p.OFPort] = p.ID, "pod "+p.ID
		for i, a := range p.IPs {
			if !a.IsValid() || a.Is4In6() {
				fault(name, "ips[%d]: %s is no address", i, a)
			}
		}
	}
	seen := map[lb.Key]bool{}
	for _, f := range state {
		name := label("frontend " + f.Key.String())
		if !f.Key.Addr.IsValid() || f.Key.Addr.Is4In6() || f.Key.Port == 0 {
			fault(name, "not an address and port")
		}
		if f.Key.Proto != lb.TCP && f.Key.Proto != lb.UDP && f.Key.Proto != lb.SCTP {
			fault(name, "protocol %d has no ports", f.Key.Proto)
		}
		if seen[f.Key] {
			fault(name, "it is there twice")
		}
		seen[f.Key] = true
		for i, b := range f.Backends {
			if !b.Addr.IsValid() || b.Addr.Is4In6() || b.Addr.Is4() != f.Key.Addr.Is4() || b.Port == 0 {
				fault(name, "backends[%d]: %s is not an address and port of its family", i, b)
			}
		}
	}
	if room := uint64(l.GroupMax) - uint64(l.GroupMin) + 1; uint64(len(state)) > room {
		fault(label("layout"), "%d frontends, room for %d groups", len(state), room)
	}
	return errors.Join(faults...)
}

type label string

func (l label) String() string { return string(l) }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
