package netpol

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/policy"
)

// Compile translates a policy. For many, a [Compiler] takes less time.
func Compile(np *networkingv1.NetworkPolicy, cfg Config) ([]policy.Group, []policy.Section, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, nil, err
	}
	c := compiler{builder: builder{cfg: cfg}}
	return c.compile(np)
}

// A Compiler translates one NetworkPolicy or pod after another in memory that it
// uses again. Make one with [NewCompiler]; it is for one goroutine at a time.
type Compiler struct{ c compiler }

// NewCompiler returns a Compiler, or what does not fit in the Config.
func NewCompiler(cfg Config) (*Compiler, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	return &Compiler{compiler{builder: builder{cfg: cfg}}}, nil
}

// Compile translates a policy. What it returns, but for strings, is valid until
// the next call; a [policy.Engine] copies what it is given.
func (c *Compiler) Compile(np *networkingv1.NetworkPolicy) ([]policy.Group, []policy.Section, error) {
	return c.c.compile(np)
}

// ID returns the id of the section that has what a policy allows. The ids of
// all its other objects start with it and "-".
func ID(np *networkingv1.NetworkPolicy, cfg Config) string {
	if np.UID != "" {
		return cfg.IDPrefix + string(np.UID)
	}
	return cfg.IDPrefix + np.Namespace + "." + np.Name
}

// PolicyTypes returns the directions that a policy isolates pods in.
func PolicyTypes(np *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(np.Spec.PolicyTypes) > 0 {
		return np.Spec.PolicyTypes
	}
	if len(np.Spec.Egress) > 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
}

// isolates reports in which directions a policy isolates pods.
func isolates(spec *networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	for _, t := range spec.PolicyTypes {
		ingress = ingress || t == networkingv1.PolicyTypeIngress
		egress = egress || t == networkingv1.PolicyTypeEgress
	}
	return ingress, egress
}

type compiler struct {
	builder
	namespace string
	prefixes  []netip.Prefix
	services  []policy.Service
	ports     []policy.PortRange
}

func (c *compiler) compile(np *networkingv1.NetworkPolicy) ([]policy.Group, []policy.Section, error) {
	if np == nil {
		return nil, nil, fmt.Errorf("netpol: no policy: %w", policy.ErrInvalid)
	}
	if validate(np, faults{noLabels: true}) != nil {
		return nil, nil, Validate(np)
	}
	spec := &np.Spec
	ingress, egress := isolates(spec)
	c.namespace = c.cfg.namespace(np.Namespace)
	c.begin(ID(np, c.cfg), np.Namespace, np.Name, c.size(spec, ingress, egress))
	c.prefixes, c.services, c.ports = c.prefixes[:0], c.services[:0], c.ports[:0]
	scope := c.list(c.group("pods", policy.Group{Criteria: c.pods(c.namespace, &spec.PodSelector)}))
	if ingress {
		for i := range spec.Ingress {
			r := &spec.Ingress[i]
			id := c.numbered("ingress", i)
			c.allow(policy.Rule{ID: id, Direction: policy.Ingress, Sources: c.peers(id, r.From), Services: c.portServices(r.Ports)})
		}
	}
	if egress {
		for i := range spec.Egress {
			r := &spec.Egress[i]
			id := c.numbered("egress", i)
			c.allow(policy.Rule{ID: id, Direction: policy.Egress, Destinations: c.peers(id, r.To), Services: c.portServices(r.Ports)})
		}
	}
	n := len(c.rules)
	if n > 0 {
		c.section(c.id, c.cfg.AllowPriority, scope, c.rules[:n:n])
	}
	if ingress {
		c.isolate("ingress", policy.Ingress)
	}
	if egress {
		c.isolate("egress", policy.Egress)
	}
	c.section(c.join(c.id, "-isolation"), c.cfg.IsolationPriority, scope, c.rules[n:])
	if c.odd {
		if err := Validate(np); err != nil {
			return nil, nil, err
		}
	}
	return c.groups, c.sections, nil
}

