package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// Any among sources, destinations or a scope stands for everything, like an
// absent list.
const Any = "ANY"

// A Section is an ordered list of rules.
type Section struct {
	ID          string   `json:"id"`
	DisplayName string   `json:"display_name,omitempty"`
	Tags        []Tag    `json:"tags,omitempty"`
	Category    Category `json:"category,omitempty"` // empty is Application
	// Priority is the section's place in its category, lowest first. Equal
	// ones go by id.
	Priority int `json:"sequence_number,omitempty"`
	// AppliedTo are the groups whose members the rules are tried at, unless a rule
	// names its own; absent is every port.
	AppliedTo []string `json:"scope,omitempty"`
	// Stateless rules look at each packet by itself: what they allow makes no
	// connection, and its replies need a rule of their own.
	Stateless bool `json:"stateless,omitempty"`
	// Established is what a change of the section means for connections that
	// it would not allow any more.
	Established Established `json:"established,omitempty"`
	Rules       []Rule      `json:"rules,omitempty"`
}

// A Rule decides about packets.
type Rule struct {
	ID          string `json:"id"` // unique in its section
	DisplayName string `json:"display_name,omitempty"`
	// Sequence is the rule's place in its section, lowest first; equal ones go by
	// position. Rules with one positive number are peers: if they do the
	// same, it is not defined which of them is counted for a packet that
	// several match.
	Sequence int `json:"sequence_number,omitempty"`
	// Sources and Destinations are ids of groups, or addresses and prefixes;
	// absent is any.
	Sources      []string `json:"sources,omitempty"`
	Destinations []string `json:"destinations,omitempty"`
	// SourcesExcluded negates Sources: every address but those.
	SourcesExcluded      bool      `json:"sources_excluded,omitempty"`
	DestinationsExcluded bool      `json:"destinations_excluded,omitempty"`
	Services             []Service `json:"services,omitempty"` // absent is any
	Action               Action    `json:"action"`
	Direction            Direction `json:"direction,omitempty"`
	// AppliedTo replaces that of the section if it is there.
	AppliedTo []string `json:"scope,omitempty"`
	Logged    bool     `json:"logged,omitempty"`
	// LogLabel is put in the log with the packets of the rule.
	LogLabel string `json:"tag,omitempty"`
}

// A Service is a kind of traffic by its destination: a protocol and any of
// some ports or port names.
type Service struct {
	Protocol Protocol `json:"protocol,omitempty"`
	// Ports are destination ports; absent is any, unless there is a NamedPort.
	Ports []PortRange `json:"destination_ports,omitempty"`
	// NamedPort is a name that the destination gives to a port of the protocol.
	NamedPort string `json:"named_port,omitempty"`
	// ICMPType and ICMPCode narrow ICMP and ICMPv6; nil is any.
	ICMPType *uint8 `json:"icmp_type,omitempty"`
	ICMPCode *uint8 `json:"icmp_code,omitempty"`
}

// Validate reports all faults of the section.
func (s Section) Validate() error {
	f := faults{object: fmt.Sprintf("section %q", s.ID)}
	if s.ID == "" {
		f.add("id", "empty")
	}
	if s.Category.Rank() < 0 {
		f.add("category", "%q is none of %v", s.Category, Categories())
	}
	if s.Priority < 0 {
		f.add("sequence_number", "%d is negative", s.Priority)
	}
	if int(s.Established) >= len(establishedNames) {
		f.add("established", "%s", s.Established)
	}
	checkScope(&f, "scope", s.AppliedTo)
	seen := map[string]int{}
	for i, r := range s.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		if r.ID == "" {
			f.add(at+".id", "empty")
		} else if j, ok := seen[r.ID]; ok {
			f.add(at+".id", "%q is that of rules[%d]", r.ID, j)
		}
		seen[r.ID] = i
		r.validate(&f, at, s.Category)
	}
	return f.err()
}

func (r Rule) validate(f *faults, at string, c Category) {
	if r.Sequence < 0 {
		f.add(at+".sequence_number", "%d is negative", r.Sequence)
	}
	if int(r.Action) >= len(actionNames) {
		f.add(at+".action", "%s", r.Action)
	}
	if r.Action == Pass && c.Rank() >= Application.Rank() {
		f.add(at+".action", "%s in a section that is not before category %s", Pass, Application)
	}
	if int(r.Direction) >= len(directionNames) {
		f.add(at+".direction", "%s", r.Direction)
	}
	for _, p := range []struct {
		field    string
		list     []string
		excluded bool
	}{{"sources", r.Sources, r.SourcesExcluded}, {"destinations", r.Destinations, r.DestinationsExcluded}} {
		checkPeers(f, at+"."+p.field, p.list)
		if p.excluded && anyOf(p.list) {
			f.add(at+"."+p.field+"_excluded", "nothing is left of any")
		}
	}
	checkScope(f, at+".scope", r.AppliedTo)
	for i, s := range r.Services {
		s.validate(f, fmt.Sprintf("%s.services[%d]", at, i))
	}
}

func (s Service) validate(f *faults, at string) {
	if (len(s.Ports) > 0 || s.NamedPort != "") && !s.Protocol.HasPorts() {
		f.add(at+".protocol", "%s has no ports", s.Protocol)
	}
	for i, r := range s.Ports {
		if r.From > r.To {
			f.add(fmt.Sprintf("%s.destination_ports[%d]", at, i), "%s ends before it begins", r)
		}
	}
	icmp := s.Protocol == ICMP || s.Protocol == ICMPv6
	if s.ICMPType != nil && !icmp {
		f.add(at+".icmp_type", "set for %s", s.Protocol)
	}
	if s.ICMPCode != nil && s.ICMPType == nil {
		f.add(at+".icmp_code", "set without icmp_type")
	}
}

func checkPeers(f *faults, at string, list []string) {
	for i, p := range list {
		if p == "" || p == Any && len(list) > 1 {
			f.add(fmt.Sprintf("%s[%d]", at, i), "%q is no group, address or prefix", p)
		}
	}
}

func checkScope(f *faults, at string, list []string) {
	checkPeers(f, at, list)
	for i, p := range list {
		if _, ok := parsePrefix(p); ok {
			f.add(fmt.Sprintf("%s[%d]", at, i), "%s is an address, not a group", p)
		}
	}
}

// anyOf reports whether a list of peers or a scope means everything.
func anyOf(list []string) bool { return len(list) == 0 || list[0] == Any }

func (s Section) clone() Section {
	s.AppliedTo = slices.Clone(s.AppliedTo)
	rules := make([]Rule, len(s.Rules))
	for i, r := range s.Rules {
		r.Sources, r.Destinations, r.AppliedTo = slices.Clone(r.Sources), slices.Clone(r.Destinations), slices.Clone(r.AppliedTo)
		r.Services = cloneServices(r.Services)
		rules[i] = r
	}
	s.Rules = rules
	return s
}

func cloneServices(list []Service) []Service {
	if list == nil {
		return nil
	}
	out := make([]Service, len(list))
	for i, v := range list {
		v.Ports = slices.Clone(v.Ports)
		if v.ICMPType != nil {
			t := *v.ICMPType
			v.ICMPType = &t
		}
		if v.ICMPCode != nil {
			c := *v.ICMPCode
			v.ICMPCode = &c
		}
		out[i] = v
	}
	return out
}

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		p := netip.PrefixFrom(a, a.BitLen())
		return p, validPrefix(p)
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil && validPrefix(p)
}

func validPrefix(p netip.Prefix) bool {
	return p.IsValid() && !p.Addr().Is4In6() && p.Addr().Zone() == ""
}
