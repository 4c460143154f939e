package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Group is a set of members, by criteria or by id, and of literal prefixes.
type Group struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
	// Criteria selects members; zero selects none.
	Criteria Expr `json:"expression,omitzero"`
	// IPs are addresses beside those of members, without ExcludedIPs, which
	// take nothing from members.
	IPs         []netip.Prefix `json:"ip_addresses,omitempty"`
	ExcludedIPs []netip.Prefix `json:"excluded_ip_addresses,omitempty"`
	// Members are ids of members; they need not exist yet.
	Members []string `json:"members,omitempty"`
}

// Validate reports all faults of the group.
func (g Group) Validate() error {
	f := faults{object: fmt.Sprintf("group %q", g.ID)}
	if g.ID == "" {
		f.add("id", "empty")
	} else if _, ok := parsePrefix(g.ID); ok || g.ID == Any {
		f.add("id", "reads as an address")
	}
	if !g.Criteria.IsZero() {
		g.Criteria.validate(&f, "expression", 0)
	}
	for _, l := range []struct {
		name string
		list []netip.Prefix
	}{{"ip_addresses", g.IPs}, {"excluded_ip_addresses", g.ExcludedIPs}} {
		for i, p := range l.list {
			if !validPrefix(p) {
				f.add(fmt.Sprintf("%s[%d]", l.name, i), "%q is not an IPv4 or IPv6 prefix", p)
			}
		}
	}
	for i, id := range g.Members {
		if id == "" {
			f.add(fmt.Sprintf("members[%d]", i), "empty")
		}
	}
	return f.err()
}

func (g Group) clone() Group {
	g.Criteria = g.Criteria.clone()
	g.IPs, g.ExcludedIPs, g.Members = slices.Clone(g.IPs), slices.Clone(g.ExcludedIPs), slices.Clone(g.Members)
	return g
}

// has reports whether a member belongs to the group.
func (g *Group) has(m *Member) bool {
	return slices.Contains(g.Members, m.ID) || g.Criteria.Matches(*m)
}
