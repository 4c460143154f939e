package netpol

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/policy"
)

// An UnsupportedError names what a ClusterNetworkPolicy asks for and cannot
// have: domainNames, and peers and protocols with no field that is known. The API wants
// such rules to fail closed, which they do: an Accept accepts nothing, a Deny or Pass
// denies everything in its direction.
type UnsupportedError struct {
	Policy string
	Fields []string // paths, such as spec.egress[0].to[1].domainNames
}

// Error names the policy and every field.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("netpol: %s %s: %s: not supported, the rule fails closed", ClusterKind, e.Policy, strings.Join(e.Fields, ", "))
}

// Unwrap returns [errors.ErrUnsupported].
func (e *UnsupportedError) Unwrap() error { return errors.ErrUnsupported }

// CompileCluster translates a policy. An [*UnsupportedError] comes with groups
// and sections, which are to be used; any other error comes alone.
func CompileCluster(p *ClusterNetworkPolicy, cfg Config) ([]policy.Group, []policy.Section, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, nil, err
	}
	if p == nil {
		return nil, nil, fmt.Errorf("netpol: no policy: %w", policy.ErrInvalid)
	}
	if err := ValidateCluster(p); err != nil {
		return nil, nil, err
	}
	c := clusterCompiler{tier: p.Spec.Tier}
	c.cfg, c.id, c.name = cfg, ClusterID(p, cfg), p.Name
	c.compile(p)
	if len(c.unsupported) > 0 {
		return c.groups, c.sections, &UnsupportedError{Policy: p.Name, Fields: c.unsupported}
	}
	return c.groups, c.sections, nil
}

// ClusterID returns the id of the section of a policy. The ids of its groups start
// with it and "-".
func ClusterID(p *ClusterNetworkPolicy, cfg Config) string { return cfg.id(p.UID, "cluster", p.Name) }

// A clusterPeer is a peer of either direction.
type clusterPeer struct {
	namespaces            *metav1.LabelSelector
	pods                  *NamespacedPod
	nodes                 *metav1.LabelSelector
	networks, domainNames []string
}

// fields returns how many things the peer is.
func (p *clusterPeer) fields() int {
	n := 0
	for _, set := range [...]bool{p.namespaces != nil, p.pods != nil, p.nodes != nil, p.networks != nil, p.domainNames != nil} {
		if set {
			n++
		}
	}
	return n
}

// A clusterRule is a rule of either direction.
type clusterRule struct {
	name       string
	action     ClusterAction
	peersField string
	peers      []clusterPeer
	protocols  []ClusterProtocol
	direction  policy.Direction
}

func (r *ClusterIngressRule) rule() clusterRule {
	out := clusterRule{name: r.Name, action: r.Action, peersField: "from", protocols: r.Protocols, direction: policy.Ingress}
	for _, p := range r.From {
		out.peers = append(out.peers, clusterPeer{namespaces: p.Namespaces, pods: p.Pods})
	}
	return out
}

func (r *ClusterEgressRule) rule() clusterRule {
	out := clusterRule{name: r.Name, action: r.Action, peersField: "to", protocols: r.Protocols, direction: policy.Egress}
	for _, p := range r.To {
		out.peers = append(out.peers, clusterPeer{p.Namespaces, p.Pods, p.Nodes, p.Networks, p.DomainNames})
	}
	return out
}

type clusterCompiler struct {
	builder
	tier        Tier
	unsupported []string
}

func (c *clusterCompiler) compile(p *ClusterNetworkPolicy) {
	subject := c.group("subject", policy.Group{Criteria: c.peer(&clusterPeer{namespaces: p.Spec.Subject.Namespaces, pods: p.Spec.Subject.Pods})})
	spec := path{name: "spec"}
	ingress, egress := spec.child("ingress"), spec.child("egress")
	for i := range p.Spec.Ingress {
		at := ingress.at(i)
		c.rule(c.numbered("ingress", i), p.Spec.Ingress[i].rule(), &at)
	}
	for i := range p.Spec.Egress {
		at := egress.at(i)
		c.rule(c.numbered("egress", i), p.Spec.Egress[i].rule(), &at)
	}
	if len(c.rules) == 0 {
		c.groups = nil
		return
	}
	s := policy.Section{ID: c.id, DisplayName: c.name, Tags: c.cfg.Tags, Category: policy.Baseline,
		Priority: c.cfg.BaselinePriority + int(p.Spec.Priority), AppliedTo: []string{subject}, Rules: c.rules}
	if c.tier == AdminTier {
		s.Category, s.Priority = c.cfg.AdminCategory, c.cfg.AdminPriority+int(p.Spec.Priority)
	}
	c.sections = []policy.Section{s}
}

