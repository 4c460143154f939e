package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// A Program is what has to be enforced at some ports. It is a plain value;
// equal programs encode to equal JSON.
type Program struct {
	// Rules in the order in which they are tried, of both directions.
	Rules []ProgramRule `json:"rules,omitempty"`
	// Sets are the addresses of groups that rules refer to, by group id, each
	// sorted and without overlap: the addresses of members, one each, and
	// the literal prefixes, as few as can be.
	Sets map[string][]netip.Prefix `json:"sets,omitempty"`
	// Default is what becomes of a packet that no rule matches: Allow or Drop.
	Default Action `json:"default"`
}

// A ProgramRule is a rule for one direction with nothing left to look up but
// address sets. One [Rule] makes one for each direction, or several where ports
// differ in what a port name means.
type ProgramRule struct {
	// ID is unique in a program and does not depend on other rules.
	ID      string `json:"id"`
	Section string `json:"section"`
	Rule    string `json:"rule"`
	// Name is the rule's display name, or its section's, for logs.
	Name      string    `json:"display_name,omitempty"`
	Order     Order     `json:"order"`
	Direction Direction `json:"direction"` // Ingress or Egress
	Action    Action    `json:"action"`
	// AppliedTo are the ports it is tried at, sorted; nil is every port: a rule
	// without scope that is about no port in particular.
	AppliedTo []string `json:"scope,omitempty"`
	// Local limits it to some of the ports' own addresses (nil: any): the source
	// of what leaves, the destination of what arrives.
	Local []netip.Prefix `json:"local,omitempty"`
	// Peers is the other end; nil is any.
	Peers *AddressSet `json:"peers,omitempty"`
	// Services have numbers only, never names; nil is any.
	Services []Service `json:"services,omitempty"`
	// Stateless, Established, Logged and LogLabel are those of the section and the rule.
	Stateless   bool        `json:"stateless,omitempty"`
	Established Established `json:"established,omitempty"`
	Logged      bool        `json:"logged,omitempty"`
	LogLabel    string      `json:"tag,omitempty"`
}

// Validate reports all faults of the rule by itself.
func (r ProgramRule) Validate() error { return r.validate() }

func (r *ProgramRule) validate() error {
	f := faults{kind: "rule", id: r.ID}
	if r.ID == "" {
		f.add("id", "empty")
	}
	if r.Direction != Ingress && r.Direction != Egress {
		f.add("direction", "%s is neither %s nor %s", r.Direction, Ingress, Egress)
	}
	if int(r.Action) >= len(actionNames) {
		f.add("action", "%s", r.Action)
	}
	if int(r.Established) >= len(establishedNames) {
		f.add("established", "%s", r.Established)
	}
	rank := r.Order.Category.Rank()
	if rank < 0 {
		f.add("order.category", "%q is none of %v", r.Order.Category, Categories())
	}
	if r.Action == Pass && rank >= Application.Rank() {
		f.add("action", "%s in category %q, which is not before %s", r.Action, r.Order.Category, Application)
	}
	checkNetworks(&f, "local", r.Local)
	if r.Peers != nil {
		checkNetworks(&f, "peers.prefixes", r.Peers.Prefixes)
	}
	for i := range r.Services {
		at := func(field string) string { return fmt.Sprintf("services[%d].%s", i, field) }
		r.Services[i].validate(&f, at)
		if r.Services[i].NamedPort != "" {
			f.add(at("named_port"), "%q is not a number", r.Services[i].NamedPort)
		}
	}
	return f.err()
}

// checkNetworks checks prefixes that are to have no host bits.
func checkNetworks(f *faults, field string, list []netip.Prefix) {
	for i, p := range list {
		if !validPrefix(p) || p != p.Masked() {
			f.add(fmt.Sprintf("%s[%d]", field, i), "%s is not an IPv4 or IPv6 prefix without host bits", p)
		}
	}
}

// An AddressSet is the union of sets of a program and of prefixes; or, if
// Excluded, all addresses but those.
type AddressSet struct {
	Sets     []string       `json:"sets,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Excluded bool           `json:"excluded,omitempty"`
}

// An Order is the place of a rule.
type Order struct {
	Category Category `json:"category"`
	Section  int      `json:"section"`        // sequence number of the section
	Rule     int      `json:"rule,omitempty"` // sequence number of the rule
	Position int      `json:"position"`       // place in the section
}

// Compare orders rules as they are tried.
func (r ProgramRule) Compare(o ProgramRule) int {
	return cmp.Or(
		cmp.Compare(r.Order.Category.Rank(), o.Order.Category.Rank()),
		cmp.Compare(r.Order.Section, o.Order.Section), cmp.Compare(r.Section, o.Section),
		cmp.Compare(r.Order.Rule, o.Order.Rule), cmp.Compare(r.Order.Position, o.Order.Position),
		cmp.Compare(r.ID, o.ID))
}

// NewProgram puts a program together from its parts in any order, such as from
// a store of rules and sets.
func NewProgram(def Action, rules []ProgramRule, sets map[string][]netip.Prefix) *Program {
	p := &Program{Rules: slices.Clone(rules), Sets: sets, Default: def}
	slices.SortFunc(p.Rules, ProgramRule.Compare)
	return p
}

// Addresses returns the addresses of a set, in the fewest prefixes, sorted. Of
// an excluded set that names one the program lacks, it is none.
func (p *Program) Addresses(s *AddressSet) []netip.Prefix {
	if s == nil {
		return Everything()
	}
	list := slices.Clone(s.Prefixes)
	for _, id := range s.Sets {
		set, ok := p.Sets[id]
		if !ok && s.Excluded {
			return nil
		}
		list = append(list, set...)
	}
	if s.Excluded {
		return Subtract(Everything(), list)
	}
	return Aggregate(list)
}

// Program returns what has to be enforced at ports, ids of members; unknown ones
// have no rules. Any order of ports gives the same program.
func (e *Engine) Program(ports []string) *Program {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &Program{Default: e.cfg.Default, Sets: map[string][]netip.Prefix{}}
	c := compiler{e: e, p: p, at: map[*rule][]*member{}, use: func(name string, sel *selector, g *group) {
		if _, ok := p.Sets[name]; ok {
			return
		}
		if sel != nil {
			p.Sets[name] = copyOf(e.addressesOf(sel))
		} else {
			p.Sets[name] = copyOf(g.ips)
		}
	}}
	for _, id := range distinct(ports) {
		m := e.memberLocked(id)
		if m == nil {
			continue
		}
		c.local = append(c.local, m)
		for _, r := range e.rulesLocked(m.profile) {
			c.at[r] = append(c.at[r], m)
		}
	}
	for r, at := range c.at {
		c.rule(r, at, false)
	}
	if len(c.local) > 0 {
		for _, r := range e.everywhere {
			c.rule(r, c.local, true)
		}
	}
	slices.SortFunc(p.Rules, ProgramRule.Compare)
	return p
}

// copyOf copies a list; an empty one is nil.
func copyOf[T any](list []T) []T { return append([]T(nil), list...) }
