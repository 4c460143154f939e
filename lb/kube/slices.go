package kube

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/lb"
)

// ManagedBy is the value of the managed-by label of slices from SlicesFor.
const ManagedBy = "tierloom"

// maxEndpoints is how many endpoints a slice holds, as with the Kubernetes controller.
const maxEndpoints = 100

// SlicesFor derives the EndpointSlices of a service from its selector: what
// the endpoint controller of Kubernetes does, for clusters without one. pods
// may be those of all namespaces. A pod counts when its labels match, it has an
// address in status.podIPs of one of the service's families, and it has not
// come to its end. It is ready by its Ready condition, unless it terminates; with
// publishNotReadyAddresses, always. A target port given by name is resolved in
// each pod, so pods may give it different numbers; a pod without it does not
// serve that port.
//
// The result is sorted and deterministic, and nil for a service without a
// selector or of type ExternalName.
func SlicesFor(svc *corev1.Service, pods []*corev1.Pod) ([]*discoveryv1.EndpointSlice, error) {
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	type group struct {
		family discoveryv1.AddressType
		ports  string // canonical text of the resolved ports
	}
	groups := map[group][]discoveryv1.Endpoint{}
	ports := map[string][]discoveryv1.EndpointPort{}
	var faults []error
	for _, pod := range pods {
		if pod.Namespace != svc.Namespace || !selector.Matches(labels.Set(pod.Labels)) ||
			pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		addrs, err := podAddrs(pod)
		if err != nil {
			faults = append(faults, err)
		}
		resolved := targetPorts(svc, pod)
		text := portsText(resolved)
		ports[text] = resolved
		for _, addr := range addrs {
			if family := familyOf(addr); serves(svc, family) {
				g := group{family, text}
				groups[g] = append(groups[g], endpoint(svc, pod, addr))
			}
		}
	}
	var out []*discoveryv1.EndpointSlice
	for g, endpoints := range groups {
		slices.SortFunc(endpoints, func(a, b discoveryv1.Endpoint) int {
			return cmp.Or(cmp.Compare(a.Addresses[0], b.Addresses[0]), cmp.Compare(a.TargetRef.Name, b.TargetRef.Name))
		})
		for n := 0; len(endpoints) > 0; n++ {
			count := min(maxEndpoints, len(endpoints))
			out = append(out, slice(svc, g.family, g.ports, n, ports[g.ports], endpoints[:count:count]))
			endpoints = endpoints[count:]
		}
	}
	slices.SortFunc(out, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return out, errors.Join(faults...)
}

// slice makes the nth slice of a family and set of ports, with a name that
// depends on these alone.
func slice(svc *corev1.Service, family discoveryv1.AddressType, text string, n int, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s|%s|%d", family, text, n)
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace,
			Name:      fmt.Sprintf("%s-%s-%08x", svc.Name, strings.ToLower(string(family)), h.Sum32()),
			Labels:    map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: ManagedBy},
		},
		AddressType: family, Endpoints: endpoints, Ports: ports,
	}
}

// endpoint is one pod's address, with the pod's conditions.
func endpoint(svc *corev1.Service, pod *corev1.Pod, addr netip.Addr) discoveryv1.Endpoint {
	serving := svc.Spec.PublishNotReadyAddresses
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			serving = true
		}
	}
	terminating := pod.DeletionTimestamp != nil
	ready := serving && (!terminating || svc.Spec.PublishNotReadyAddresses)
	e := discoveryv1.Endpoint{
		Addresses:  []string{addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		node := pod.Spec.NodeName
		e.NodeName = &node
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		host := pod.Spec.Hostname
		e.Hostname = &host
	}
	return e
}

// podAddrs returns the addresses of a pod, each family's first.
func podAddrs(pod *corev1.Pod) ([]netip.Addr, error) {
	list := pod.Status.PodIPs
	if len(list) == 0 && pod.Status.PodIP != "" {
		list = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	var out []netip.Addr
	seen := map[bool]bool{}
	for i, p := range list {
		addr, err := netip.ParseAddr(p.IP)
		if err != nil {
			return nil, fmt.Errorf("kube: pod %s/%s: status.podIPs[%d]: %w", pod.Namespace, pod.Name, i, err)
		}
		if !seen[addr.Is4()] {
			seen[addr.Is4()] = true
			out = append(out, addr)
		}
	}
	return out, nil
}

// targetPorts resolves a service's target ports in a pod.
func targetPorts(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, p := range svc.Spec.Ports {
		proto := p.Protocol
		if proto == "" {
			proto = corev1.ProtocolTCP
		}
		number, ok := p.TargetPort.IntVal, true
		switch {
		case p.TargetPort.Type == intstr.String:
			number, ok = namedPort(pod, p.TargetPort.StrVal, proto)
		case number == 0:
			number = p.Port
		}
		if ok {
			name := p.Name
			out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &proto, Port: &number, AppProtocol: p.AppProtocol})
		}
	}
	return out
}

// namedPort finds a container's port by name and protocol, sidecars among the
// init containers included.
func namedPort(pod *corev1.Pod, name string, proto corev1.Protocol) (int32, bool) {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == name && cmp.Or(p.Protocol, corev1.ProtocolTCP) == proto {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

func portsText(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%d;", *p.Name, *p.Protocol, *p.Port)
	}
	return b.String()
}

func familyOf(a netip.Addr) discoveryv1.AddressType {
	if a.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

// serves reports whether a service has a family. One that does not say, as a
// manifest that no API server completed, has the families of its cluster IPs,
// or, without any, both.
func serves(svc *corev1.Service, family discoveryv1.AddressType) bool {
	if len(svc.Spec.IPFamilies) > 0 {
		return slices.Contains(svc.Spec.IPFamilies, corev1.IPFamily(family))
	}
	s, _ := ServiceFrom(svc)
	return len(s.VIPs) == 0 || slices.ContainsFunc(s.VIPs, func(a netip.Addr) bool { return familyOf(a) == family })
}

// Endpoints is EndpointsFrom of SlicesFor: the endpoints of a service straight from pods.
func Endpoints(svc *corev1.Service, pods []*corev1.Pod) ([]lb.Endpoint, error) {
	list, err := SlicesFor(svc, pods)
	out, err2 := EndpointsFrom(list)
	return out, errors.Join(err, err2)
}
