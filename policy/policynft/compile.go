package policynft

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/policy"
)

type compiler struct {
	*Ruleset
	prog  *policy.Program
	lines map[string][]line // of a rule in one direction, by id
}

// An end is where packets leave a port, or reach one.
type end struct {
	dir     policy.Direction
	name    string
	out     bool   // the interface is the one the packet goes out by
	bit     uint32 // this end has allowed the connection whose first packet this is
	other   uint32 // this end has allowed the connection that this is a reply of
	ownDst  bool   // the port's own address is the destination
	counter string // of the default
}

func egress(cfg Config) end {
	return end{dir: policy.Egress, name: "egress", bit: cfg.EgressMark, other: cfg.IngressMark, counter: DefaultOut}
}

func ingress(cfg Config) end {
	return end{dir: policy.Ingress, name: "ingress", out: true, bit: cfg.IngressMark, other: cfg.EgressMark, ownDst: true, counter: DefaultIn}
}

func (c *compiler) chain(name string, lines ...[]term) {
	for _, terms := range lines {
		c.chains[name] = append(c.chains[name], line{terms: terms})
	}
}

// common are the chains that all ports share: what it means to allow or drop.
// Terms of connection tracking do not match packets that are not tracked.
func (c *compiler) common(e end) {
	forget := []term{original, mark{bit: e.bit, clear: true}}
	c.chain(e.name+"-allow", []term{original, mark{bit: e.bit}})
	c.chain(e.name+"-drop", forget, []term{verdict{kind: drop}})
	c.chain(e.name+"-reject", forget, []term{protocol(policy.TCP), reject{reset: true}}, []term{reject{}})
	c.counters[counterName(e.counter)] = e.counter
	c.maps[e.name] = map[string]string{}
}

// ports gives each port its chain. Ports with the same rules have the same.
func (c *compiler) ports(e end, ports []Port) {
	index := make(map[string]int, len(ports))
	for i, p := range ports {
		index[p.ID] = i
	}
	lists := make([][]int32, len(ports)) // of rules, by their place in the program
	for i := range c.prog.Rules {
		r := &c.prog.Rules[i]
		if r.Direction != e.dir {
			continue
		}
		if r.AppliedTo == nil {
			for j := range lists {
				lists[j] = append(lists[j], int32(i))
			}
		}
		for _, id := range r.AppliedTo {
			if j, ok := index[id]; ok && (len(lists[j]) == 0 || lists[j][len(lists[j])-1] != int32(i)) {
				lists[j] = append(lists[j], int32(i))
			}
		}
	}
	classes := map[string]string{}
	var key []byte
	for j, p := range ports {
		key = key[:0]
		for _, i := range lists[j] {
			key = binary.NativeEndian.AppendUint32(key, uint32(i))
		}
		chain, ok := classes[string(key)]
		if !ok {
			rules := make([]*policy.ProgramRule, len(lists[j]))
			for n, i := range lists[j] {
				rules[n] = &c.prog.Rules[i]
			}
			chain = c.class(e, rules)
			classes[string(key)] = chain
		}
		c.maps[e.name][p.Interface] = chain
	}
}

// class makes the chain of ports with some rules, and returns its name.
func (c *compiler) class(e end, rules []*policy.ProgramRule) string {
	n, _ := slices.BinarySearchFunc(rules, policy.Application.Rank(), func(r *policy.ProgramRule, rank int) int {
		return cmp.Compare(r.Order.Category.Rank(), rank)
	})
	name, app := e.name+"-"+digest(ids(rules)...), e.name+"-app-"+digest(ids(rules[n:])...)
	c.chain(name,
		[]term{invalid, verdict{kind: drop}},
		[]term{reply, marked{bit: e.other}, verdict{kind: back}},
		[]term{related, original, marked{bit: e.bit}, verdict{kind: back}})
	c.add(name, e, rules[:n], app)
	c.chain(name, []term{verdict{kind: gotoThe, chain: app}})
	if _, ok := c.chains[app]; !ok {
		c.add(app, e, rules[n:], "")
		c.defaults(app, e)
	}
	return name
}

func ids(rules []*policy.ProgramRule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.ID
	}
	return out
}

// add puts rules into a chain; app is where those that pass go on.
func (c *compiler) add(chain string, e end, rules []*policy.ProgramRule, app string) {
	for _, r := range rules {
		if r.Action == policy.Pass {
			c.chains[chain] = append(c.chains[chain], c.rule(e, r, app)...)
			continue
		}
		lines, ok := c.lines[r.ID]
		if !ok {
			lines = c.rule(e, r, "")
			c.lines[r.ID] = lines
		}
		c.chains[chain] = append(c.chains[chain], lines...)
	}
}

// defaults is what becomes of a packet that no rule decides about.
func (c *compiler) defaults(chain string, e end) {
	count := counter(counterName(e.counter))
	if c.prog.Default == policy.Allow {
		c.chain(chain, []term{count, verdict{kind: gotoThe, chain: e.name + "-allow"}})
		return
	}
	if c.cfg.LogDefault {
		c.chain(chain, []term{c.log(policy.Drop, e.counter, "")})
	}
	c.chain(chain, []term{count, verdict{kind: gotoThe, chain: e.name + "-drop"}})
}

