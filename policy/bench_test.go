package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

// pod is the nth of pods in namespaces of 100, with an app of its own choice.
func pod(n, app int, stage string) policy.Member {
	ns := fmt.Sprint("ns-", n/100)
	return policy.Member{
		ID: fmt.Sprint("pod-", n), Kind: "Pod", Namespace: ns,
		Tags:          []policy.Tag{{Scope: "app", Tag: fmt.Sprint("app-", app)}, {Scope: "tier", Tag: fmt.Sprint("tier-", app%5)}},
		NamespaceTags: []policy.Tag{{Scope: "name", Tag: ns}, {Scope: "stage", Tag: stage}},
		IPs:           []netip.Addr{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})},
	}
}

func stage(ns int) string { return fmt.Sprint("stage-", ns%10) }

// group is the nth of groups of ten kinds: by app, in a namespace or in those
// of a stage, by several values, and by what a pod lacks.
func group(n int) policy.Group {
	app := policy.TagEquals("app", fmt.Sprint("app-", n%1000))
	in := policy.InNamespace(fmt.Sprint("ns-", n%1000))
	var x policy.Expr
	switch n % 10 {
	case 0:
		x = app
	case 1:
		x = in
	case 2:
		x = policy.And(policy.NamespaceTagEquals("stage", stage(n/10)), app)
	case 3:
		x = policy.And(in, policy.When(policy.Condition{Operator: policy.In, Scope: "tier", Values: []string{"tier-1", "tier-2"}}))
	case 4:
		x = policy.And(in, policy.When(policy.Condition{Operator: policy.NotIn, Scope: "app", Values: []string{"app-1"}}))
	default:
		x = policy.And(in, policy.TagEquals("app", fmt.Sprint("app-", n/10%1000)))
	}
	return policy.Group{ID: fmt.Sprint("group-", n), Criteria: x}
}

// fill gives an engine pods and groups.
func fill(tb testing.TB, e *policy.Engine, pods, groups int) {
	for n := range pods {
		require.NoError(tb, e.SetMember(pod(n, n%1000, stage(n/100))))
	}
	for n := range groups {
		require.NoError(tb, e.SetGroup(group(n)))
	}
}

// BenchmarkIndex finds the members of 10,000 groups among 100,000 pods.
func BenchmarkIndex(b *testing.B) {
	pods, groups := make([]policy.Member, 100000), make([]policy.Group, 10000)
	for n := range pods {
		pods[n] = pod(n, n%1000, stage(n/100))
	}
	for n := range groups {
		groups[n] = group(n)
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e := policy.NewEngine(policy.Config{})
			for _, m := range pods {
				if err := e.SetMember(m); err != nil {
					b.Fatal(err)
				}
			}
			for _, g := range groups {
				if err := e.SetGroup(g); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(0.25e9, "limit-ns")
	})
}

// BenchmarkRelabel changes labels among 10,000 groups: of a pod, of a
// namespace with 100. It costs what is touched, whatever there is besides.
func BenchmarkRelabel(b *testing.B) {
	for _, pods := range []int{1000, 100000} {
		changed := 0
		e := policy.NewEngine(policy.Config{Changed: func(d policy.Delta) { changed += len(d.Groups) }})
		fill(b, e, pods, 10000)
		b.Run(fmt.Sprintf("pod-of-%d/ours", pods), func(b *testing.B) {
			two := []policy.Member{pod(3, 10, stage(0)), pod(3, 20, stage(0))}
			changed = 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := e.SetMember(two[i%2]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(changed)/float64(b.N), "groups/op")
			b.ReportMetric(5e3, "limit-ns")
		})
		b.Run(fmt.Sprintf("namespace-of-%d/ours", pods), func(b *testing.B) {
			var two [2][]policy.Member
			for n := range 100 {
				two[0], two[1] = append(two[0], pod(n, n%1000, stage(5))), append(two[1], pod(n, n%1000, stage(0)))
			}
			changed = 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for _, m := range two[i%2] {
					if err := e.SetMember(m); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(changed)/float64(b.N), "groups/op")
			b.ReportMetric(0.3e6, "limit-ns")
		})
	}
}
