package netpol_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/policy"
)

func pick[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }

func randomSelector(rnd *rand.Rand) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	if rnd.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(rnd, "app", "stage"): pick(rnd, "web", "db", "development")}
	}
	for range rnd.IntN(2) {
		r := metav1.LabelSelectorRequirement{Key: pick(rnd, "app", "tier", "team", "stage"),
			Operator: pick(rnd, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = []string{pick(rnd, "web", "front", "a"), pick(rnd, "db", "production", "client")}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func randomPeers(rnd *rand.Rand) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range rnd.IntN(3) {
		p := networkingv1.NetworkPolicyPeer{}
		switch rnd.IntN(4) {
		case 0:
			p.PodSelector = randomSelector(rnd)
		case 1:
			p.NamespaceSelector = randomSelector(rnd)
		case 2:
			p.PodSelector, p.NamespaceSelector = randomSelector(rnd), randomSelector(rnd)
		case 3:
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(rnd, "0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24")}
			if rnd.IntN(2) == 0 {
				p.IPBlock.Except = []string{pick(rnd, "10.0.1.1/32", "10.0.1.2/31")}
			}
		}
		out = append(out, p)
	}
	return out
}

func randomPorts(rnd *rand.Rand) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range rnd.IntN(3) {
		p := networkingv1.NetworkPolicyPort{}
		if rnd.IntN(3) > 0 {
			proto := pick(rnd, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
			p.Protocol = &proto
		}
		switch rnd.IntN(4) {
		case 0:
			v := intstr.FromString(pick(rnd, "http", "dns"))
			p.Port = &v
		case 1, 2:
			v := intstr.FromInt32(pick[int32](rnd, 53, 8080, 9000))
			p.Port = &v
			if rnd.IntN(2) == 0 {
				end := v.IntVal + pick[int32](rnd, 0, 90)
				p.EndPort = &end
			}
		}
		out = append(out, p)
	}
	return out
}

func randomPolicy(rnd *rand.Rand, i int) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{}
	np.Namespace, np.Name = pick(rnd, "prod", "dev"), fmt.Sprintf("p%d", i)
	np.Spec.PodSelector = *randomSelector(rnd)
	in, out := networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	np.Spec.PolicyTypes = pick(rnd, nil, []networkingv1.PolicyType{in}, []networkingv1.PolicyType{out}, []networkingv1.PolicyType{in, out})
	for range rnd.IntN(3) {
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: randomPeers(rnd), Ports: randomPorts(rnd)})
	}
	for range rnd.IntN(3) {
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: randomPeers(rnd), Ports: randomPorts(rnd)})
	}
	return np
}

func randomNodeSelector(rnd *rand.Rand) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: pick(rnd, nil, map[string]string{"zone": "a"}, map[string]string{"zone": "b"})}
}

// randomPacket goes from one pod to another or to itself, or to or from
// elsewhere: a host outside, or a node.
func randomPacket(rnd *rand.Rand) policy.Packet {
	outside := []string{"10.0.9.9", "192.168.0.1", "192.168.0.2"}
	end := func(i int) (string, netip.Addr) {
		if i >= len(pods) {
			return "", netip.MustParseAddr(outside[i-len(pods)])
		}
		return pods[i].ID, pods[i].IPs[0]
	}
	k := policy.Packet{Proto: pick[uint8](rnd, 6, 6, 17, 132, 1), DstPortNo: pick[uint16](rnd, 53, 80, 8080, 8100, 9000, 9090)}
	k.SrcPort, k.Src = end(rnd.IntN(len(pods) + len(outside)))
	k.DstPort, k.Dst = end(rnd.IntN(len(pods) + len(outside)))
	return k
}

func TestNetworkPolicyProperty(t *testing.T) {
	counts := map[bool]int{}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		var policies []*networkingv1.NetworkPolicy
		for i := range 1 + rnd.IntN(4) {
			policies = append(policies, randomPolicy(rnd, i))
		}
		ref, e := reference{t: t, pods: pods, network: policies}, policy.NewEvaluator(engine(t, policies...).Objects())
		for range 100 {
			k := randomPacket(rnd)
			want, got := ref.allowed(k), e.Eval(k)
			counts[want]++
			require.Equal(t, want, got.Allowed(), "seed %d packet %+v: %s\npolicies %+v", seed, k, got.Why, policies)
		}
	}
	t.Log(counts)
	require.Greater(t, min(counts[true], counts[false]), 3000)
}
