package netpol_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// A reference decides straight from policies, as their documentation reads.
// Cluster-wide policies of one priority are in the order of their ids.
type reference struct {
	t           testing.TB
	pods, nodes []policy.Member
	network     []*networkingv1.NetworkPolicy
	cluster     []*netpol.ClusterNetworkPolicy
	selectors   map[*metav1.LabelSelector]k8slabels.Selector // read before
}

// allows reports whether NetworkPolicies let a packet pass at one end.
func (w *reference) allows(k policy.Packet, dir networkingv1.PolicyType) bool {
	id, peer := k.SrcPort, k.Dst
	if dir == networkingv1.PolicyTypeIngress {
		id, peer = k.DstPort, k.Src
	}
	self := w.byID(id)
	if self == nil {
		return true
	}
	isolated := false
	for _, np := range w.network {
		if !w.isolates(np, self, dir) {
			continue
		}
		isolated = true
		match := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) bool {
			return (len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return w.isPeer(np.Namespace, p, peer) })) &&
				(len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return w.isPort(p, k) }))
		}
		if dir == networkingv1.PolicyTypeIngress {
			if slices.ContainsFunc(np.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return match(r.From, r.Ports) }) {
				return true
			}
		} else if slices.ContainsFunc(np.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return match(r.To, r.Ports) }) {
			return true
		}
	}
	return !isolated
}

func (w *reference) byID(id string) *policy.Member {
	for i := range w.pods {
		if w.pods[i].ID == id {
			return &w.pods[i]
		}
	}
	return nil
}

func (w *reference) byIP(a netip.Addr) *policy.Member {
	for i := range w.pods {
		if slices.Contains(w.pods[i].IPs, a) {
			return &w.pods[i]
		}
	}
	return nil
}

// A tagSet is tags read as labels.
type tagSet []policy.Tag

func (s tagSet) Lookup(key string) (string, bool) {
	i := slices.IndexFunc(s, func(t policy.Tag) bool { return t.Scope == key })
	if i < 0 {
		return "", false
	}
	return s[i].Tag, true
}

func (s tagSet) Has(key string) bool {
	_, ok := s.Lookup(key)
	return ok
}

func (s tagSet) Get(key string) string {
	v, _ := s.Lookup(key)
	return v
}

func (w *reference) selects(s *metav1.LabelSelector, tags []policy.Tag) bool {
	sel := w.selectors[s]
	if sel == nil {
		var err error
		sel, err = metav1.LabelSelectorAsSelector(s)
		require.NoError(w.t, err)
		if w.selectors == nil {
			w.selectors = map[*metav1.LabelSelector]k8slabels.Selector{}
		}
		w.selectors[s] = sel
	}
	return sel.Matches(tagSet(tags))
}

func (w *reference) isPeer(ns string, p networkingv1.NetworkPolicyPeer, a netip.Addr) bool {
	if p.IPBlock != nil {
		in := func(s string) bool { return netip.MustParsePrefix(s).Contains(a) }
		return in(p.IPBlock.CIDR) && !slices.ContainsFunc(p.IPBlock.Except, in)
	}
	m := w.byIP(a)
	if m == nil || m.Namespace == "" {
		return false
	}
	if p.NamespaceSelector == nil && m.Namespace != ns || p.NamespaceSelector != nil && !w.selects(p.NamespaceSelector, m.NamespaceTags) {
		return false
	}
	return p.PodSelector == nil || w.selects(p.PodSelector, m.Tags)
}

func (w *reference) isPort(p networkingv1.NetworkPolicyPort, k policy.Packet) bool {
	proto := map[corev1.Protocol]uint8{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}
	want := uint8(6)
	if p.Protocol != nil {
		want = proto[*p.Protocol]
	}
	switch {
	case k.Proto != want:
		return false
	case p.Port == nil:
		return true
	case p.Port.Type == intstr.String:
		m := w.byIP(k.Dst)
		return m != nil && m.Ports[p.Port.StrVal].Number(policy.Protocol(k.Proto)) == k.DstPortNo && k.DstPortNo != 0
	case p.EndPort != nil:
		return int32(k.DstPortNo) >= p.Port.IntVal && int32(k.DstPortNo) <= *p.EndPort
	}
	return int32(k.DstPortNo) == p.Port.IntVal
}

