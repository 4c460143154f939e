// Package world makes small random firewalls for property tests: few
// addresses, ports and names, so that everything overlaps.
package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/tierloom/tierloom/policy"
)

// A World is objects to put into an Engine. Local are ids of members.
type World struct {
	Config   policy.Config
	Members  []policy.Member
	Groups   []policy.Group
	Sections []policy.Section
	Local    []string
}

// New returns a random world.
func New(rnd *rand.Rand) World {
	w := World{Config: policy.Config{Default: pick(rnd, policy.Allow, policy.Drop)}}
	for i := range 7 {
		w.Members = append(w.Members, member(rnd, i))
		if i < 4 {
			w.Local = append(w.Local, w.Members[i].ID)
		}
	}
	for i := range 5 {
		w.Groups = append(w.Groups, group(rnd, i))
	}
	for i := range 1 + rnd.IntN(5) {
		w.Sections = append(w.Sections, section(rnd, i))
	}
	return w
}

func pick[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }

func some[T any](rnd *rand.Rand, most int, make func() T) []T {
	var out []T
	for range rnd.IntN(most + 1) {
		out = append(out, make())
	}
	return out
}

func tag(rnd *rand.Rand) policy.Tag {
	return policy.Tag{Scope: pick(rnd, "app", "tier"), Tag: pick(rnd, "a", "b", "c")}
}

func member(rnd *rand.Rand, i int) policy.Member {
	m := policy.Member{ID: fmt.Sprintf("m%d", i), Kind: pick(rnd, "Pod", "VM", ""), Tags: some(rnd, 2, func() policy.Tag { return tag(rnd) })}
	if ns := pick(rnd, "red", "blue", ""); ns != "" {
		m.Namespace, m.NamespaceTags = ns, []policy.Tag{{Scope: "name", Tag: ns}, {Scope: "stage", Tag: "x"}}
	}
	m.IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}
	if rnd.IntN(2) == 0 {
		m.IPs = append(m.IPs, netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)}))
	}
	if rnd.IntN(2) == 0 {
		m.Ports = map[string]policy.NamedPort{"http": {TCP: pick[uint16](rnd, 80, 81), UDP: pick[uint16](rnd, 0, 80)}}
	}
	return m
}

func prefix(rnd *rand.Rand) netip.Prefix {
	if rnd.IntN(3) == 0 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rnd.IntN(10))}), 124+rnd.IntN(5)).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(10))}), 28+rnd.IntN(5)).Masked()
}

func expr(rnd *rand.Rand, depth int) policy.Expr {
	if depth > 0 && rnd.IntN(2) == 0 {
		list := []policy.Expr{expr(rnd, depth-1), expr(rnd, depth-1)}
		return pick(rnd, policy.And, policy.Or)(list...)
	}
	t := tag(rnd)
	return policy.When(pick(rnd,
		policy.Condition{Operator: policy.Equals, Scope: t.Scope, Values: []string{t.Tag}},
		policy.Condition{Operator: policy.In, Scope: t.Scope, Values: []string{"a", "b"}},
		policy.Condition{Operator: policy.NotIn, Scope: t.Scope, Values: []string{t.Tag}},
		policy.Condition{Operator: policy.Exists, Scope: t.Scope},
		policy.Condition{Operator: policy.NotExists, Scope: t.Scope},
		policy.Condition{Subject: policy.OfNamespace, Operator: policy.Equals, Scope: "name", Values: []string{pick(rnd, "red", "blue")}},
		policy.Condition{Subject: policy.OfNamespace, Operator: policy.NotIn, Scope: "name", Values: []string{"red"}},
		policy.Condition{Subject: policy.OfNamespace, Operator: policy.Exists, Scope: "stage"},
		policy.Condition{Subject: policy.OfNamespace, Key: policy.KeyName, Operator: policy.Exists},
		policy.Condition{Subject: policy.OfNamespace, Key: policy.KeyName, Operator: policy.Equals, Values: []string{"blue"}},
		policy.Condition{Key: policy.KeyKind, Operator: policy.In, Values: []string{"VM"}},
		policy.Condition{Key: policy.KeyName, Operator: policy.Equals, Values: []string{"m1"}},
	))
}

func group(rnd *rand.Rand, i int) policy.Group {
	g := policy.Group{ID: fmt.Sprintf("g%d", i)}
	if rnd.IntN(4) > 0 {
		g.Criteria = expr(rnd, 2)
	}
	if rnd.IntN(3) == 0 {
		g.IPs = some(rnd, 2, func() netip.Prefix { return prefix(rnd) })
		g.ExcludedIPs = some(rnd, 2, func() netip.Prefix { return prefix(rnd) })
	}
	if rnd.IntN(4) == 0 {
		g.Members = []string{fmt.Sprintf("m%d", rnd.IntN(9))}
	}
	if i > 0 && rnd.IntN(4) == 0 {
		g.Groups = some(rnd, 2, func() string { return fmt.Sprintf("g%d", rnd.IntN(i)) }) // earlier ones: no cycle
	}
	return g
}

// refs are mostly groups that exist, now and then g5, which does not.
func refs(rnd *rand.Rand) []string {
	return some(rnd, 2, func() string {
		if rnd.IntN(5) == 0 {
			return prefix(rnd).String()
		}
		return fmt.Sprintf("g%d", rnd.IntN(6))
	})
}

func scope(rnd *rand.Rand) []string {
	return some(rnd, 2, func() string { return fmt.Sprintf("g%d", rnd.IntN(6)) })
}