// rule adds a rule, in the order of the policy.
func (c *clusterCompiler) rule(id string, r clusterRule, at *path) {
	out := policy.Rule{ID: id, DisplayName: c.name + " " + cmp.Or(r.name, id), Sequence: len(c.rules) + 1,
		Action: c.action(r.action), Direction: r.direction}
	if c.closed(r, at) {
		if r.action == Accept {
			return
		}
		out.Action = policy.Drop
		c.cfg.logs(&out)
		c.rules = append(c.rules, out)
		return
	}
	c.cfg.logs(&out)
	peers := &out.Sources
	if r.direction == policy.Egress {
		peers = &out.Destinations
	}
	for i := range r.peers {
		p := &r.peers[i]
		for _, s := range p.networks {
			*peers = append(*peers, prefix(s).String())
		}
		if p.networks != nil {
			continue
		}
		criteria := c.peer(p)
		group, ok := c.have(criteria)
		if !ok {
			group = c.group(c.numbered(id, i), policy.Group{Criteria: criteria})
		}
		*peers = append(*peers, group)
	}
	for i := range r.protocols {
		out.Services = append(out.Services, r.protocols[i].services()...)
	}
	c.rules = append(c.rules, out)
}

// action returns what an action is in the tier. After the Baseline tier comes
// what the Engine does by default.
func (c *clusterCompiler) action(a ClusterAction) policy.Action {
	switch {
	case a == Deny:
		return policy.Drop
	case a == Accept:
		return policy.Allow
	case c.tier == AdminTier:
		return policy.Pass
	case c.cfg.DefaultDrop:
		return policy.Drop
	}
	return policy.Allow
}

// closed notes what of a rule is not supported, and reports whether there is such.
func (c *clusterCompiler) closed(r clusterRule, at *path) bool {
	before := len(c.unsupported)
	peers, protocols := at.child(r.peersField), at.child("protocols")
	for i := range r.peers {
		at := peers.at(i)
		if r.peers[i].domainNames != nil {
			at := at.child("domainNames")
			c.unsupported = append(c.unsupported, at.field().String())
		} else if r.peers[i].fields() == 0 {
			c.unsupported = append(c.unsupported, at.field().String())
		}
	}
	for i := range r.protocols {
		if at := protocols.at(i); !r.protocols[i].known() {
			c.unsupported = append(c.unsupported, at.field().String())
		}
	}
	return len(c.unsupported) > before
}

// peer returns what selects a subject or a peer that is not networks.
func (c *clusterCompiler) peer(p *clusterPeer) policy.Expr {
	switch {
	case p.pods != nil:
		return c.selected(&p.pods.NamespaceSelector, &p.pods.PodSelector)
	case p.nodes != nil:
		return c.nodes(p.nodes)
	}
	return c.selected(p.namespaces, nil)
}

// nodes returns what selects nodes of the cluster.
func (b *builder) nodes(s *metav1.LabelSelector) policy.Expr {
	start := len(b.conds)
	b.when(policy.Condition{Subject: policy.OfMember, Key: policy.KeyKind, Operator: policy.Equals, Values: b.list(NodeKind)})
	b.inCluster(policy.OfMember)
	b.selector(s, policy.OfMember)
	return b.all(start)
}

// A numberedPort is a protocol with a number of its own.
type numberedPort struct {
	field    string
	protocol policy.Protocol
	to       *DestinationPort
}

func (p *ClusterProtocol) numbered() [3]numberedPort {
	return [...]numberedPort{{"tcp", policy.TCP, p.TCP}, {"udp", policy.UDP, p.UDP}, {"sctp", policy.SCTP, p.SCTP}}
}

func (p *ClusterProtocol) fields() int {
	n := 0
	for _, set := range [...]bool{p.TCP != nil, p.UDP != nil, p.SCTP != nil, p.DestinationNamedPort != ""} {
		if set {
			n++
		}
	}
	return n
}

// known reports whether the protocol says anything: a protocol that is not
// narrowed to a port may be narrowed by what is not known here.
func (p *ClusterProtocol) known() bool {
	for _, x := range p.numbered() {
		if x.to != nil {
			return x.to.DestinationPort != nil
		}
	}
	return p.DestinationNamedPort != ""
}

func (p *ClusterProtocol) services() []policy.Service {
	for _, x := range p.numbered() {
		if x.to == nil {
			continue
		}
		port := x.to.DestinationPort
		r := policy.Port(uint16(port.Number))
		if port.Range != nil {
			r = policy.PortRange{From: uint16(port.Range.Start), To: uint16(port.Range.End)}
		}
		return []policy.Service{{Protocol: x.protocol, Ports: []policy.PortRange{r}}}
	}
	name := p.DestinationNamedPort
	return []policy.Service{{Protocol: policy.TCP, NamedPort: name}, {Protocol: policy.UDP, NamedPort: name}, {Protocol: policy.SCTP, NamedPort: name}}
}
