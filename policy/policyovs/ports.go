package policyovs

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A Port is a port of the bridge, one of those that the program is for.
type Port struct {
	ID  string
	Key uint32 // 1 to 65535, also its ct zone
	MAC ovs.MAC
	IPs []netip.Addr
}

// A PortChange is what became of ports.
type PortChange struct {
	Set  []Port   // new, or in the place of one with the id
	Gone []string // ids
}

func comparePorts(a, b Port) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) }

// setPorts follows a change of the ports, and of what becomes of their packets
// that no rule matches.
func (c *Compiler) setPorts(def *policy.Action, change PortChange) {
	ids := c.concerned(def, change)
	keys := map[string]uint32{} // before
	for id := range ids {
		if p, ok := c.ports[id]; ok {
			for _, f := range c.flowsOf(p) {
				c.cells.remove(placeOf(&f), nil)
			}
			keys[id] = p.Key
		}
	}
	if def != nil {
		c.def = *def
	}
	for _, id := range change.Gone {
		delete(c.ports, id)
	}
	for _, p := range change.Set {
		p.IPs = slices.Clone(p.IPs)
		c.ports[p.ID] = p
	}
	for id := range ids {
		delete(c.byKey, keys[id])
	}
	for id := range ids {
		p, ok := c.ports[id]
		if ok {
			c.byKey[p.Key] = id
			c.putAll(c.flowsOf(p))
		}
		if p.Key != keys[id] {
			c.move(id, keys[id], p.Key)
		}
	}
}

// concerned returns the ids of ports whose flows a change may change.
func (c *Compiler) concerned(def *policy.Action, change PortChange) map[string]bool {
	ids := map[string]bool{}
	if def != nil && *def != c.def {
		for id := range c.ports {
			ids[id] = true
		}
	}
	for _, id := range change.Gone {
		ids[id] = true
	}
	for _, p := range change.Set {
		ids[p.ID] = true
	}
	return ids
}

// move marks the rules that name a port whose key is another; 0 is no port.
func (c *Compiler) move(id string, keys ...uint32) {
	for r := range c.rulesAt[id] {
		if c.moved[r] == nil {
			c.moved[r] = map[uint32]bool{}
		}
		for _, key := range keys {
			if key != 0 {
				c.moved[r][key] = true
			}
		}
	}
}

// flowsOf returns the flows of a port that are not of rules.
func (c *Compiler) flowsOf(p Port) []ovs.Flow {
	b := compiler{l: c.l, def: c.def}
	b.port(p)
	return b.flows
}
