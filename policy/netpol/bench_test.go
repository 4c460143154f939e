package netpol_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// What a policy costs before an Engine sees it. limit-ns is the most on a
// machine of 2 cores: 75,000 of these are a fifth of the time that a cluster of
// 100,000 pods may take from objects to rules.
func BenchmarkCompile(b *testing.B) {
	for _, c := range []struct {
		name, spec string
		limit      float64
	}{
		{"default-deny", `{podSelector: {}, policyTypes: [Ingress]}`, 1500},
		{"one-rule", `{podSelector: {matchLabels: {app: app-1}}, ingress: [{from: [{podSelector: {matchLabels: {app: app-1}}}]}]}`, 3000},
		{"namespace-and-port", `{podSelector: {matchLabels: {app: app-1}}, ingress: [{from: [{namespaceSelector: {matchLabels: {stage: a}}}], ports: [{port: 80}]}]}`, 4000},
		{"block", `{podSelector: {matchLabels: {app: app-1}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}`, 4000},
	} {
		np := parse(b, c.name, c.spec)
		np.UID = "6f1c8e0a-3f0e-4a53-9b6e-0d2f6f1f7a11"
		alone := func(np *networkingv1.NetworkPolicy) ([]policy.Group, []policy.Section, error) {
			return netpol.Compile(np, netpol.Config{})
		}
		many, err := netpol.NewCompiler(netpol.Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/alone/ours", func(b *testing.B) { benchmarkCompile(b, np, alone, c.limit) })
		b.Run(c.name+"/of-many/ours", func(b *testing.B) { benchmarkCompile(b, np, many.Compile, c.limit/2) })
	}
}

func benchmarkCompile(b *testing.B, np *networkingv1.NetworkPolicy, compile func(*networkingv1.NetworkPolicy) ([]policy.Group, []policy.Section, error), limit float64) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := compile(np); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(limit, "limit-ns")
}
