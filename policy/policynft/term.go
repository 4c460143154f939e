package policynft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/policy"
)

// A term is a part of a rule. Its text is that of nft, or near it, and says all
// there is to it: equal texts are equal terms.
type term interface{ String() string }

// A line is a rule of nftables.
type line struct {
	terms   []term
	comment string // id of the policy's rule
}

func (l line) String() string {
	words := make([]string, 0, len(l.terms)+1)
	for _, t := range l.terms {
		words = append(words, t.String())
	}
	if l.comment != "" {
		words = append(words, fmt.Sprintf("comment %q", l.comment))
	}
	return strings.Join(words, " ")
}

// A family is one of addresses.
type family uint8

const (
	anyFamily family = iota
	ipv4
	ipv6
)

func (f family) word() string {
	if f == ipv4 {
		return "ip"
	}
	return "ip6"
}

func (f family) String() string {
	if f == ipv4 {
		return "meta nfproto ipv4"
	}
	return "meta nfproto ipv6"
}

// An address matches the source or destination with a set, or with one prefix.
type address struct {
	family family
	dst    bool
	not    bool
	set    string
	prefix netip.Prefix
}

func (a address) String() string {
	word, not, what := "saddr", "", "@"+a.set
	if a.dst {
		word = "daddr"
	}
	if a.not {
		not = "!= "
	}
	if a.set == "" {
		what = a.prefix.String()
	}
	return fmt.Sprintf("%s %s %s%s", a.family.word(), word, not, what)
}

// protocol matches a transport protocol.
type protocol policy.Protocol

func (p protocol) String() string { return fmt.Sprintf("meta l4proto %d", uint8(p)) }

// dport matches the destination port with a set, or with one range.
type dport struct {
	set   string
	ports policy.PortRange
}

func (d dport) String() string {
	if d.set != "" {
		return "th dport @" + d.set
	}
	return "th dport " + d.ports.String()
}

// icmp matches types from a first to a last, and a code, -1 for any.
type icmp struct {
	from, to uint8
	code     int
}

func (i icmp) String() string {
	s := fmt.Sprintf("icmp type %d", i.from)
	if i.to != i.from {
		s += fmt.Sprintf("-%d", i.to)
	}
	if i.code >= 0 {
		s += fmt.Sprintf(" icmp code %d", i.code)
	}
	return s
}

// A ctState matches any of some states of connection tracking.
type ctState string

const (
	invalid ctState = "invalid"
	related ctState = "related"
)

func (s ctState) String() string { return "ct state " + string(s) }

// A ctDirection matches packets in the direction of the first, or replies.
type ctDirection string

const (
	original ctDirection = "original"
	reply    ctDirection = "reply"
)

func (d ctDirection) String() string { return "ct direction " + string(d) }

// A marked matches a bit of the ct mark, set or not.
type marked struct {
	bit uint32
	not bool
}

func (m marked) String() string {
	op := "!="
	if m.not {
		op = "=="
	}
	return fmt.Sprintf("ct mark & %#x %s 0", m.bit, op)
}

// A mark sets or clears a bit of the ct mark.
type mark struct {
	bit   uint32
	clear bool
}

func (m mark) String() string {
	if m.clear {
		return fmt.Sprintf("ct mark set ct mark & ~%#x", m.bit)
	}
	return fmt.Sprintf("ct mark set ct mark | %#x", m.bit)
}

// A counter counts in a named counter.
type counter string

func (c counter) String() string { return "counter name " + string(c) }

// A log sends packets to an nflog group, so many a second.
type log struct {
	group       uint16
	rate, burst uint32
	prefix      string
}

func (l log) String() string {
	return fmt.Sprintf("limit rate %d/second burst %d packets log group %d prefix %q", l.rate, l.burst, l.group, l.prefix)
}

// A vmap does what a map has for an interface that the packet comes in by, goes out
// by, or both.
type vmap struct {
	in, out bool
	set     string
}

func (v vmap) String() string {
	var keys []string
	if v.in {
		keys = append(keys, "iifname")
	}
	if v.out {
		keys = append(keys, "oifname")
	}
	return strings.Join(keys, " . ") + " vmap @" + v.set
}

// A verdict ends the rule: goto another chain, or one of the others.
type verdict struct {
	kind  verdictKind
	chain string
}

type verdictKind string

const (
	accept  verdictKind = "accept"
	drop    verdictKind = "drop"
	back    verdictKind = "return"
	gotoThe verdictKind = "goto"
)

func (v verdict) String() string { return strings.TrimSpace(string(v.kind) + " " + v.chain) }

// A reject drops with an answer.
type reject struct{ reset bool }

func (r reject) String() string {
	if r.reset {
		return "reject with tcp reset"
	}
	return "reject with icmpx admin-prohibited"
}

// with returns a list of terms with more of them, sharing nothing.
func with(list []term, more ...term) []term { return append(slices.Clip(list), more...) }
