package netpol

import (
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierloom/tierloom/policy"
)

// Validate reports all faults of a policy, as the API server would.
func Validate(np *networkingv1.NetworkPolicy) error {
	var all field.ErrorList
	meta, spec := field.NewPath("metadata"), field.NewPath("spec")
	if np.Name == "" {
		all = append(all, field.Required(meta.Child("name"), ""))
	}
	if np.Namespace == "" {
		all = append(all, field.Required(meta.Child("namespace"), ""))
	}
	all = append(all, checkSelector(&np.Spec.PodSelector, spec.Child("podSelector"))...)
	for i, r := range np.Spec.Ingress {
		at := spec.Child("ingress").Index(i)
		all = append(all, checkPorts(r.Ports, at.Child("ports"))...)
		all = append(all, checkPeers(r.From, at.Child("from"))...)
	}
	for i, r := range np.Spec.Egress {
		at := spec.Child("egress").Index(i)
		all = append(all, checkPorts(r.Ports, at.Child("ports"))...)
		all = append(all, checkPeers(r.To, at.Child("to"))...)
	}
	types := spec.Child("policyTypes")
	if n := len(np.Spec.PolicyTypes); n > 2 {
		all = append(all, field.Invalid(types, n, "at most two"))
	}
	for i, t := range np.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			all = append(all, field.NotSupported(types.Index(i), t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("netpol: policy %s/%s: %w: %w", np.Namespace, np.Name, policy.ErrInvalid, all.ToAggregate())
}

func checkSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)
}

func checkPeers(list []networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	var all field.ErrorList
	for i, p := range list {
		at := at.Index(i)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock == nil && !selects:
			all = append(all, field.Required(at, "must specify a peer"))
		case p.IPBlock != nil && selects:
			all = append(all, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
		if p.PodSelector != nil {
			all = append(all, checkSelector(p.PodSelector, at.Child("podSelector"))...)
		}
		if p.NamespaceSelector != nil {
			all = append(all, checkSelector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
		}
		if p.IPBlock != nil {
			all = append(all, checkBlock(p.IPBlock, at.Child("ipBlock"))...)
		}
	}
	return all
}

func checkBlock(b *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	cidr, fault := checkCIDR(b.CIDR, at.Child("cidr"))
	all := fault
	for i, s := range b.Except {
		at := at.Child("except").Index(i)
		x, fault := checkCIDR(s, at)
		all = append(all, fault...)
		if len(fault) == 0 && cidr.IsValid() && (x.Bits() <= cidr.Bits() || !cidr.Contains(x.Addr())) {
			all = append(all, field.Invalid(at, s, "must be a strict subset of cidr"))
		}
	}
	return all
}

func checkCIDR(s string, at *field.Path) (netip.Prefix, field.ErrorList) {
	if s == "" {
		return netip.Prefix{}, field.ErrorList{field.Required(at, "")}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, field.ErrorList{field.Invalid(at, s, "not a valid CIDR")}
	}
	return p.Masked(), nil
}

func checkPorts(list []networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var all field.ErrorList
	for i, p := range list {
		at := at.Index(i)
		if p.Protocol != nil {
			if _, ok := protocols[*p.Protocol]; !ok {
				all = append(all, field.NotSupported(at.Child("protocol"), *p.Protocol, []string{"SCTP", "TCP", "UDP"}))
			}
		}
		switch {
		case p.Port == nil && p.EndPort != nil:
			all = append(all, field.Required(at.Child("port"), "must be set with endPort"))
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			for _, msg := range validation.IsValidPortName(p.Port.StrVal) {
				all = append(all, field.Invalid(at.Child("port"), p.Port.StrVal, msg))
			}
			if p.EndPort != nil {
				all = append(all, field.Invalid(at.Child("endPort"), *p.EndPort, "may not be set with a named port"))
			}
		default:
			all = append(all, checkRange(p.Port.IntVal, p.EndPort, at)...)
		}
	}
	return all
}

func checkRange(port int32, end *int32, at *field.Path) field.ErrorList {
	var all field.ErrorList
	for _, msg := range validation.IsValidPortNum(int(port)) {
		all = append(all, field.Invalid(at.Child("port"), port, msg))
	}
	if end == nil {
		return all
	}
	for _, msg := range validation.IsValidPortNum(int(*end)) {
		all = append(all, field.Invalid(at.Child("endPort"), *end, msg))
	}
	if *end < port {
		all = append(all, field.Invalid(at.Child("endPort"), *end, "must be at least port"))
	}
	return all
}
