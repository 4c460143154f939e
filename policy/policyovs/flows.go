package policyovs

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// Flows compiles all stages, as [Compiler.Flows] returns them.
func Flows(prog *policy.Program, ports []Port, l Layout) ([]ovs.Flow, error) {
	if prog == nil {
		prog = &policy.Program{}
	}
	for i := 1; i < len(prog.Rules); i++ {
		if r, last := prog.Rules[i], prog.Rules[i-1]; r.Direction == last.Direction && last.Compare(r) > 0 {
			return nil, fmt.Errorf("policyovs: rule %q: it comes after %q, to which it is prior: %w", r.ID, last.ID, ErrInvalid)
		}
	}
	c, err := NewCompiler(l)
	if err != nil {
		return nil, err
	}
	if _, err = c.Apply(policy.Diff(nil, prog), PortChange{Set: ports}); err != nil {
		return nil, err
	}
	return c.Flows(), nil
}

// Priorities outside the bands of rules.
const (
	prioReply   uint16 = 64900
	prioDefault uint16 = 1000
	prioPort    uint16 = 100
	prioMiss    uint16 = 0
)

// EtherTypes.
const (
	ethIPv4 = 0x0800
	ethARP  = 0x0806
	ethIPv6 = 0x86dd
)

// families are their EtherTypes.
var families = [...]uint16{ethIPv4, ethIPv6}

// A stage is one end: where a packet leaves a port, or reaches one.
type stage struct {
	dir                            policy.Direction
	ct, sets, rules, verdict, next uint8
	reg                            int // holds the key of the port
	passed                         uint32
	ownAddr, farAddr               func(netip.Prefix) ovs.FieldMatch
}

func (l Layout) egress() stage {
	return stage{dir: policy.Egress, ct: l.EgressCT, sets: l.EgressSets, rules: l.EgressRules, verdict: l.EgressVerdict, next: l.L2, reg: l.Source, passed: 1, ownAddr: ovs.IPSrc, farAddr: ovs.IPDst}
}

func (l Layout) ingress() stage {
	return stage{dir: policy.Ingress, ct: l.IngressCT, sets: l.IngressSets, rules: l.IngressRules, verdict: l.IngressVerdict, next: l.Output, reg: l.Dest, passed: 2, ownAddr: ovs.IPDst, farAddr: ovs.IPSrc}
}

// A compiler collects flows that are not of rules.
type compiler struct {
	l     Layout
	def   policy.Action
	flows []ovs.Flow
}

// common is what the stages have without any port.
func (c *compiler) common() {
	c.add(c.l.Spoofguard, prioMiss, FeatureStage, "", nil)
	for _, s := range []stage{c.l.egress(), c.l.ingress()} {
		c.add(s.ct, prioMiss, FeatureStage, "", nil)
		for _, eth := range families {
			c.replies(s, eth)
			c.verdicts(s, eth)
			c.add(s.sets, prioReply, FeatureStage, "", match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTRel, 0)), ovs.Goto(s.next))
		}
		c.add(s.sets, prioMiss, FeatureStage, "", nil, ovs.Goto(s.rules))
		c.add(s.rules, prioMiss, FeatureStage, "", nil)
		c.add(s.verdict, prioMiss, FeatureStage, "", nil)
	}
}

// port is what the stages have for a port.
func (c *compiler) port(p Port) {
	c.spoofguard(p)
	c.tracking(c.l.egress(), p)
	c.tracking(c.l.ingress(), p)
}

// tracking is the -ct stage of a port, and what becomes of packets that no rule
// matches. The registers of classes are empty when packets come to a -sets stage.
func (c *compiler) tracking(s stage, p Port) {
	zone := ovs.RegField(c.l.Zone).Bits(0, 16)
	track := append(c.l.empty(), ovs.SetField(ovs.RegMasked(c.l.Scratch, 0, s.passed)), ovs.CT(ovs.CTOptions{ZoneField: &zone, HasTable: true, Table: s.sets}))
	key := ovs.Reg(s.reg, p.Key)
	for _, eth := range families {
		c.add(s.ct, prioPort, FeatureStage, p.ID, match(key, ovs.EthType(eth)), track...)
	}
	c.add(s.rules, prioDefault, FeatureStage, p.ID, match(key), c.defaults(s)...)
	c.add(s.ct, prioPort, FeatureStage, p.ID, match(key, ovs.EthType(ethARP)), ovs.Goto(s.next))
	if !slices.ContainsFunc(p.IPs, netip.Addr.Is6) {
		return
	}
	for t := range neighborDiscovery {
		c.add(s.ct, prioPort+1, FeatureStage, p.ID, match(key, ovs.EthType(ethIPv6), ovs.ICMPv6Type(uint8(routerSolicitation+t))), ovs.Goto(s.next))
	}
}

// empty clears the registers of classes, four at once where they are one field.
func (l Layout) empty() []ovs.Action {
	var out []ovs.Action
	for r, end := l.Class, l.Class+l.Classes; r < end; {
		if r%4 == 0 && r+4 <= end {
			out = append(out, ovs.SetField(ovs.NewFieldMatch(ovs.FieldXXReg0+ovs.Field(r/4), make([]byte, 16), nil)))
			r += 4
			continue
		}
		out = append(out, ovs.SetField(ovs.Reg(r, 0)))
		r++
	}
	return out
}

func (c *compiler) add(table uint8, prio uint16, feature uint8, object string, m []ovs.FieldMatch, actions ...ovs.Action) {
	c.flows = append(c.flows, ovs.Flow{Table: table, Priority: prio, Cookie: c.l.cookie(feature, object), Match: ovs.NewMatch(m...), Actions: actions})
}

func match(m ...ovs.FieldMatch) []ovs.FieldMatch { return m }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