// isolates reports whether a policy selects a pod in a direction.
func (w *reference) isolates(np *networkingv1.NetworkPolicy, self *policy.Member, dir networkingv1.PolicyType) bool {
	types := np.Spec.PolicyTypes
	if types == nil {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(np.Spec.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	return self.Namespace == np.Namespace && slices.Contains(types, dir) && w.selects(&np.Spec.PodSelector, self.Tags)
}

func (w *reference) isIsolated(id string, dir networkingv1.PolicyType) bool {
	self := w.byID(id)
	return slices.ContainsFunc(w.network, func(np *networkingv1.NetworkPolicy) bool { return w.isolates(np, self, dir) })
}

// isClusterPod reports whether a member is a pod that one of two selectors selects.
func (w *reference) isClusterPod(namespaces *metav1.LabelSelector, pods *netpol.NamespacedPod, m *policy.Member) bool {
	switch {
	case m == nil || m.Namespace == "":
		return false
	case namespaces != nil:
		return w.selects(namespaces, m.NamespaceTags)
	}
	return pods != nil && w.selects(&pods.NamespaceSelector, m.NamespaceTags) && w.selects(&pods.PodSelector, m.Tags)
}

// A tierDecision is what one tier says.
type tierDecision int

const (
	undecided tierDecision = iota
	accepted
	denied
)

// tier tries the policies of a tier in order, as their documentation reads.
func (w *reference) tier(which netpol.Tier, k policy.Packet, dir networkingv1.PolicyType) tierDecision {
	self, peer := w.byID(k.SrcPort), k.Dst
	if dir == networkingv1.PolicyTypeIngress {
		self, peer = w.byID(k.DstPort), k.Src
	}
	sorted := slices.Clone(w.cluster)
	slices.SortStableFunc(sorted, func(a, b *netpol.ClusterNetworkPolicy) int { return int(a.Spec.Priority - b.Spec.Priority) })
	for _, p := range sorted {
		if s := p.Spec.Subject; p.Spec.Tier != which || !w.isClusterPod(s.Namespaces, s.Pods, self) {
			continue
		}
		var action netpol.ClusterAction
		if dir == networkingv1.PolicyTypeIngress {
			for _, r := range p.Spec.Ingress {
				if action == "" && w.isProtocol(r.Protocols, k) && slices.ContainsFunc(r.From, func(x netpol.ClusterIngressPeer) bool { return w.isClusterPod(x.Namespaces, x.Pods, w.byIP(peer)) }) {
					action = r.Action
				}
			}
		} else {
			for _, r := range p.Spec.Egress {
				if action == "" && w.isProtocol(r.Protocols, k) && slices.ContainsFunc(r.To, func(x netpol.ClusterEgressPeer) bool { return w.isDestination(x, peer) }) {
					action = r.Action
				}
			}
		}
		switch action {
		case netpol.Accept:
			return accepted
		case netpol.Deny:
			return denied
		case netpol.Pass:
			return undecided
		}
	}
	return undecided
}

func (w *reference) isDestination(x netpol.ClusterEgressPeer, a netip.Addr) bool {
	in := func(s string) bool { return netip.MustParsePrefix(s).Contains(a) }
	isNode := func(n policy.Member) bool {
		return x.Nodes != nil && slices.Contains(n.IPs, a) && w.selects(x.Nodes, n.Tags)
	}
	return w.isClusterPod(x.Namespaces, x.Pods, w.byIP(a)) || slices.ContainsFunc(x.Networks, in) || slices.ContainsFunc(w.nodes, isNode)
}

func (w *reference) isProtocol(list []netpol.ClusterProtocol, k policy.Packet) bool {
	fits := func(p netpol.ClusterProtocol) bool {
		for proto, to := range map[uint8]*netpol.DestinationPort{6: p.TCP, 17: p.UDP, 132: p.SCTP} {
			if to == nil || proto != k.Proto {
				continue
			}
			if r := to.DestinationPort.Range; r != nil {
				return int32(k.DstPortNo) >= r.Start && int32(k.DstPortNo) <= r.End
			}
			return int32(k.DstPortNo) == to.DestinationPort.Number
		}
		m := w.byIP(k.Dst)
		return p.DestinationNamedPort != "" && m != nil && k.DstPortNo != 0 && m.Ports[p.DestinationNamedPort].Number(policy.Protocol(k.Proto)) == k.DstPortNo
	}
	return len(list) == 0 || slices.ContainsFunc(list, fits)
}

// allowed reports whether a packet passes at both ends. "A pod cannot block access to itself"
// (Kubernetes documentation, Network Policies).
func (w *reference) allowed(k policy.Packet) bool {
	if k.SrcPort != "" && k.SrcPort == k.DstPort {
		return true
	}
	for _, end := range []struct {
		dir networkingv1.PolicyType
		id  string
	}{{networkingv1.PolicyTypeEgress, k.SrcPort}, {networkingv1.PolicyTypeIngress, k.DstPort}} {
		if end.id == "" {
			continue
		}
		d := w.tier(netpol.AdminTier, k, end.dir)
		if d == undecided && w.isIsolated(end.id, end.dir) {
			if d = denied; w.allows(k, end.dir) {
				d = accepted
			}
		}
		if d == undecided {
			d = w.tier(netpol.BaselineTier, k, end.dir)
		}
		if d == denied {
			return false
		}
	}
	return true
}
