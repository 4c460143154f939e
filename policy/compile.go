package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
)

type compiler struct {
	e     *Engine
	local []*member // sorted by id
	p     *Program
}

// A part is a variant of a rule: ports differ in what a name means, or in
// which of their addresses it is about.
type part struct {
	Local    []netip.Prefix `json:",omitempty"`
	Services []Service      `json:",omitempty"`
	Peers    []netip.Prefix `json:",omitempty"`
	named    bool           // Services come from names
}

// suffix names the part by what it is; "" is the rule as it stands.
func (v part) suffix() string {
	if v.Local == nil && !v.named {
		return ""
	}
	if !v.named {
		v.Services = nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(err.Error()) // cannot be: all values have been validated
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return fmt.Sprintf("%016x", h.Sum64())
}

// rule adds what one rule means for the local ports in one direction.
func (c *compiler) rule(s *Section, r *Rule, i int, d Direction) {
	in, everywhere := c.e.scopeLocked(s, r)
	if !slices.ContainsFunc(c.local, in) {
		return // the common case: the rule is about ports of other hosts
	}
	own, peers := c.e.resolveLocked(r.Sources, r.SourcesExcluded), c.e.resolveLocked(r.Destinations, r.DestinationsExcluded)
	base := ProgramRule{
		ID: s.ID + "/" + r.ID + "/out", Section: s.ID, Rule: r.ID, Name: cmp.Or(r.DisplayName, s.DisplayName),
		Order:     Order{Category: s.Category, Section: s.Priority, Rule: r.Sequence, Position: i},
		Direction: d, Action: r.Action, Stateless: s.Stateless, Established: s.Established, Logged: r.Logged, LogLabel: r.LogLabel,
	}
	if d == Ingress {
		base.ID = s.ID + "/" + r.ID + "/in"
		own, peers = peers, own
	}
	var shared []part
	if d == Egress {
		shared = c.e.egressPartsLocked(r.Services, peers)
	}
	ports, parts := map[string][]string{}, map[string]part{}
	for _, m := range c.local {
		local, ok := own.of(m)
		if !ok || !in(m) {
			continue
		}
		list := shared
		if d == Ingress {
			list = ingressParts(r.Services, m)
		}
		for _, v := range list {
			v.Local = local
			k := v.suffix()
			parts[k], ports[k] = v, append(ports[k], m.ID)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(parts)) {
		x, v := base, parts[k]
		if k != "" {
			x.ID += "/" + k
		}
		x.Local, x.Services = v.Local, cloneServices(v.Services)
		// Every port is said only of a rule that is about no port in particular:
		// the program may be asked about ports that were not known when it was made.
		if !everywhere || !own.any || k != "" {
			x.AppliedTo = ports[k]
		}
		switch {
		case v.Peers != nil:
			x.Peers = &AddressSet{Prefixes: v.Peers}
		case !peers.any:
			x.Peers = peers.set()
			for _, g := range peers.groups {
				c.p.Sets[g.ID] = slices.Clone(g.addressesLocked())
			}
		}
		c.p.Rules = append(c.p.Rules, x)
	}
}

// scopeLocked returns a test of what a rule applies to, and whether that is
// every port.
func (e *Engine) scopeLocked(s *Section, r *Rule) (in func(*member) bool, everywhere bool) {
	scope := r.AppliedTo
	if len(scope) == 0 {
		scope = s.AppliedTo
	}
	if anyOf(scope) {
		return func(*member) bool { return true }, true
	}
	var groups []*group
	for _, id := range scope {
		if g := e.groups[id]; g != nil {
			groups = append(groups, g)
		}
	}
	return func(m *member) bool { return slices.ContainsFunc(groups, func(g *group) bool { return m.groups[g] }) }, false
}

// ingressParts is what services mean at the port that is the destination.
func ingressParts(services []Service, m *member) []part {
	v := part{}
	for _, s := range services {
		if s.NamedPort == "" || len(s.Ports) > 0 {
			v.Services = append(v.Services, plain(s))
		}
		if s.NamedPort != "" {
			v.named = true
			if n := m.Ports[s.NamedPort].Number(s.Protocol); n != 0 {
				v.Services = append(v.Services, Service{Protocol: s.Protocol, Ports: []PortRange{Port(n)}})
			}
		}
	}
	if len(services) > 0 && len(v.Services) == 0 {
		return nil
	}
	return []part{v}
}

// egressPartsLocked is what services mean towards peers, each of which may
// give a name to another number.
func (e *Engine) egressPartsLocked(services []Service, peers resolved) []part {
	v := part{}
	byNumber := map[endpoint][]netip.Prefix{}
	for _, s := range services {
		if s.NamedPort == "" || len(s.Ports) > 0 {
			v.Services = append(v.Services, plain(s))
		}
		if s.NamedPort == "" {
			continue
		}
		for m := range e.byPort[portKey{s.NamedPort, s.Protocol}] {
			at := endpoint{s.Protocol, m.Ports[s.NamedPort].Number(s.Protocol)}
			for _, a := range m.IPs {
				if peers.contains(a) {
					byNumber[at] = append(byNumber[at], hostPrefix(a))
				}
			}
		}
	}
	var out []part
	if len(services) == 0 || len(v.Services) > 0 {
		out = append(out, v)
	}
	for at, list := range byNumber {
		out = append(out, part{named: true, Peers: Aggregate(list), Services: []Service{{Protocol: at.proto, Ports: []PortRange{Port(at.number)}}}})
	}
	return out
}

// An endpoint is a protocol with a port number.
type endpoint struct {
	proto  Protocol
	number uint16
}

// plain is a service without its name.
func plain(s Service) Service { s.NamedPort = ""; return s }

// resolved is a list of sources or destinations looked up.
type resolved struct {
	any      bool
	excluded bool
	missing  bool // a group is not there
	ids      []string
	groups   []*group
	literal  []netip.Prefix // aggregated
}

func (e *Engine) resolveLocked(list []string, excluded bool) resolved {
	r := resolved{any: anyOf(list), excluded: excluded}
	if r.any {
		return r
	}
	for _, id := range distinct(list) {
		if p, ok := parsePrefix(id); ok {
			r.literal = append(r.literal, p)
			continue
		}
		r.ids = append(r.ids, id)
		if g := e.groups[id]; g != nil {
			r.groups = append(r.groups, g)
		} else {
			r.missing = true
		}
	}
	r.literal = Aggregate(r.literal)
	return r
}

func (r resolved) set() *AddressSet {
	return &AddressSet{Sets: r.ids, Prefixes: r.literal, Excluded: r.excluded}
}

func (r resolved) contains(a netip.Addr) bool {
	if r.any {
		return true
	}
	if r.excluded && r.missing {
		return false
	}
	in := containsAddr(r.literal, a) || slices.ContainsFunc(r.groups, func(g *group) bool { return containsAddr(g.addressesLocked(), a) })
	return in != r.excluded
}

// of returns which of a port's own addresses are meant: nil is all of them; false is none.
func (r resolved) of(m *member) ([]netip.Prefix, bool) {
	if r.any {
		return nil, true
	}
	var in []netip.Prefix
	for _, a := range m.IPs {
		if r.contains(a) {
			in = append(in, hostPrefix(a))
		}
	}
	if len(in) > 0 && len(in) == len(m.IPs) {
		return nil, true
	}
	return in, len(in) > 0
}