func service(rnd *rand.Rand) policy.Service {
	s := policy.Service{Protocol: pick(rnd, policy.TCP, policy.TCP, policy.UDP, policy.SCTP, policy.ICMP, policy.ICMPv6, 47)}
	switch {
	case s.Protocol.HasPorts():
		s.Ports = some(rnd, 3, func() policy.PortRange {
			from := pick[uint16](rnd, 1, 79, 80, 81, 443, 8000)
			return policy.PortRange{From: from, To: from + pick[uint16](rnd, 0, 0, 1, 7, 1000)}
		})
		if rnd.IntN(3) == 0 {
			s.NamedPort = "http"
		}
	case s.Protocol == policy.ICMP && rnd.IntN(2) == 0:
		t := uint8(8)
		s.ICMPType = &t
	}
	return s
}

func section(rnd *rand.Rand, i int) policy.Section {
	s := policy.Section{
		ID: fmt.Sprintf("s%d", i), Category: policy.Categories()[rnd.IntN(5)], Priority: rnd.IntN(2), AppliedTo: scope(rnd),
	}
	for j := range 1 + rnd.IntN(4) {
		r := policy.Rule{
			ID: fmt.Sprintf("r%d", j), Sequence: rnd.IntN(2), Sources: refs(rnd), Destinations: refs(rnd),
			Services: some(rnd, 2, func() policy.Service { return service(rnd) }),
			Action:   pick(rnd, policy.Allow, policy.Drop, policy.Allow, policy.Drop, policy.Reject, policy.Pass), Direction: policy.Direction(rnd.IntN(3)),
		}
		r.SourcesExcluded = len(r.Sources) > 0 && rnd.IntN(4) == 0
		r.DestinationsExcluded = len(r.Destinations) > 0 && rnd.IntN(4) == 0
		if r.Action == policy.Pass && s.Category.Rank() >= policy.Application.Rank() {
			r.Action = policy.Allow
		}
		if rnd.IntN(3) == 0 {
			r.AppliedTo = scope(rnd)
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

// Engine puts the world into an Engine, in random order, with detours: objects
// come in another shape first, and some that do not belong come and go.
func (w World) Engine(rnd *rand.Rand) (*policy.Engine, error) {
	e := policy.NewEngine(w.Config)
	var first, steps []func() error
	detour := rnd.IntN(2) == 0
	for _, m := range w.Members {
		steps = append(steps, func() error { return e.SetMember(m) })
		if detour {
			other := member(rnd, rnd.IntN(7))
			other.ID = m.ID
			first = append(first, func() error { return e.SetMember(other) })
		}
	}
	for i, g := range w.Groups {
		steps = append(steps, func() error { return e.SetGroup(g) })
		if detour {
			other := group(rnd, i)
			first = append(first, func() error { return e.SetGroup(other) })
		}
	}
	for i, s := range w.Sections {
		steps = append(steps, func() error { return e.SetSection(s) })
		if detour {
			other := section(rnd, i)
			first = append(first, func() error { return e.SetSection(other) })
		}
	}
	if detour {
		m, g, s := member(rnd, 8), group(rnd, 8), section(rnd, 8)
		first = append(first, func() error { return e.SetMember(m) }, func() error { return e.SetGroup(g) }, func() error { return e.SetSection(s) })
		steps = append(steps, func() error { e.DeleteMember(m.ID); return nil }, func() error { e.DeleteGroup(g.ID); return nil },
			func() error { e.DeleteSection(s.ID); return nil })
	}
	for _, list := range [][]func() error{first, steps} {
		rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, step := range list {
			if err := step(); err != nil {
				return nil, err
			}
			if rnd.IntN(4) == 0 {
				e.Program(w.Local) // what it remembers must not outlive changes
			}
		}
	}
	return e, nil
}

// Packet returns a packet between two members, or a member and elsewhere, with
// one address family.
func (w World) Packet(rnd *rand.Rand) policy.Packet {
	for {
		p := traffic(rnd)
		p.SrcPort, p.Src = w.end(rnd)
		p.DstPort, p.Dst = w.end(rnd)
		if p.Src.Is4() == p.Dst.Is4() && p.SrcPort != p.DstPort && fits(&p, p.Src.Is4()) {
			return p
		}
	}
}

// Traffic returns a packet of an address family that has no ends yet.
func Traffic(rnd *rand.Rand, v4 bool) policy.Packet {
	for {
		if p := traffic(rnd); fits(&p, v4) {
			return p
		}
	}
}

func traffic(rnd *rand.Rand) policy.Packet {
	return policy.Packet{
		Proto: uint8(pick(rnd, policy.TCP, policy.TCP, policy.UDP, policy.SCTP, policy.ICMP, policy.ICMPv6, 47)),
		// Ports around those of services.
		SrcPortNo: 40000, DstPortNo: pick[uint16](rnd, 0, 1, 79, 80, 81, 82, 443, 1443, 8000, 8007, 8008, 9000, 65535), ICMPType: pick[uint8](rnd, 0, 8),
	}
}

// fits reports whether a family has the packet's protocol, of which it mends the ICMP type.
func fits(p *policy.Packet, v4 bool) bool {
	proto := policy.Protocol(p.Proto)
	if proto == policy.ICMPv6 {
		p.ICMPType += 120 // echo request is 128
	}
	return !(proto == policy.ICMP && !v4 || proto == policy.ICMPv6 && v4)
}

func (w World) end(rnd *rand.Rand) (string, netip.Addr) {
	if rnd.IntN(6) == 0 {
		p := prefix(rnd)
		return "", p.Addr()
	}
	m := w.Members[rnd.IntN(len(w.Members))]
	return m.ID, pick(rnd, m.IPs...)
}
