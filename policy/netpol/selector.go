package netpol

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/policy"
)

var operators = map[metav1.LabelSelectorOperator]policy.Operator{
	metav1.LabelSelectorOpIn:           policy.In,
	metav1.LabelSelectorOpNotIn:        policy.NotIn,
	metav1.LabelSelectorOpExists:       policy.Exists,
	metav1.LabelSelectorOpDoesNotExist: policy.NotExists,
}

// selector returns the conditions of a selector that has been validated.
func selector(s *metav1.LabelSelector, of policy.Subject) []policy.Expr {
	var out []policy.Expr
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		out = append(out, policy.When(policy.Condition{Subject: of, Operator: policy.Equals, Scope: k, Values: []string{s.MatchLabels[k]}}))
	}
	for _, r := range s.MatchExpressions {
		c := policy.Condition{Subject: of, Operator: operators[r.Operator], Scope: r.Key}
		if c.Operator == policy.In || c.Operator == policy.NotIn {
			c.Values = slices.Compact(slices.Sorted(slices.Values(r.Values)))
		}
		out = append(out, policy.When(c))
	}
	return out
}

var protocols = map[corev1.Protocol]policy.Protocol{
	corev1.ProtocolTCP: policy.TCP, corev1.ProtocolUDP: policy.UDP, corev1.ProtocolSCTP: policy.SCTP,
}

// services returns what ports that have been validated mean; none is any.
func services(ports []networkingv1.NetworkPolicyPort) []policy.Service {
	var out []policy.Service
	for _, p := range ports {
		s := policy.Service{Protocol: policy.TCP}
		if p.Protocol != nil {
			s.Protocol = protocols[*p.Protocol]
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
			s.Ports = []policy.PortRange{r}
		}
		out = append(out, s)
	}
	return out
}

// prefix reads a CIDR that has been validated.
func prefix(s string) netip.Prefix {
	p, _ := netip.ParsePrefix(s)
	return p.Masked()
}
