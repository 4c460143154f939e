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
	// connection, and its replies need a stateless rule of their own. Whether a stateful
	// one allows what begins no connection, as any datagram of UDP does, is up to
	// the backend.
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
func (s Section) Validate() error { return s.validate() }

func (s *Section) validate() error {
	f := faults{kind: "section", id: s.ID}
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
	for i, p := range s.AppliedTo {
		checkApplied(&f, func() string { return fmt.Sprintf("scope[%d]", i) }, p, len(s.AppliedTo))
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.ID == "" {
			f.add(ruleField(i, "id"), "empty")
		} else if j := s.firstWith(r.ID, i); j < i {
			f.add(ruleField(i, "id"), "%q is that of rules[%d]", r.ID, j)
		}
		r.validate(&f, i, s.Category)
	}
	return f.err()
}

// firstWith returns the first of the rules before n that has an id, or n.
func (s *Section) firstWith(id string, n int) int {
	for j := range n {
		if s.Rules[j].ID == id {
			return j
		}
	}
	return n
}

func ruleField(i int, field string) string { return fmt.Sprintf("rules[%d].%s", i, field) }

func (r *Rule) validate(f *faults, i int, c Category) {
	if r.Sequence < 0 {
		f.add(ruleField(i, "sequence_number"), "%d is negative", r.Sequence)
	}
	if int(r.Action) >= len(actionNames) {
		f.add(ruleField(i, "action"), "%s", r.Action)
	}
	if r.Action == Pass && c.Rank() >= Application.Rank() {
		f.add(ruleField(i, "action"), "%s in a section that is not before category %s", Pass, Application)
	}
	if int(r.Direction) >= len(directionNames) {
		f.add(ruleField(i, "direction"), "%s", r.Direction)
	}
	checkEnd(f, i, "sources", r.Sources, r.SourcesExcluded)
	checkEnd(f, i, "destinations", r.Destinations, r.DestinationsExcluded)
	for j, p := range r.AppliedTo {
		checkApplied(f, func() string { return ruleField(i, fmt.Sprintf("scope[%d]", j)) }, p, len(r.AppliedTo))
	}
	for j := range r.Services {
		r.Services[j].validate(f, func(field string) string { return ruleField(i, fmt.Sprintf("services[%d].%s", j, field)) })
	}
}

// validate adds the faults of a service; at is where a field of it is.
func (s *Service) validate(f *faults, at func(field string) string) {
	if (len(s.Ports) > 0 || s.NamedPort != "") && !s.Protocol.HasPorts() {
		f.add(at("protocol"), "%s has no ports", s.Protocol)
	}
	for n, r := range s.Ports {
		if r.From > r.To {
			f.add(at(fmt.Sprintf("destination_ports[%d]", n)), "%s ends before it begins", r)
		}
	}
	icmp := s.Protocol == ICMP || s.Protocol == ICMPv6
	if s.ICMPType != nil && !icmp {
		f.add(at("icmp_type"), "set for %s", s.Protocol)
	}
	if s.ICMPCode != nil && s.ICMPType == nil {
		f.add(at("icmp_code"), "set without icmp_type")
	}
}

// checkEnd checks the sources or the destinations of a rule.
func checkEnd(f *faults, i int, field string, list []string, excluded bool) {
	for j, p := range list {
		if p == "" || p == Any && len(list) > 1 {
			f.add(ruleField(i, fmt.Sprintf("%s[%d]", field, j)), "%q is no group, address or prefix", p)
		}
	}
	if excluded && anyOf(list) {
		f.add(ruleField(i, field+"_excluded"), "nothing is left of any")
	}
}

// checkApplied checks one of the n names of a scope.
func checkApplied(f *faults, field func() string, name string, n int) {
	switch {
	case name == "" || name == Any && n > 1:
		f.add(field(), "%q is no group", name)
	case isLiteral(name):
		f.add(field(), "%s is an address, not a group", name)
	}
}

// anyOf reports whether a list of peers or a scope means everything.
func anyOf(list []string) bool { return len(list) == 0 || list[0] == Any }

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

// isLiteral reports whether a name is an address or a prefix.
func isLiteral(s string) bool {
	_, ok := parsePrefix(s)
	return ok
}

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, bool) {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') && c != '.' && c != ':' && c != '/' {
			return netip.Prefix{}, false
		}
	}
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
