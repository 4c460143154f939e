package kube

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/lb"
)

// defaultAffinity is the timeout of ClientIP affinity that the API server fills in.
const defaultAffinity = 3 * time.Hour

// ID returns the lb.Service ID of a namespace and name.
func ID(namespace, name string) string { return namespace + "/" + name }

// ServiceFrom reads a service: cluster IPs, load-balancer and external IPs,
// ports, traffic policies, affinity. Load-balancer addresses with ipMode Proxy
// are left out: packets to them reach the cluster by way of the balancer.
func ServiceFrom(s *corev1.Service) (lb.Service, error) {
	out := lb.Service{ID: ID(s.Namespace, s.Name), Namespace: s.Namespace, Name: s.Name}
	var faults []error
	addr := func(field, text string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("kube: service %s: %s: %w", out.ID, field, err))
		}
		return a, err == nil
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		vips := s.Spec.ClusterIPs
		if len(vips) == 0 && s.Spec.ClusterIP != "" {
			vips = []string{s.Spec.ClusterIP}
		}
		for i, text := range vips {
			if text == corev1.ClusterIPNone {
				continue
			}
			if a, ok := addr(fmt.Sprintf("spec.clusterIPs[%d]", i), text); ok {
				out.VIPs = append(out.VIPs, a)
			}
		}
		seen := map[netip.Addr]bool{} // one address may be both external and a load balancer's
		external := func(field, text string) {
			if a, ok := addr(field, text); ok && !seen[a] {
				seen[a] = true
				out.External = append(out.External, a)
			}
		}
		for i, text := range s.Spec.ExternalIPs {
			external(fmt.Sprintf("spec.externalIPs[%d]", i), text)
		}
		for i, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" && (in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeProxy) {
				external(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), in.IP)
			}
		}
	}
	for i, p := range s.Spec.Ports {
		proto, err := protocol(p.Protocol)
		if err == nil && (p.Port < 1 || p.Port > 65535) {
			err = fmt.Errorf("port %d is not in 1..65535", p.Port)
		}
		if err == nil && (p.NodePort < 0 || p.NodePort > 65535) {
			err = fmt.Errorf("nodePort %d is not in 0..65535", p.NodePort)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("kube: service %s: spec.ports[%d]: %w", out.ID, i, err))
			continue
		}
		out.Ports = append(out.Ports, lb.ServicePort{Name: p.Name, Protocol: proto, Port: uint16(p.Port), NodePort: uint16(p.NodePort)})
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = defaultAffinity
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if p := s.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		out.InternalPolicy = lb.Local
	}
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		out.ExternalPolicy = lb.Local
	}
	return out, errors.Join(faults...)
}

// protocol returns the IANA number of a protocol; empty means TCP, as in the API.
func protocol(p corev1.Protocol) (uint8, error) {
	switch p {
	case corev1.ProtocolTCP, "":
		return lb.TCP, nil
	case corev1.ProtocolUDP:
		return lb.UDP, nil
	case corev1.ProtocolSCTP:
		return lb.SCTP, nil
	}
	return 0, fmt.Errorf("protocol %q is none of TCP, UDP, SCTP: %w", p, lb.ErrInvalid)
}
