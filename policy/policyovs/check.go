package policyovs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A checker collects the faults of what a Compiler is given.
type checker struct{ errs []error }

func (k *checker) fault(what, format string, args ...any) {
	k.errs = append(k.errs, fmt.Errorf("policyovs: %s: %s: %w", what, fmt.Sprintf(format, args...), ErrInvalid))
}

// check reports all faults of a change.
func (c *Compiler) check(change policy.Change, ports PortChange) error {
	var k checker
	if d := change.Default; d != nil && *d != policy.Allow && *d != policy.Drop {
		k.fault("program", "default %s", *d)
	}
	k.ports(c, ports)
	given := map[string]bool{}
	for _, r := range change.Rules {
		if err := r.Validate(); err != nil {
			k.errs = append(k.errs, err)
		}
		if given[r.ID] {
			k.fault(fmt.Sprintf("rule %q", r.ID), "it is there twice")
		}
		given[r.ID] = true
	}
	for _, id := range change.Gone {
		if c.rules[id] == nil || given[id] {
			k.fault(fmt.Sprintf("rule %q", id), "gone, but not there, or given too")
		}
		given[id] = true
	}
	clear(given)
	for _, s := range change.Sets {
		k.set(c.sets[s.ID], s, given[s.ID])
		given[s.ID] = true
	}
	return errors.Join(k.errs...)
}

func (k *checker) ports(c *Compiler, change PortChange) {
	given := map[string]bool{}
	keys := map[uint32]string{}
	for _, id := range change.Gone {
		if _, ok := c.ports[id]; !ok || given[id] {
			k.fault(fmt.Sprintf("port %q", id), "gone, but not there")
		}
		given[id] = true
	}
	sorted := slices.Clone(change.Set)
	slices.SortFunc(sorted, comparePorts)
	for _, p := range sorted {
		what := fmt.Sprintf("port %q", p.ID)
		if p.ID == "" || given[p.ID] {
			k.fault(what, "its id is empty or there twice")
		}
		given[p.ID] = true
		if p.Key < 1 || p.Key > 0xffff {
			k.fault(what, "key %d is not in 1..65535", p.Key)
		} else if other, ok := keys[p.Key]; ok {
			k.fault(what, "key %d is that of port %q", p.Key, other)
		}
		keys[p.Key] = p.ID
		k.port(what, p)
	}
	for _, p := range sorted {
		if other, ok := c.byKey[p.Key]; ok && !given[other] {
			k.fault(fmt.Sprintf("port %q", p.ID), "key %d is that of port %q", p.Key, other)
		}
	}
}

func (k *checker) port(what string, p Port) {
	if p.MAC == (ovs.MAC{}) || p.MAC[0]&1 != 0 {
		k.fault(what, "%s is not the MAC address of a port", p.MAC)
	}
	for i, a := range p.IPs {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
			k.fault(what, "ips[%d]: %s is not the address of a port", i, a)
		}
	}
}

func (k *checker) prefixes(what, field string, list []netip.Prefix) {
	for i, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			k.fault(what, "%s[%d]: %s is not a prefix", field, i, p)
		}
	}
}

func (k *checker) set(s *set, change policy.SetChange, twice bool) {
	what := fmt.Sprintf("set %q", change.ID)
	if twice || change.Gone && (s == nil || !s.there) {
		k.fault(what, "given twice, or gone but not there")
	}
	k.prefixes(what, "added", change.Added)
	has := map[netip.Prefix]bool{} // what differs from s.members
	in := func(p netip.Prefix) bool {
		if is, ok := has[p]; ok {
			return is
		}
		return s != nil && s.members[p]
	}
	for i, p := range change.Removed {
		if !in(p) {
			k.fault(what, "removed[%d]: %s is not in it", i, p)
		}
		has[p] = false
	}
	for i, p := range change.Added {
		if in(p) || change.Gone {
			k.fault(what, "added[%d]: %s is in it already, or it is gone", i, p)
		}
		has[p] = true
	}
}
