package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A Part is a part of a rule that a packet has to fit.
type Part string

// Parts.
const (
	PartScope       Part = "applied-to"
	PartSource      Part = "source"
	PartDestination Part = "destination"
	PartService     Part = "service"
)

// A Consideration is a rule that was looked at for a packet at a port.
type Consideration struct {
	Port          string
	Direction     Direction
	Section, Rule string
	Name          string
	Action        Action
	// Misses are the parts that the packet does not fit; none: the rule is that
	// which decided, or which passed on.
	Misses []Part
}

// Close reports whether the packet fits the rule but for one part, and the
// rule is about the port.
func (c Consideration) Close() bool {
	own := PartSource
	if c.Direction == Ingress {
		own = PartDestination
	}
	return len(c.Misses) == 1 && c.Misses[0] != PartScope && c.Misses[0] != own
}

// String returns `rule "x" of section "y" ALLOW`, and what does not fit.
func (c Consideration) String() string {
	s := fmt.Sprintf("rule %q of section %q %s", c.Rule, c.Section, c.Action)
	if c.Name != "" {
		s += " (" + c.Name + ")"
	}
	if len(c.Misses) == 0 {
		return s
	}
	var parts []string
	for _, m := range c.Misses {
		parts = append(parts, string(m))
	}
	return s + ": another " + strings.Join(parts, ", ")
}

// An Explanation is a Decision with the rules that it took.
type Explanation struct {
	Packet   Packet
	Decision Decision
	// Considered are all rules that were looked at, in order.
	Considered []Consideration
}

// Explain decides like Eval, and tells how.
func (v *Evaluator) Explain(p Packet) Explanation {
	x := Explanation{Packet: p}
	x.Decision = v.eval(p, func(c Consideration) { x.Considered = append(x.Considered, c) })
	return x
}

// String tells in lines which rule decided at each port, and which came close.
func (x Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", x.Packet, x.Decision.Verdict)
	if x.Packet.toItself() {
		fmt.Fprintf(&b, "  %s: no rule is tried\n", x.Decision.Why)
		return strings.TrimSuffix(b.String(), "\n")
	}
	for _, end := range []struct {
		d    Direction
		port string
		v    *Verdict
	}{{Egress, x.Packet.SrcPort, x.Decision.Egress}, {Ingress, x.Packet.DstPort, x.Decision.Ingress}} {
		switch {
		case end.port == "":
			fmt.Fprintf(&b, "  %s: no port of ours\n", end.d)
		case end.v == nil:
			fmt.Fprintf(&b, "  %s at port %s: not tried\n", end.d, end.port)
		default:
			fmt.Fprintf(&b, "  %s at port %s: %s by %s\n", end.d, end.port, end.v.Action, end.v)
		}
		for _, c := range x.Considered {
			if c.Direction != end.d || c.Port != end.port {
				continue
			}
			switch {
			case c.Action == Pass && len(c.Misses) == 0:
				fmt.Fprintf(&b, "    passed on: %s\n", c)
			case c.Close():
				fmt.Fprintf(&b, "    came close: %s\n", c)
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// String returns "TCP 10.0.0.1:40000 -> 10.0.0.2:80".
func (p Packet) String() string {
	proto := Protocol(p.Proto)
	if proto.HasPorts() {
		return fmt.Sprintf("%s %s:%d -> %s:%d", proto, p.Src, p.SrcPortNo, p.Dst, p.DstPortNo)
	}
	if slices.Contains([]Protocol{ICMP, ICMPv6}, proto) {
		return fmt.Sprintf("%s %s -> %s type %d code %d", proto, p.Src, p.Dst, p.ICMPType, p.ICMPCode)
	}
	return fmt.Sprintf("protocol %s %s -> %s", proto, p.Src, p.Dst)
}
