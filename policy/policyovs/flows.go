package policyovs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// A Port is a port of the bridge, one of those that the program is for.
type Port struct {
	ID  string
	Key uint32 // 1 to 65535, also its ct zone
	MAC ovs.MAC
	IPs []netip.Addr
}

// Flows compiles the stages spoofguard, egress-ct, egress-rules, ingress-ct and
// ingress-rules, sorted by table, priority (highest first) and text.
func Flows(prog *policy.Program, ports []Port, l Layout) ([]ovs.Flow, error) {
	if prog == nil {
		prog = &policy.Program{}
	}
	c := &compiler{l: l, prog: prog, ports: slices.Clone(ports), keys: map[string]uint32{}}
	slices.SortFunc(c.ports, func(a, b Port) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	if err := errors.Join(l.Validate(), c.check()); err != nil {
		return nil, err
	}
	for _, p := range c.ports {
		c.keys[p.ID] = p.Key
		c.spoofguard(p)
	}
	c.add(l.Spoofguard, prioMiss, FeatureStage, "", nil)
	for _, s := range []stage{c.egress(), c.ingress()} {
		c.tracking(s)
		if err := c.rules(s); err != nil {
			return nil, err
		}
	}
	return c.sorted(), nil
}

// Priorities outside the bands of rules.
const (
	prioInvalid uint16 = 65000
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

type compiler struct {
	l     Layout
	prog  *policy.Program
	ports []Port // by key
	keys  map[string]uint32
	flows []ovs.Flow
}

// A stage is one end: where a packet leaves a port, or reaches one.
type stage struct {
	dir              policy.Direction
	ct, rules, next  uint8
	reg              int // holds the key of the port
	passed           uint32
	ownAddr, farAddr func(netip.Prefix) ovs.FieldMatch
}

func (c *compiler) egress() stage {
	return stage{dir: policy.Egress, ct: c.l.EgressCT, rules: c.l.EgressRules, next: c.l.L2, reg: c.l.Source, passed: 1, ownAddr: ovs.IPSrc, farAddr: ovs.IPDst}
}

func (c *compiler) ingress() stage {
	return stage{dir: policy.Ingress, ct: c.l.IngressCT, rules: c.l.IngressRules, next: c.l.Output, reg: c.l.Dest, passed: 2, ownAddr: ovs.IPDst, farAddr: ovs.IPSrc}
}

// tracking is the -ct stage and what comes before and after the rules.
func (c *compiler) tracking(s stage) {
	zone := ovs.RegField(c.l.Zone).Bits(0, 16)
	track := ovs.CT(ovs.CTOptions{ZoneField: &zone, HasTable: true, Table: s.rules})
	for _, p := range c.ports {
		key := ovs.Reg(s.reg, p.Key)
		for _, eth := range []uint16{ethIPv4, ethIPv6} {
			c.add(s.ct, prioPort, FeatureStage, p.ID, match(key, ovs.EthType(eth)), track)
			if c.prog.Default == policy.Allow {
				c.add(s.rules, prioDefault, FeatureStage, p.ID, match(key, ovs.EthType(eth)), c.allow(s)...)
			}
		}
		c.add(s.ct, prioPort, FeatureStage, p.ID, match(key, ovs.EthType(ethARP)), ovs.Goto(s.next))
		for t := range neighborDiscovery {
			if !slices.ContainsFunc(p.IPs, netip.Addr.Is6) {
				break
			}
			c.add(s.ct, prioPort+1, FeatureStage, p.ID, match(key, ovs.EthType(ethIPv6), ovs.ICMPv6Type(uint8(routerSolicitation+t))), ovs.Goto(s.next))
		}
		if c.prog.Default != policy.Allow {
			c.add(s.rules, prioDefault, FeatureStage, p.ID, match(key))
		}
	}
	c.add(s.ct, prioMiss, FeatureStage, "", nil)
	for _, eth := range []uint16{ethIPv4, ethIPv6} {
		c.add(s.rules, prioInvalid, FeatureStage, "", match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTInv, 0)))
		c.add(s.rules, prioReply, FeatureStage, "", match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTEst|ovs.CTRpl, 0)), ovs.Goto(s.next))
		c.add(s.rules, prioReply, FeatureStage, "", match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTRel, 0)), ovs.Goto(s.next))
	}
	c.add(s.rules, prioMiss, FeatureStage, "", nil)
}

