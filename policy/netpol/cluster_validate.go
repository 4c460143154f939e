package netpol

import (
	"regexp"
	"slices"
)

// Limits of a ClusterNetworkPolicy.
const (
	maxClusterItems    = 25 // rules of a direction, peers, protocols, networks, domain names
	maxClusterPriority = 1000
	maxRuleName        = 100
	maxNetwork         = 43 // bytes of a CIDR
)

// ValidateCluster reports all faults of a policy, as the API server would. A
// peer or protocol without any field is none: see [UnsupportedError].
func ValidateCluster(p *ClusterNetworkPolicy) error {
	f, spec := faults{}, path{name: "spec"}
	if p.Name == "" {
		meta := path{name: "metadata"}
		at := meta.child("name")
		f.required(&at, "")
	}
	if t := p.Spec.Tier; t != AdminTier && t != BaselineTier {
		at := spec.child("tier")
		f.notOneOf(&at, string(t), string(AdminTier), string(BaselineTier))
	}
	if n := p.Spec.Priority; n < 0 || n > maxClusterPriority {
		at := spec.child("priority")
		f.number(&at, int(n), "must be between 0 and 1000, inclusive")
	}
	subject, ingress, egress := spec.child("subject"), spec.child("ingress"), spec.child("egress")
	f.podPeer(clusterPeer{namespaces: p.Spec.Subject.Namespaces, pods: p.Spec.Subject.Pods}, &subject)
	if p.Spec.Subject.Namespaces == nil && p.Spec.Subject.Pods == nil {
		f.required(&subject, "must specify namespaces or pods")
	}
	f.atMost(len(p.Spec.Ingress), &ingress)
	f.atMost(len(p.Spec.Egress), &egress)
	for i := range p.Spec.Ingress {
		at := ingress.at(i)
		f.clusterRule(p.Spec.Ingress[i].rule(), &at)
	}
	for i := range p.Spec.Egress {
		at := egress.at(i)
		f.clusterRule(p.Spec.Egress[i].rule(), &at)
	}
	return f.err(ClusterKind, "", p.Name)
}

func (f *faults) atMost(n int, at *path) {
	if n > maxClusterItems {
		f.number(at, n, "at most 25 items")
	}
}

// some wants 1 to 25 items.
func (f *faults) some(n int, at *path) {
	if n == 0 {
		f.required(at, "at least one item")
	}
	f.atMost(n, at)
}

func (f *faults) clusterRule(r clusterRule, at *path) {
	if n := len(r.name); n > maxRuleName {
		at := at.child("name")
		f.number(&at, n, "at most 100 bytes")
	}
	switch r.action {
	case Accept, Deny, Pass:
	default:
		at := at.child("action")
		f.notOneOf(&at, string(r.action), string(Accept), string(Deny), string(Pass))
	}
	peers, protocols := at.child(r.peersField), at.child("protocols")
	f.some(len(r.peers), &peers)
	for i, p := range r.peers {
		at := peers.at(i)
		f.podPeer(p, &at)
		f.networks(p, &at)
		f.domainNames(p, r.action, &at)
	}
	if r.protocols != nil {
		f.some(len(r.protocols), &protocols)
	}
	podsOnly := !slices.ContainsFunc(r.peers, func(p clusterPeer) bool { return p.nodes != nil || p.networks != nil || p.domainNames != nil })
	for i := range r.protocols {
		p, at := &r.protocols[i], protocols.at(i)
		f.clusterProtocol(p, &at)
		if p.DestinationNamedPort != "" && !podsOnly {
			at := at.child("destinationNamedPort")
			f.forbidden(&at, "may not be set with a peer that is nodes, networks or domainNames")
		}
	}
}

// podPeer reports faults of what selects, and two things in one peer.
func (f *faults) podPeer(p clusterPeer, at *path) {
	if p.fields() > 1 {
		f.forbidden(at, "may not specify more than one field")
	}
	if p.namespaces != nil {
		at := at.child("namespaces")
		f.selector(p.namespaces, &at)
	}
	if p.pods != nil {
		at := at.child("pods")
		namespaces, pods := at.child("namespaceSelector"), at.child("podSelector")
		f.selector(&p.pods.NamespaceSelector, &namespaces)
		f.selector(&p.pods.PodSelector, &pods)
	}
	if p.nodes != nil {
		at := at.child("nodes")
		f.selector(p.nodes, &at)
	}
}

func (f *faults) networks(p clusterPeer, at *path) {
	if p.networks == nil {
		return
	}
	list := at.child("networks")
	f.some(len(p.networks), &list)
	for i, s := range p.networks {
		at := list.at(i)
		if len(s) > maxNetwork {
			f.text(&at, s, "at most 43 bytes")
			continue
		}
		f.cidr(s, &at)
		if slices.Contains(p.networks[:i], s) {
			f.text(&at, s, "is in the list before")
		}
	}
}

// A domain name, perhaps with a first label of "*" for one or more.
var domainName = regexp.MustCompile(`^(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$`)

func (f *faults) domainNames(p clusterPeer, action ClusterAction, at *path) {
	if p.domainNames == nil {
		return
	}
	list := at.child("domainNames")
	f.some(len(p.domainNames), &list)
	if action != Accept {
		f.forbidden(&list, "only with action Accept")
	}
	for i, s := range p.domainNames {
		at := list.at(i)
		if !domainName.MatchString(s) {
			f.text(&at, s, "not a domain name")
		}
		if slices.Contains(p.domainNames[:i], s) {
			f.text(&at, s, "is in the list before")
		}
	}
}

func (f *faults) clusterProtocol(p *ClusterProtocol, at *path) {
	if p.fields() > 1 {
		f.forbidden(at, "may not specify more than one field")
	}
	for _, x := range p.numbered() {
		if x.to == nil || x.to.DestinationPort == nil {
			continue
		}
		at := at.child(x.field)
		port := at.child("destinationPort")
		f.clusterPort(x.to.DestinationPort, &port)
	}
}

func (f *faults) clusterPort(p *Port, at *path) {
	number, ports := at.child("number"), at.child("range")
	switch {
	case p.Number != 0 && p.Range != nil:
		f.forbidden(at, "may not specify both number and range")
	case p.Range == nil:
		f.portNumber(p.Number, &number)
		return
	}
	start, end := ports.child("start"), ports.child("end")
	f.portNumber(p.Range.Start, &start)
	f.portNumber(p.Range.End, &end)
	if p.Range.Start >= p.Range.End {
		f.number(&end, int(p.Range.End), "must be greater than start")
	}
}
