package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A compiler makes the program of some ports.
type compiler struct {
	e     *Engine
	local []*member           // by id
	at    map[*rule][]*member // rules with a scope
	p     *Program            // to which it adds rules
	// use is told of each set that a rule names: of a selector, or of a group's prefixes.
	use func(name string, sel *selector, g *group)
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

// rule adds what a rule means for those of the ports that it applies to.
func (c *compiler) rule(r *rule, at []*member, everywhere bool) {
	if r.direction != Ingress {
		c.direction(r, at, everywhere, Egress)
	}
	if r.direction != Egress {
		c.direction(r, at, everywhere, Ingress)
	}
}

func (c *compiler) direction(r *rule, at []*member, everywhere bool, d Direction) {
	s := r.section
	own, peers := r.src, r.dst
	base := ProgramRule{
		ID: ruleID(s.id, r.id, "out"), Section: s.id, Rule: r.id, Name: cmp.Or(r.name, s.name),
		Order:     Order{Category: s.category, Section: s.priority, Rule: r.sequence, Position: r.pos},
		Direction: d, Action: r.action, Stateless: s.stateless, Established: s.established, Logged: r.logged, LogLabel: r.logLabel,
	}
	if d == Ingress {
		base.ID = ruleID(s.id, r.id, "in")
		own, peers = peers, own
	}
	var shared []part
	if d == Egress {
		shared = c.e.egressParts(r.services, peers)
	}
	ports, parts := map[string][]string{}, map[string]part{}
	for _, m := range at {
		local, ok := c.e.own(own, m)
		if !ok {
			continue
		}
		list := shared
		if d == Ingress {
			list = ingressParts(r.services, m)
		}
		for _, v := range list {
			v.Local = local
			k := v.suffix()
			parts[k], ports[k] = v, append(ports[k], m.id)
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
		if !everywhere || own != nil || k != "" {
			x.AppliedTo = ports[k]
		}
		switch {
		case v.Peers != nil:
			x.Peers = &AddressSet{Prefixes: v.Peers}
		case peers != nil:
			x.Peers = c.set(peers)
		}
		c.p.Rules = append(c.p.Rules, x)
	}
}

// ruleID names a rule of a section in one direction: three parts with "/"
// between them, in which "/" is "%2F" and "%" is "%25".
func ruleID(section, rule, direction string) string {
	return escape(section) + "/" + escape(rule) + "/" + direction
}

func escape(s string) string {
	if !strings.ContainsAny(s, "/%") {
		return s
	}
	return strings.NewReplacer("%", "%25", "/", "%2F").Replace(s)
}

// set names the sets that make one end.
func (c *compiler) set(x *ends) *AddressSet {
	a := &AddressSet{Prefixes: x.literal, Excluded: x.excluded}
	for _, g := range c.e.parts(x) {
		if !g.there || len(g.ips) > 0 {
			a.Sets = append(a.Sets, g.set())
		}
		if len(g.ips) > 0 {
			c.use(g.set(), nil, g)
		}
		if g.sel != nil {
			a.Sets = append(a.Sets, g.sel.members().name)
			c.use(g.sel.members().name, g.sel, nil)
		}
	}
	slices.Sort(a.Sets)
	a.Sets = slices.Compact(a.Sets)
	return a
}

// parts returns the groups of an end and those nested in them.
func (e *Engine) parts(x *ends) []*group {
	if x == nil {
		return nil
	}
	return below(nil, x.groups, e.nextMark())
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
			if n := m.profile.Ports[s.NamedPort].Number(s.Protocol); n != 0 {
				v.Services = append(v.Services, Service{Protocol: s.Protocol, Ports: []PortRange{Port(n)}})
			}
		}
	}
	if len(services) > 0 && len(v.Services) == 0 {
		return nil
	}
	return []part{v}
}

// egressParts is what services mean towards peers, each of which may
// give a name to another number.
func (e *Engine) egressParts(services []Service, peers *ends) []part {
	v := part{}
	byNumber := map[endpoint][]netip.Prefix{}
	for _, s := range services {
		if s.NamedPort == "" || len(s.Ports) > 0 {
			v.Services = append(v.Services, plain(s))
		}
		if s.NamedPort == "" {
			continue
		}
		for _, p := range e.byPort[portKey{s.NamedPort, s.Protocol}] {
			at := endpoint{s.Protocol, p.Ports[s.NamedPort].Number(s.Protocol)}
			all := e.hasProfile(peers, p)
			for _, m := range p.members {
				for _, a := range m.ips {
					if all || e.contains(peers, a) {
						byNumber[at] = append(byNumber[at], hostPrefix(a))
					}
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

// hasProfile reports whether all addresses of a profile's members are meant, as
// far as groups tell.
func (e *Engine) hasProfile(x *ends, p *profile) bool {
	if x == nil || x.excluded {
		return x == nil
	}
	return slices.ContainsFunc(x.groups, func(g *group) bool { return g.has(p) })
}

// contains reports whether an address is meant.
func (e *Engine) contains(x *ends, a netip.Addr) bool {
	if x == nil {
		return true
	}
	in, lacking := containsAddr(x.literal, a), false
	for _, g := range e.parts(x) {
		lacking = lacking || !g.there
		in = in || containsAddr(g.ips, a) || g.sel != nil && containsAddr(e.addressesOf(g.sel), a)
	}
	return in != x.excluded && (!x.excluded || !lacking)
}

// own returns which of a port's own addresses are meant: nil is all of them; false is none.
func (e *Engine) own(x *ends, m *member) ([]netip.Prefix, bool) {
	if x == nil {
		return nil, true
	}
	if !x.excluded && len(m.ips) > 0 && e.hasProfile(x, m.profile) {
		return nil, true
	}
	var in []netip.Prefix
	for _, a := range m.ips {
		if e.contains(x, a) {
			in = append(in, hostPrefix(a))
		}
	}
	if len(in) > 0 && len(in) == len(m.ips) {
		return nil, true
	}
	return in, len(in) > 0
}
