package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Packet is the first of a connection, at the ports that it passes.
type Packet struct {
	// SrcPort and DstPort are the ids of the ports it leaves and reaches,
	// empty where that end is none of ours. If they are one port, it passes none.
	SrcPort, DstPort     string
	Src, Dst             netip.Addr
	Proto                uint8 // IANA protocol number
	SrcPortNo, DstPortNo uint16
	ICMPType, ICMPCode   uint8
}

// A Verdict is what was decided at one port.
type Verdict struct {
	Action Action
	// Section and Rule are what decided; empty is the default.
	Section, Rule string
	// Name is the rule's display name, or its section's.
	Name string
}

// A Decision is what becomes of a packet. The zero Decision drops.
type Decision struct {
	// Verdict is Allow if both ports let the packet pass, else what the first
	// to refuse does.
	Verdict Action
	// Egress and Ingress are the verdicts at either port; nil where there is
	// none, or where the packet did not come to it.
	Egress, Ingress *Verdict
	// Why is a sentence.
	Why string
}

// Allowed reports whether the packet passes.
func (d Decision) Allowed() bool { return d.Verdict == Allow }

// Eval decides by the objects alone, see [Evaluator]. To ask often of the same
// state, take [Engine.Objects] once.
func (e *Engine) Eval(p Packet) Decision { return NewEvaluator(e.Objects()).Eval(p) }

// Matches reports whether a packet is of a service without a named port. ICMP is
// of IPv4 and ICMPv6 of IPv6 only.
func (s Service) Matches(p Packet) bool {
	switch {
	case s.Protocol == 0:
		return true
	case Protocol(p.Proto) != s.Protocol, s.NamedPort != "" && len(s.Ports) == 0:
		return false
	case s.Protocol == ICMP && !p.Dst.Is4(), s.Protocol == ICMPv6 && p.Dst.Is4():
		return false
	case s.ICMPType != nil && *s.ICMPType != p.ICMPType, s.ICMPCode != nil && *s.ICMPCode != p.ICMPCode:
		return false
	}
	return len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, func(r PortRange) bool { return r.Contains(p.DstPortNo) })
}

// Eval decides about a packet at the program's ports, which the caller names;
// an empty id is a port elsewhere.
func (p *Program) Eval(k Packet) Decision {
	return decide(k, func(d Direction, port string) *Verdict {
		own, peer := k.Src, k.Dst
		if d == Ingress {
			own, peer = k.Dst, k.Src
		}
		from := 0
		for _, r := range p.Rules {
			if r.Direction != d || r.Order.Category.Rank() < from || !r.matches(p, port, own, peer, k) {
				continue
			}
			if r.Action == Pass {
				from = Application.Rank()
				continue
			}
			return &Verdict{Action: r.Action, Section: r.Section, Rule: r.Rule, Name: r.Name}
		}
		return &Verdict{Action: p.Default}
	})
}

func (r *ProgramRule) matches(p *Program, port string, own, peer netip.Addr, k Packet) bool {
	return (r.AppliedTo == nil || slices.Contains(r.AppliedTo, port)) &&
		(r.Local == nil || slices.Contains(r.Local, hostPrefix(own))) &&
		(r.Peers == nil || containsAddr(p.Addresses(r.Peers), peer)) &&
		(r.Services == nil || slices.ContainsFunc(r.Services, func(s Service) bool { return s.Matches(k) }))
}

// toItself reports whether a packet goes from a port to the same one.
func (p Packet) toItself() bool { return p.SrcPort != "" && p.SrcPort == p.DstPort }

// decide asks for the verdict at each port in turn.
func decide(p Packet, at func(Direction, string) *Verdict) Decision {
	if p.toItself() {
		return Decision{Verdict: Allow, Why: fmt.Sprintf("port %s to itself", p.SrcPort)}
	}
	d := Decision{Verdict: Allow, Why: "no port of ours"}
	for _, end := range []struct {
		d    Direction
		port string
		v    **Verdict
	}{{Egress, p.SrcPort, &d.Egress}, {Ingress, p.DstPort, &d.Ingress}} {
		if end.port == "" {
			continue
		}
		v := at(end.d, end.port)
		if v == nil {
			d.Verdict, d.Why = Drop, fmt.Sprintf("port %s is not known", end.port)
			return d
		}
		*end.v, d.Verdict = v, v.Action
		d.Why = fmt.Sprintf("%s at port %s: %s by %s", end.d, end.port, v.Action, v)
		if v.Action != Allow {
			return d
		}
	}
	return d
}

// String returns `rule "x" of section "y"`, or "default".
func (v Verdict) String() string {
	if v.Section == "" {
		return "default"
	}
	return fmt.Sprintf("rule %q of section %q", v.Rule, v.Section)
}
