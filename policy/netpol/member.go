package netpol

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/policy"
)

// Kinds of members: [policy.Member.Kind].
const (
	PodKind  = "Pod"
	NodeKind = "Node"
)

// PodMember returns a pod as policies see it; false if it has no network of its
// own, because it has ended or is on its node's. Policies do not select
// such a pod, neither as theirs nor as a peer: what it sends comes from the node's
// address, which an ipBlock or networks may have.
//
// Labels are tags. One whose key is NodeScope or a scope of ClusterTags is
// left out: it would make the pod pass for another's.
func PodMember(pod *corev1.Pod, namespace *corev1.Namespace, cfg Config) (policy.Member, bool) {
	c := Compiler{compiler{builder: builder{cfg: cfg}}}
	return c.PodMember(pod, NamespaceTags(namespace, cfg))
}

// NamespaceTags returns what pods have of their namespace.
func NamespaceTags(namespace *corev1.Namespace, cfg Config) []policy.Tag {
	tags := cfg.labelTags(slices.Clip(cfg.ClusterTags), namespace.Labels)
	if _, ok := namespace.Labels[corev1.LabelMetadataName]; !ok {
		tags = append(tags, policy.Tag{Scope: corev1.LabelMetadataName, Tag: namespace.Name})
	}
	return tags
}

// PodMember returns what [PodMember] does, with the [NamespaceTags] of the pod's
// namespace. What is in it, but for strings, is valid until the next call.
func (c *Compiler) PodMember(pod *corev1.Pod, namespaceTags []policy.Tag) (policy.Member, bool) {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return policy.Member{}, false
	}
	// A pod is long, and mostly not in the cache of the CPU: all that is read of
	// it is read here, to be waited for once.
	b, ips, node := &c.c, pod.Status.PodIPs, pod.Spec.NodeName
	m := policy.Member{ID: b.cfg.podID(pod), Kind: PodKind, Namespace: b.cfg.namespace(pod.Namespace), NamespaceTags: namespaceTags, Ports: podPorts(pod)}
	b.tags = b.cfg.labelTags(b.tags[:0], pod.Labels)
	if node != "" {
		b.tags = append(b.tags, policy.Tag{Scope: b.cfg.nodeScope(), Tag: node})
	}
	b.ips = b.ips[:0]
	for i := range ips {
		b.ips = appendAddr(b.ips, ips[i].IP)
	}
	if len(ips) == 0 {
		b.ips = appendAddr(b.ips, pod.Status.PodIP)
	}
	m.Tags, m.IPs = b.tags, b.ips
	return m, true
}

// PodID returns the id of a pod's member.
func PodID(pod *corev1.Pod, cfg Config) string { return cfg.podID(pod) }

func (c *Config) podID(pod *corev1.Pod) string {
	return c.id(pod.UID, "pod", pod.Namespace, "/", pod.Name)
}

// podPorts are the named ports of a pod's containers, and of its init containers
// that stay. Where two have a name for the same protocol, the first has it.
func podPorts(pod *corev1.Pod) map[string]policy.NamedPort {
	var ports map[string]policy.NamedPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.Name == "" || p.ContainerPort < 1 || p.ContainerPort > 65535 {
				continue
			}
			if ports == nil {
				ports = map[string]policy.NamedPort{}
			}
			named := ports[p.Name]
			n := &named.TCP
			switch p.Protocol {
			case corev1.ProtocolUDP:
				n = &named.UDP
			case corev1.ProtocolSCTP:
				n = &named.SCTP
			}
			if *n == 0 {
				*n = uint16(p.ContainerPort)
			}
			ports[p.Name] = named
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if r := pod.Spec.InitContainers[i].RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
			add(&pod.Spec.InitContainers[i])
		}
	}
	return ports
}

// NodeMember returns a node as policies see it: its labels for tags, as those
// of a pod, with ClusterTags, and those of status.addresses that are IP addresses.
// It is a peer and no port of ours: no rule is tried at it.
func NodeMember(node *corev1.Node, cfg Config) policy.Member {
	m := policy.Member{ID: NodeID(node, cfg), Kind: NodeKind, Tags: cfg.labelTags(slices.Clip(cfg.ClusterTags), node.Labels)}
	for _, a := range node.Status.Addresses {
		m.IPs = appendAddr(m.IPs, a.Address)
	}
	return m
}

// NodeID returns the id of a node's member. The ids of what [CompileNode] makes
// start with it and "-".
func NodeID(node *corev1.Node, cfg Config) string { return cfg.id(node.UID, "node", node.Name) }

// labelTags appends labels as tags, in order.
func (c *Config) labelTags(tags []policy.Tag, labels map[string]string) []policy.Tag {
	n := len(tags)
	for k, v := range labels {
		if k != c.nodeScope() && !slices.ContainsFunc(c.ClusterTags, func(t policy.Tag) bool { return t.Scope == k }) {
			tags = append(tags, policy.Tag{Scope: k, Tag: v})
		}
	}
	slices.SortFunc(tags[n:], func(a, b policy.Tag) int { return cmp.Compare(a.Scope, b.Scope) })
	return tags
}

// appendAddr adds what is an address and not there yet.
func appendAddr(list []netip.Addr, s string) []netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || slices.Contains(list, a.Unmap()) {
		return list
	}
	return append(list, a.Unmap())
}
