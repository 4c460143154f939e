package netpol_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

func randomNamespacedPod(rnd *rand.Rand) *netpol.NamespacedPod {
	return &netpol.NamespacedPod{NamespaceSelector: *randomSelector(rnd), PodSelector: *randomSelector(rnd)}
}

func randomProtocols(rnd *rand.Rand, named bool) []netpol.ClusterProtocol {
	var out []netpol.ClusterProtocol
	for range rnd.IntN(3) {
		to := &netpol.DestinationPort{DestinationPort: &netpol.Port{Number: pick[int32](rnd, 53, 80, 8080, 9090)}}
		if rnd.IntN(2) == 0 {
			to.DestinationPort = &netpol.Port{Range: &netpol.PortRange{Start: pick[int32](rnd, 1, 80, 8000), End: pick[int32](rnd, 100, 9000)}}
			to.DestinationPort.Range.Start = min(to.DestinationPort.Range.Start, to.DestinationPort.Range.End-1)
		}
		p := pick(rnd, netpol.ClusterProtocol{TCP: to}, netpol.ClusterProtocol{UDP: to}, netpol.ClusterProtocol{SCTP: to}, netpol.ClusterProtocol{DestinationNamedPort: pick(rnd, "http", "dns")})
		if named || p.DestinationNamedPort == "" {
			out = append(out, p)
		}
	}
	return out
}

func randomAction(rnd *rand.Rand) netpol.ClusterAction {
	return pick(rnd, netpol.Accept, netpol.Deny, netpol.Pass)
}

func randomCluster(rnd *rand.Rand, i int) *netpol.ClusterNetworkPolicy {
	p := &netpol.ClusterNetworkPolicy{}
	p.Name = fmt.Sprint("c", i)
	p.Spec.Tier, p.Spec.Priority = pick(rnd, netpol.AdminTier, netpol.BaselineTier), pick[int32](rnd, 0, 1, 2, 1000)
	p.Spec.Subject.Namespaces = randomSelector(rnd)
	if rnd.IntN(2) == 0 {
		p.Spec.Subject = netpol.ClusterSubject{Pods: randomNamespacedPod(rnd)}
	}
	for range rnd.IntN(4) {
		r := netpol.ClusterIngressRule{Action: randomAction(rnd), Protocols: randomProtocols(rnd, true)}
		for range 1 + rnd.IntN(2) {
			r.From = append(r.From, pick(rnd, netpol.ClusterIngressPeer{Namespaces: randomSelector(rnd)}, netpol.ClusterIngressPeer{Pods: randomNamespacedPod(rnd)}))
		}
		p.Spec.Ingress = append(p.Spec.Ingress, r)
	}
	for range rnd.IntN(4) {
		r := netpol.ClusterEgressRule{Action: randomAction(rnd)}
		for range 1 + rnd.IntN(2) {
			r.To = append(r.To, pick(rnd, netpol.ClusterEgressPeer{Namespaces: randomSelector(rnd)}, netpol.ClusterEgressPeer{Pods: randomNamespacedPod(rnd)},
				netpol.ClusterEgressPeer{Nodes: randomNodeSelector(rnd)}, netpol.ClusterEgressPeer{Networks: []string{pick(rnd, "0.0.0.0/0", "10.0.0.0/16", "192.168.0.0/31"), "10.0.2.1/32"}}))
		}
		r.Protocols = randomProtocols(rnd, !slices.ContainsFunc(r.To, func(p netpol.ClusterEgressPeer) bool { return p.Nodes != nil || p.Networks != nil }))
		p.Spec.Egress = append(p.Spec.Egress, r)
	}
	return p
}

func TestClusterNetworkPolicyProperty(t *testing.T) {
	counts := map[bool]int{}
	var everything []string
	for _, m := range pods {
		everything = append(everything, m.ID)
	}
	for seed := range uint64(250) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var network []*networkingv1.NetworkPolicy
		for i := range rnd.IntN(3) {
			network = append(network, randomPolicy(rnd, i))
		}
		e := engine(t, network...)
		for _, n := range nodes {
			require.NoError(t, e.SetMember(n))
		}
		var cluster []*netpol.ClusterNetworkPolicy
		for i := range 1 + rnd.IntN(4) {
			cluster = append(cluster, randomCluster(rnd, i))
		}
		for _, i := range rnd.Perm(len(cluster)) {
			installCluster(t, e, cluster[i], netpol.Config{})
		}
		evaluator, program := policy.NewEvaluator(e.Objects()), e.Program(everything)
		ref := reference{t: t, pods: pods, nodes: nodes, network: network, cluster: cluster}
		for range 60 {
			k := randomPacket(rnd)
			want, got := ref.allowed(k), evaluator.Eval(k)
			counts[want]++
			require.Equal(t, want, got.Allowed(), "seed %d packet %+v: %s\ncluster %+v\nnetwork %+v", seed, k, got.Why, cluster, network)
			require.Equal(t, got, program.Eval(k), "seed %d packet %+v", seed, k)
			for _, v := range []*policy.Verdict{got.Egress, got.Ingress} {
				if v == nil {
					continue
				}
				dir, port := policy.Egress, k.SrcPort
				if v == got.Ingress {
					dir, port = policy.Ingress, k.DstPort
				}
				require.Equal(t, *v, program.Table(port).Lookup(dir, &k), "seed %d packet %+v", seed, k)
			}
		}
	}
	t.Log(counts)
	require.Greater(t, min(counts[true], counts[false]), 1500)
}
