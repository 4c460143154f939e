package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Objects are what an Engine holds.
type Objects struct {
	Default  Action
	Members  []Member
	Groups   []Group
	Sections []Section
}

// An Evaluator is the reference: it decides from the objects, rule by rule, in
// the most obvious way. Compiled forms are tested against it. It is slow, and
// only one goroutine may use it.
type Evaluator struct {
	def      Action
	members  map[string]*Member
	order    []*Member
	groups   map[string]*Group
	sections []*Section
	known    map[string][]netip.Prefix // addresses of groups that were asked for
}

// NewEvaluator returns an Evaluator of valid objects, which it keeps.
func NewEvaluator(o Objects) *Evaluator {
	v := &Evaluator{def: Drop, members: map[string]*Member{}, groups: map[string]*Group{}, known: map[string][]netip.Prefix{}}
	if o.Default == Allow {
		v.def = Allow
	}
	for i := range o.Members {
		v.members[o.Members[i].ID] = &o.Members[i]
		v.order = append(v.order, &o.Members[i])
	}
	for i := range o.Groups {
		v.groups[o.Groups[i].ID] = &o.Groups[i]
	}
	for i := range o.Sections {
		s := o.Sections[i]
		s.Rules = slices.Clone(s.Rules)
		slices.SortStableFunc(s.Rules, func(a, b Rule) int { return cmp.Compare(a.Sequence, b.Sequence) })
		v.sections = append(v.sections, &s)
	}
	slices.SortFunc(v.sections, func(a, b *Section) int {
		return cmp.Or(cmp.Compare(a.Category.Rank(), b.Category.Rank()), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	return v
}

// Eval decides about a packet. A port that is named but not known drops; what a
// port sends to itself is allowed, and no rule is tried.
func (v *Evaluator) Eval(p Packet) Decision { return v.eval(p, nil) }

// eval tells each rule that was looked at, and in what it does not fit, if told is there.
func (v *Evaluator) eval(p Packet, told func(Consideration)) Decision {
	return decide(p, func(d Direction, port string) *Verdict {
		m := v.members[port]
		if m == nil {
			return nil
		}
		x := v.verdict(m, p, d, 0, told)
		if x.Action == Pass {
			x = v.verdict(m, p, d, Application.Rank(), told)
		}
		return &x
	})
}

// verdict tries the rules of the categories from a rank on.
func (v *Evaluator) verdict(m *Member, p Packet, d Direction, from int, told func(Consideration)) Verdict {
	for _, s := range v.sections {
		if s.Category.Rank() < from {
			continue
		}
		for i := range s.Rules {
			r := &s.Rules[i]
			if r.Direction != InOut && r.Direction != d {
				continue
			}
			misses := v.misses(s, r, m, p, d)
			if told != nil {
				told(Consideration{Port: m.ID, Direction: d, Section: s.ID, Rule: r.ID, Name: cmp.Or(r.DisplayName, s.DisplayName), Action: r.Action, Misses: misses})
			}
			if len(misses) == 0 {
				return Verdict{Action: r.Action, Section: s.ID, Rule: r.ID, Name: cmp.Or(r.DisplayName, s.DisplayName)}
			}
		}
	}
	return Verdict{Action: v.def}
}

// misses returns in what a packet at a port does not fit a rule.
func (v *Evaluator) misses(s *Section, r *Rule, m *Member, p Packet, d Direction) []Part {
	var out []Part
	scope := orList(r.AppliedTo, s.AppliedTo)
	if !anyOf(scope) && !slices.ContainsFunc(scope, func(id string) bool { return v.in(id, m) }) {
		out = append(out, PartScope)
	}
	src, dst := v.contains(r.Sources, r.SourcesExcluded, p.Src), v.contains(r.Destinations, r.DestinationsExcluded, p.Dst)
	if d == Egress {
		src = v.own(r.Sources, r.SourcesExcluded, m, p.Src)
	} else {
		dst = v.own(r.Destinations, r.DestinationsExcluded, m, p.Dst)
	}
	if !src {
		out = append(out, PartSource)
	}
	if !dst {
		out = append(out, PartDestination)
	}
	if len(r.Services) > 0 && !slices.ContainsFunc(r.Services, func(x Service) bool { return v.serves(x, m, p, d) }) {
		out = append(out, PartService)
	}
	return out
}

func orList(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// Has reports whether a member belongs to a group.
func (v *Evaluator) Has(groupID, memberID string) bool {
	m := v.members[memberID]
	return m != nil && v.in(groupID, m)
}

func (v *Evaluator) in(id string, m *Member) bool {
	g := v.groups[id]
	return g != nil && (slices.Contains(g.Members, m.ID) || g.Criteria.Matches(*m) ||
		slices.ContainsFunc(g.Groups, func(id string) bool { return v.in(id, m) }))
}

// addresses returns what a group is as a source or destination.
func (v *Evaluator) addresses(id string) []netip.Prefix {
	list, ok := v.known[id]
	if g := v.groups[id]; !ok && g != nil {
		list = Subtract(g.IPs, g.ExcludedIPs)
		for _, m := range v.order {
			if v.in(id, m) {
				for _, a := range m.IPs {
					list = append(list, hostPrefix(a))
				}
			}
		}
		for _, n := range g.Groups {
			list = append(list, v.addresses(n)...)
		}
		v.known[id] = list
	}
	return list
}

// lacks reports whether a group, or one that belongs to it, is not there.
func (v *Evaluator) lacks(id string) bool {
	g := v.groups[id]
	return g == nil || slices.ContainsFunc(g.Groups, v.lacks)
}

// contains reports whether an address is among sources or destinations.
func (v *Evaluator) contains(list []string, excluded bool, a netip.Addr) bool {
	if anyOf(list) {
		return true
	}
	in, lacking := false, false
	for _, id := range list {
		if p, ok := parsePrefix(id); ok {
			in = in || p.Contains(a)
			continue
		}
		lacking = lacking || v.lacks(id)
		in = in || slices.ContainsFunc(v.addresses(id), func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return in != excluded && !(excluded && lacking)
}

// own is contains for the end that is the port: where all of the port's addresses
// are meant, so is whatever else it uses.
func (v *Evaluator) own(list []string, excluded bool, m *Member, a netip.Addr) bool {
	if anyOf(list) {
		return true
	}
	out := func(x netip.Addr) bool { return !v.contains(list, excluded, x) }
	if !slices.ContainsFunc(m.IPs, out) {
		return len(m.IPs) > 0
	}
	return slices.Contains(m.IPs, a) && !out(a)
}

// serves reports whether a packet is of a service.
func (v *Evaluator) serves(s Service, local *Member, p Packet, d Direction) bool {
	if (s.NamedPort == "" || len(s.Ports) > 0) && plain(s).Matches(p) {
		return true
	}
	if s.NamedPort == "" || Protocol(p.Proto) != s.Protocol {
		return false
	}
	named := func(m *Member) bool {
		n := m.Ports[s.NamedPort].Number(s.Protocol)
		return n != 0 && n == p.DstPortNo
	}
	if d == Ingress {
		return named(local)
	}
	return slices.ContainsFunc(v.order, func(m *Member) bool { return slices.Contains(m.IPs, p.Dst) && named(m) })
}
