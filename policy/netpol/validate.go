package netpol

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Validate reports all faults of a policy, as the API server would. It does
// not allocate where there are none.
func Validate(np *networkingv1.NetworkPolicy) error { return validate(np, faults{}) }

func validate(np *networkingv1.NetworkPolicy, f faults) error {
	meta, spec := path{name: "metadata"}, path{name: "spec"}
	if np.Name == "" {
		at := meta.child("name")
		f.required(&at, "")
	}
	if np.Namespace == "" {
		at := meta.child("namespace")
		f.required(&at, "")
	}
	pods, ingress, egress, types := spec.child("podSelector"), spec.child("ingress"), spec.child("egress"), spec.child("policyTypes")
	f.selector(&np.Spec.PodSelector, &pods)
	for i := range np.Spec.Ingress {
		r, at := &np.Spec.Ingress[i], ingress.at(i)
		ports, from := at.child("ports"), at.child("from")
		f.portList(r.Ports, &ports)
		f.peers(r.From, &from)
	}
	for i := range np.Spec.Egress {
		r, at := &np.Spec.Egress[i], egress.at(i)
		ports, to := at.child("ports"), at.child("to")
		f.portList(r.Ports, &ports)
		f.peers(r.To, &to)
	}
	if n := len(np.Spec.PolicyTypes); n > 2 {
		f.number(&types, n, "at most two")
	}
	for i, t := range np.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			at := types.at(i)
			f.notOneOf(&at, string(t), string(networkingv1.PolicyTypeIngress), string(networkingv1.PolicyTypeEgress))
		}
	}
	return f.err("policy", np.Namespace, np.Name)
}

func (f *faults) peers(list []networkingv1.NetworkPolicyPeer, parent *path) {
	for i := range list {
		p, at := &list[i], parent.at(i)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock == nil && !selects:
			f.required(&at, "must specify a peer")
		case p.IPBlock != nil && selects:
			f.forbidden(&at, "may not specify both ipBlock and another peer")
		}
		if p.PodSelector != nil {
			at := at.child("podSelector")
			f.selector(p.PodSelector, &at)
		}
		if p.NamespaceSelector != nil {
			at := at.child("namespaceSelector")
			f.selector(p.NamespaceSelector, &at)
		}
		if p.IPBlock != nil {
			at := at.child("ipBlock")
			f.block(p.IPBlock, &at)
		}
	}
}

func (f *faults) block(b *networkingv1.IPBlock, at *path) {
	atCIDR, except := at.child("cidr"), at.child("except")
	cidr, ok := f.cidr(b.CIDR, &atCIDR)
	for i, s := range b.Except {
		at := except.at(i)
		x, fine := f.cidr(s, &at)
		if ok && fine && (x.Bits() <= cidr.Bits() || !cidr.Contains(x.Addr())) {
			f.text(&at, s, "must be a strict subset of cidr")
		}
	}
}

func (f *faults) cidr(s string, at *path) (netip.Prefix, bool) {
	if s == "" {
		f.required(at, "")
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		f.text(at, s, "not a valid CIDR")
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

func (f *faults) portList(list []networkingv1.NetworkPolicyPort, parent *path) {
	for i := range list {
		p, at := &list[i], parent.at(i)
		port, end := at.child("port"), at.child("endPort")
		if p.Protocol != nil && protocol(*p.Protocol) == 0 {
			at := at.child("protocol")
			f.notOneOf(&at, string(*p.Protocol), "SCTP", "TCP", "UDP")
		}
		switch {
		case p.Port == nil && p.EndPort != nil:
			f.required(&port, "must be set with endPort")
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			for _, msg := range validation.IsValidPortName(p.Port.StrVal) {
				f.text(&port, p.Port.StrVal, msg)
			}
			if p.EndPort != nil {
				f.number(&end, int(*p.EndPort), "may not be set with a named port")
			}
		default:
			f.portRange(p.Port.IntVal, p.EndPort, &port, &end)
		}
	}
}

func (f *faults) portRange(from int32, to *int32, port, end *path) {
	f.portNumber(from, port)
	if to == nil {
		return
	}
	f.portNumber(*to, end)
	if *to < from {
		f.number(end, int(*to), "must be at least port")
	}
}

func (f *faults) portNumber(n int32, at *path) {
	if n < 1 || n > 65535 {
		f.number(at, int(n), "must be between 1 and 65535, inclusive")
	}
}
