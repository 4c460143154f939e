package policynft

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tierloom/tierloom/policy"
)

// Ids in [Firewall.Counters] of what no rule decides about.
const (
	DefaultOut = "default/out"
	DefaultIn  = "default/in"
)

// A Ruleset is the content of the table. It is immutable.
type Ruleset struct {
	cfg      Config
	sets     map[string]set
	chains   map[string][]line            // all but base chains
	maps     map[string]map[string]string // "egress", "ingress": interface -> chain; toItself: interface -> ""
	counters map[string]string            // name -> id of a rule
	groups   map[string][2]string         // names of the sets of a group, IPv4 and IPv6
	uses     map[string][]use             // of these, by rules
}

// A set is addresses of one family, or ports.
type set struct {
	comment  string
	prefixes []netip.Prefix // sorted, without overlap
	family   family
	ports    []policy.PortRange // instead, if family is anyFamily
}

// Compile returns what the table has to be for a program (nil: drop all) at
// some ports. It is pure; equal input, in any order of ports, gives an equal Ruleset.
func Compile(prog *policy.Program, ports []Port, cfg Config) (*Ruleset, error) {
	if prog == nil {
		prog = &policy.Program{}
	}
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.Validate(), check(prog, ports)); err != nil {
		return nil, err
	}
	c := &compiler{prog: prog, lines: map[string][]line{}, Ruleset: &Ruleset{
		cfg: cfg, sets: map[string]set{}, chains: map[string][]line{}, maps: map[string]map[string]string{}, counters: map[string]string{}, groups: map[string][2]string{}, uses: map[string][]use{}}}
	for id, list := range prog.Sets {
		name := digest(id)
		c.groups[id] = [2]string{"group4-" + name, "group6-" + name}
		for _, f := range families {
			c.sets[c.group(id, f)] = set{comment: id, prefixes: part(list, f), family: f}
		}
	}
	for _, e := range []end{egress(cfg), ingress(cfg)} {
		c.common(e)
		c.ports(e, ports)
	}
	c.maps[toItself] = map[string]string{}
	for _, p := range ports {
		c.maps[toItself][p.Interface] = ""
	}
	return c.Ruleset, nil
}

var families = [...]family{ipv4, ipv6}

// group is the name of the set with a group's addresses of a family.
func (r *Ruleset) group(id string, f family) string { return r.groups[id][f-ipv4] }

// part returns the prefixes of a family in a sorted list.
func part(list []netip.Prefix, f family) []netip.Prefix {
	i, _ := slices.BinarySearchFunc(list, true, func(p netip.Prefix, _ bool) int {
		if p.Addr().Is4() {
			return -1
		}
		return 0
	})
	if f == ipv4 {
		return list[:i]
	}
	return list[i:]
}

// digest names a thing by what it is made of.
func digest(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = append(strconv.AppendInt(b, int64(len(p)), 10), ' ')
		b = append(b, p...)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// toItself is the map by which packets that go out where they came in are let be.
const toItself = "to-itself"

// base returns the base chains: name of the hook -> rules.
func (r *Ruleset) base() map[string][]line {
	leaves, reaches := line{terms: []term{vmap{in: true, set: "egress"}}}, line{terms: []term{vmap{out: true, set: "ingress"}}}
	out := map[string][]line{"forward": {{terms: []term{vmap{in: true, out: true, set: toItself}}}, leaves, reaches}}
	if r.cfg.Host {
		discovery := line{terms: []term{ipv6, protocol(policy.ICMPv6), icmp{133, 137, -1}, verdict{kind: accept}}} // RFC 4861, 4
		out["input"], out["output"] = []line{discovery, leaves}, []line{discovery, reaches}
	}
	return out
}

// String is the table in the manner of "nft list table": for reading, tests and diffs.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.cfg.Table)
	for _, name := range slices.Sorted(maps.Keys(r.counters)) {
		fmt.Fprintf(&b, "  counter %s # %s\n", name, r.counters[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		s := r.sets[name]
		fmt.Fprintf(&b, "  set %s { %s }", name, strings.Trim(fmt.Sprint(s.prefixes, s.ports), "[] "))
		if s.comment != "" {
			fmt.Fprintf(&b, " # %s", s.comment)
		}
		b.WriteString("\n")
	}
	for _, name := range slices.Sorted(maps.Keys(r.maps)) {
		fmt.Fprintf(&b, "  map %s {\n", name)
		for _, iface := range slices.Sorted(maps.Keys(r.maps[name])) {
			if chain := r.maps[name][iface]; chain != "" {
				fmt.Fprintf(&b, "    %s : jump %s\n", iface, chain)
			} else {
				fmt.Fprintf(&b, "    %s . %s : return\n", iface, iface)
			}
		}
		b.WriteString("  }\n")
	}
	chain := func(name, head string, lines []line) {
		fmt.Fprintf(&b, "  chain %s {%s\n", name, head)
		for _, l := range lines {
			fmt.Fprintf(&b, "    %s\n", l)
		}
		b.WriteString("  }\n")
	}
	for _, hook := range slices.Sorted(maps.Keys(r.base())) {
		chain(baseName(hook, r.cfg), fmt.Sprintf(" type filter hook %s priority %d", hook, r.cfg.Priority), r.base()[hook])
	}
	for _, name := range slices.Sorted(maps.Keys(r.chains)) {
		chain(name, "", r.chains[name])
	}
	b.WriteString("}\n")
	return b.String()
}

// baseName is the name of a base chain; a chain cannot change its priority.
func baseName(hook string, cfg Config) string { return fmt.Sprintf("%s.%d", hook, cfg.Priority) }
