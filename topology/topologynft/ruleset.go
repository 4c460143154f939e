package topologynft

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/topology"
)

// DefaultTable is the name of the table unless Config names another.
const DefaultTable = "tierloom-nat"

// maxID bounds the id of a rule, which is kept in its comment (256 bytes).
const maxID = 200

// Config says where a Ruleset lives.
type Config struct {
	// Table is the table's name, in the inet family. Default DefaultTable.
	Table string
	// Uplink is the interface to the outside. Only what leaves or arrives
	// by it is translated and filtered; empty means every interface.
	Uplink string
	// NetNS is a file descriptor of the network namespace to act in. Default:
	// that of the calling thread.
	NetNS int
}

func (c Config) withDefaults() Config {
	c.Table = cmp.Or(c.Table, DefaultTable)
	return c
}

// The chains of the table, in the order of String. Priorities are those that
// nft calls dstnat, filter and srcnat.
const (
	prerouting  = "prerouting"
	forward     = "forward"
	postrouting = "postrouting"
)

type chain struct {
	name, kind string
	priority   int32
}

var chains = []chain{{prerouting, "nat", -100}, {forward, "filter", 0}, {postrouting, "nat", 100}}

// What a rule does with a packet.
const (
	accept = "accept"
	drop   = "drop"
	snat   = "snat"
	dnat   = "dnat"
)

// rule is one rule of a chain. Rules are comparable; a zero field matches anything.
type rule struct {
	chain    string
	iif, oif string
	src, dst netip.Prefix
	outside  bool // neither established nor related, and not translated by DNAT
	action   string
	to       netip.Addr // of snat and dnat
	id       string
}

func (r rule) is6() bool {
	return r.src.IsValid() && r.src.Addr().Is6() || r.dst.IsValid() && r.dst.Addr().Is6()
}

// String returns the rule as "nft list table" prints it.
func (r rule) String() string {
	var b strings.Builder
	family := "ip"
	if r.is6() {
		family = "ip6"
	}
	if r.iif != "" {
		fmt.Fprintf(&b, "iifname %q ", r.iif)
	}
	if r.oif != "" {
		fmt.Fprintf(&b, "oifname %q ", r.oif)
	}
	if r.src.IsValid() {
		fmt.Fprintf(&b, "%s saddr %s ", family, r.src)
	}
	if r.dst.IsValid() {
		fmt.Fprintf(&b, "%s daddr %s ", family, r.dst)
	}
	if r.outside {
		b.WriteString("ct state != established,related ct status ! dnat ")
	}
	fmt.Fprintf(&b, "counter %s", r.action)
	if r.to.IsValid() {
		fmt.Fprintf(&b, " %s to %s", family, r.to)
	}
	fmt.Fprintf(&b, " comment %q", r.id)
	return b.String()
}

// Ruleset is what Compile makes of NAT rules. It is immutable.
type Ruleset struct {
	cfg   Config
	rules []rule // in the order of chains
}

// Compile checks NAT rules and sorts them into a Ruleset. It is pure, and the
// order of rules does not matter. It reports all faults; each wraps
// [topology.ErrInvalid].
func Compile(rules []topology.NATRule, cfg Config) (*Ruleset, error) {
	r := &Ruleset{cfg: cfg.withDefaults()}
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("topologynft: "+format+": %w", append(args, topology.ErrInvalid)...))
	}
	if len(cfg.Uplink) > 15 {
		fault("table %s: uplink %q is longer than 15 bytes", r.cfg.Table, cfg.Uplink)
	}
	seen := map[string]bool{}
	for _, n := range rules {
		if err := n.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if len(n.ID) > maxID {
			fault("nat rule %q: id is longer than %d bytes", n.ID, maxID)
		}
		if seen[n.ID] {
			fault("nat rule %q: it is there twice", n.ID)
		}
		seen[n.ID] = true
		r.rules = append(r.rules, compile(n, cfg.Uplink)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(r.rules, compare)
	return r, nil
}

// compile returns the rules that one NAT rule needs.
func compile(n topology.NATRule, uplink string) []rule {
	src, dst := canonical(n.Source), canonical(n.Destination)
	switch n.Action {
	case topology.DNAT:
		return []rule{{chain: prerouting, iif: uplink, src: src, dst: dst, action: dnat, to: n.Translated, id: n.ID}}
	case topology.NoSNAT:
		return []rule{{chain: postrouting, oif: uplink, src: src, dst: dst, action: accept, id: n.ID}}
	}
	return []rule{
		{chain: postrouting, oif: uplink, src: src, dst: dst, action: snat, to: n.Translated, id: n.ID},
		{chain: forward, iif: uplink, dst: src, outside: true, action: drop, id: n.ID},
	}
}

func canonical(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.Prefix{}
	}
	return p.Masked()
}

// compare orders rules: by chain, NO_SNAT before SNAT, longer prefixes first, then by id.
func compare(a, b rule) int {
	order := func(r rule) int { return slices.IndexFunc(chains, func(c chain) bool { return c.name == r.chain }) }
	last := func(r rule) int {
		if r.action == accept {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(last(a), last(b)),
		cmp.Compare(b.src.Bits(), a.src.Bits()), cmp.Compare(b.dst.Bits(), a.dst.Bits()), strings.Compare(a.id, b.id))
}

// String is the ruleset in the manner of "nft list table": for reading, tests and diffs.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", r.cfg.Table)
	for _, c := range chains {
		fmt.Fprintf(&b, "  chain %s { type %s hook %s priority %d\n", c.name, c.kind, c.name, c.priority)
		for _, one := range r.rules {
			if one.chain == c.name {
				fmt.Fprintf(&b, "    %s\n", one)
			}
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// Rules returns the rules as text, each after its chain's name, in the order
// in which List returns those of the kernel.
func (r *Ruleset) Rules() []string { return lines(r.rules) }

func lines(rules []rule) []string {
	out := make([]string, 0, len(rules))
	for _, one := range rules {
		out = append(out, one.chain+" "+one.String())
	}
	return out
}