// rule returns the lines of one rule: one for each combination of address sets
// and protocols, twice that if it logs, or keeps what is established.
func (c *compiler) rule(e end, r *policy.ProgramRule, app string) []line {
	var out []line
	c.counters[counterName(r.ID)] = r.ID
	for _, match := range c.matches(e, r) {
		for _, does := range c.does(e, r, app) {
			out = append(out, line{terms: with(match, does...), comment: r.ID})
		}
	}
	return out
}

// does is what a rule does with what it matches, in order.
func (c *compiler) does(e end, r *policy.ProgramRule, app string) [][]term {
	var out [][]term
	count := counter(counterName(r.ID))
	denies := r.Action == policy.Drop || r.Action == policy.Reject
	if denies && r.Established == policy.Keep {
		out = append(out, []term{original, marked{bit: e.bit}, count, verdict{kind: back}})
	}
	if r.Logged {
		var first []term
		if r.Action == policy.Allow && !r.Stateless {
			first = []term{marked{bit: e.bit, not: true}}
		}
		out = append(out, append(first, c.log(r.Action, r.ID, r.LogLabel)))
	}
	last := verdict{kind: gotoThe, chain: e.name + "-drop"}
	switch {
	case r.Action == policy.Pass:
		last.chain = app
	case r.Action == policy.Reject:
		last.chain = e.name + "-reject"
	case r.Action == policy.Allow && r.Stateless:
		last = verdict{kind: back}
	case r.Action == policy.Allow:
		last.chain = e.name + "-allow"
	}
	return append(out, []term{count, last})
}

// matches returns what a rule matches, any of several lists of terms.
func (c *compiler) matches(e end, r *policy.ProgramRule) [][]term {
	of := families[:]
	if r.Local == nil && r.Peers == nil {
		of = []family{anyFamily}
	}
	var out [][]term
	for _, f := range of {
		var start []term
		if f != anyFamily {
			start = []term{f}
		}
		own, ok := c.own(e, r, f)
		if !ok {
			continue
		}
		for _, peers := range c.peers(e, r, f) {
			for _, service := range c.services(r.Services, f) {
				out = append(out, slices.Concat(start, own, peers, service))
			}
		}
	}
	return out
}

// own matches the port's own address; false is none.
func (c *compiler) own(e end, r *policy.ProgramRule, f family) ([]term, bool) {
	if r.Local == nil {
		return nil, true
	}
	t, ok := c.literal(r.Local, f, e.ownDst)
	return []term{t}, ok
}

// peers matches the other end, any of several ways.
func (c *compiler) peers(e end, r *policy.ProgramRule, f family) [][]term {
	if r.Peers == nil {
		return [][]term{nil}
	}
	var all []term
	for _, id := range r.Peers.Sets {
		if _, ok := c.prog.Sets[id]; ok {
			name := c.group(id, f)
			c.uses[name] = append(c.uses[name], useBy(r))
			all = append(all, address{family: f, dst: !e.ownDst, not: r.Peers.Excluded, set: name})
		} else if r.Peers.Excluded {
			return nil
		}
	}
	if t, ok := c.literal(r.Peers.Prefixes, f, !e.ownDst); ok {
		t.not = r.Peers.Excluded
		all = append(all, t)
	}
	if r.Peers.Excluded {
		return [][]term{all}
	}
	out := make([][]term, len(all))
	for i, t := range all {
		out[i] = []term{t}
	}
	return out
}

// literal matches any of some prefixes; false is none of the family.
func (c *compiler) literal(list []netip.Prefix, f family, dst bool) (address, bool) {
	list = part(policy.Aggregate(list), f)
	switch len(list) {
	case 0:
		return address{}, false
	case 1:
		return address{family: f, dst: dst, prefix: list[0]}, true
	}
	var text []string
	for _, p := range list {
		text = append(text, p.String())
	}
	name := "addresses-" + digest(text...)
	c.sets[name] = set{prefixes: list, family: f}
	return address{family: f, dst: dst, set: name}, true
}

// counterName is the name of the counter of a rule.
func counterName(id string) string { return "rule-" + digest(id) }

// log returns what sends packets of a rule to the log.
func (c *compiler) log(a policy.Action, id, label string) log {
	return log{group: c.cfg.LogGroup, rate: c.cfg.LogRate, burst: c.cfg.LogBurst, prefix: Prefix(a, id, label)}
}

// maxPrefix is NF_LOG_PREFIXLEN (linux/netfilter/nf_log.h) less the terminator.
const maxPrefix = 127

// Prefix returns the prefix of what a rule logs: action, id of the rule, label.
// Where that is more than 127 bytes, the label is cut, and an id that does not fit
// is that of its counter. Blanks in an id, and what is not printable, are "_".
func Prefix(a policy.Action, ruleID, label string) string {
	clean := func(s string, blank bool) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == ' ' && !blank {
				return '_'
			}
			return r
		}, s)
	}
	head := a.String() + " "
	if id := clean(ruleID, false); len(head+id) <= maxPrefix {
		head += id
	} else {
		head += counterName(ruleID)
	}
	if label == "" || len(head)+1 >= maxPrefix {
		return head
	}
	label = clean(label, true)
	for label = label[:min(len(label), maxPrefix-len(head)-1)]; len(label) > 0; label = label[:len(label)-1] {
		if r := []rune(label); r[len(r)-1] != '\uFFFD' {
			return head + " " + label
		}
	}
	return head
}