// allow commits the connection in the port's zone and goes on.
func (c *compiler) allow(s stage) []ovs.Action {
	zone := ovs.RegField(c.l.Zone).Bits(0, 16)
	return []ovs.Action{ovs.CT(ovs.CTOptions{Commit: true, ZoneField: &zone}), ovs.Goto(s.next)}
}

func (c *compiler) add(table uint8, prio uint16, feature uint8, object string, m []ovs.FieldMatch, actions ...ovs.Action) {
	c.flows = append(c.flows, ovs.Flow{Table: table, Priority: prio, Cookie: c.l.cookie(feature, object), Match: ovs.NewMatch(m...), Actions: actions})
}

func match(m ...ovs.FieldMatch) []ovs.FieldMatch { return m }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func (c *compiler) sorted() []ovs.Flow {
	type keyed struct {
		flow ovs.Flow
		text string
	}
	list := make([]keyed, len(c.flows))
	for i, f := range c.flows {
		list[i] = keyed{f, f.Match.String()}
	}
	slices.SortFunc(list, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.flow.Table, b.flow.Table), cmp.Compare(b.flow.Priority, a.flow.Priority), cmp.Compare(a.text, b.text))
	})
	out := make([]ovs.Flow, len(list))
	for i, k := range list {
		out[i] = k.flow
	}
	return out
}

// check reports all faults of the input.
func (c *compiler) check() error {
	var errs []error
	fault := func(what, format string, args ...any) {
		errs = append(errs, fmt.Errorf("policyovs: %s: %s: %w", what, fmt.Sprintf(format, args...), ErrInvalid))
	}
	ids, keys := map[string]bool{}, map[uint32]string{}
	for _, p := range c.ports {
		what := fmt.Sprintf("port %q", p.ID)
		if p.ID == "" || ids[p.ID] {
			fault(what, "its id is empty or there twice")
		}
		if p.Key < 1 || p.Key > 0xffff {
			fault(what, "key %d is not in 1..65535", p.Key)
		} else if other, ok := keys[p.Key]; ok {
			fault(what, "key %d is that of port %q", p.Key, other)
		}
		ids[p.ID], keys[p.Key] = true, p.ID
		if p.MAC == (ovs.MAC{}) || p.MAC[0]&1 != 0 {
			fault(what, "%s is not the MAC address of a port", p.MAC)
		}
		for i, a := range p.IPs {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
				fault(what, "ips[%d]: %s is not the address of a port", i, a)
			}
		}
	}
	if d := c.prog.Default; d != policy.Allow && d != policy.Drop {
		fault("program", "default %s", d)
	}
	rules := map[string]bool{}
	for _, r := range c.prog.Rules {
		what := fmt.Sprintf("rule %q", r.ID)
		if r.ID == "" || rules[r.ID] {
			fault(what, "its id is empty or there twice")
		}
		rules[r.ID] = true
		if r.Direction != policy.Ingress && r.Direction != policy.Egress {
			fault(what, "direction %s", r.Direction)
		}
		if r.Action > policy.Pass {
			fault(what, "action %s", r.Action)
		}
		rank := r.Order.Category.Rank()
		if rank < 0 || r.Action == policy.Pass && rank >= policy.Application.Rank() {
			fault(what, "action %s in category %q", r.Action, r.Order.Category)
		}
		for i, s := range r.Services {
			if s.NamedPort != "" || len(s.Ports) > 0 && !s.Protocol.HasPorts() {
				fault(what, "services[%d]: ports of %s by number only", i, s.Protocol)
			}
		}
	}
	return errors.Join(errs...)
}