// size counts what a policy needs.
func (c *compiler) size(spec *networkingv1.NetworkPolicySpec, ingress, egress bool) size {
	var n size
	n.selector(&c.cfg, &spec.PodSelector)
	count := func(peers []networkingv1.NetworkPolicyPeer) {
		n.rules++
		for i := range peers {
			n.selector(&c.cfg, peers[i].NamespaceSelector, peers[i].PodSelector)
		}
	}
	if ingress {
		n.rules++
		for i := range spec.Ingress {
			count(spec.Ingress[i].From)
		}
	}
	if egress {
		n.rules++
		for i := range spec.Egress {
			count(spec.Egress[i].To)
		}
	}
	return n
}

func (c *compiler) section(id string, priority int, scope []string, rules []policy.Rule) {
	c.sections = append(c.sections, policy.Section{ID: id, DisplayName: c.name, Tags: c.cfg.Tags, Category: c.cfg.Category,
		Priority: priority, AppliedTo: scope, Rules: rules})
}

// allow adds a rule that allows. The order of such rules makes no difference:
// one sequence number makes them peers.
func (c *compiler) allow(r policy.Rule) {
	r.DisplayName, r.Sequence, r.Action = c.join(c.name, " ", r.ID), 1, policy.Allow
	c.cfg.logs(&r)
	c.rules = append(c.rules, r)
}

func (c *compiler) isolate(id string, d policy.Direction) {
	r := policy.Rule{ID: id, DisplayName: c.join(c.name, " isolation ", id), Sequence: 1, Action: policy.Drop, Direction: d}
	c.cfg.logs(&r)
	c.rules = append(c.rules, r)
}

// peers returns the groups of a rule's peers; none is any.
func (c *compiler) peers(rule string, list []networkingv1.NetworkPolicyPeer) []string {
	var buf [8]string
	ids := buf[:0]
	for i := range list {
		p := &list[i]
		var g policy.Group
		switch {
		case p.IPBlock != nil:
			g.IPs, g.ExcludedIPs = c.block(p.IPBlock)
		case p.NamespaceSelector == nil:
			g.Criteria = c.pods(c.namespace, p.PodSelector)
		default:
			g.Criteria = c.selected(p.NamespaceSelector, p.PodSelector)
		}
		id, ok := c.have(g.Criteria)
		if !ok {
			id = c.group(c.numbered(rule, i), g)
		}
		ids = append(ids, id)
	}
	return c.copied(ids)
}

func (c *compiler) block(b *networkingv1.IPBlock) (cidr, except []netip.Prefix) {
	start := len(c.prefixes)
	c.prefixes = append(c.prefixes, prefix(b.CIDR))
	for _, x := range b.Except {
		c.prefixes = append(c.prefixes, prefix(x))
	}
	n := len(c.prefixes)
	if cidr = c.prefixes[start : start+1 : start+1]; n == start+1 {
		return cidr, nil
	}
	return cidr, c.prefixes[start+1 : n : n]
}

// portServices returns what ports that have been validated mean; none is any.
func (c *compiler) portServices(ports []networkingv1.NetworkPolicyPort) []policy.Service {
	if len(ports) == 0 {
		return nil
	}
	start := len(c.services)
	for i := range ports {
		p, s := &ports[i], policy.Service{Protocol: policy.TCP}
		if p.Protocol != nil {
			s.Protocol = protocol(*p.Protocol)
		}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			s.NamedPort = p.Port.StrVal
		default:
			r := policy.Port(uint16(p.Port.IntVal))
			if p.EndPort != nil {
				r.To = uint16(*p.EndPort)
			}
			n := len(c.ports)
			c.ports = append(c.ports, r)
			s.Ports = c.ports[n : n+1 : n+1]
		}
		c.services = append(c.services, s)
	}
	n := len(c.services)
	return c.services[start:n:n]
}

// protocol returns the number of a protocol, 0 if it is none that has ports.
func protocol(p corev1.Protocol) policy.Protocol {
	switch p {
	case corev1.ProtocolTCP:
		return policy.TCP
	case corev1.ProtocolUDP:
		return policy.UDP
	case corev1.ProtocolSCTP:
		return policy.SCTP
	}
	return 0
}
