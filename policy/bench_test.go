package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

// big is n pods in n/10 apps, each with a group and a section for itself.
func big(tb testing.TB, n int) (*policy.Engine, func(i, app int) policy.Member) {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	pod := func(i, app int) policy.Member {
		return policy.Member{ID: fmt.Sprint("pod-", i), Namespace: fmt.Sprint("ns-", app%100), Tags: []policy.Tag{{Scope: "app", Tag: fmt.Sprint(app)}},
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}
	}
	for i := range n {
		require.NoError(tb, e.SetMember(pod(i, i/10)))
	}
	for app := range max(n/10, 1) {
		id := fmt.Sprint("app-", app)
		require.NoError(tb, e.SetGroup(policy.Group{ID: id, Criteria: policy.TagEquals("app", fmt.Sprint(app))}))
		require.NoError(tb, e.SetSection(policy.Section{ID: id, AppliedTo: []string{id}, Rules: []policy.Rule{
			{ID: "own", Sequence: 1, Sources: []string{id}, Action: policy.Allow, Direction: policy.Ingress}, {ID: "rest", Sequence: 2, Action: policy.Drop, Direction: policy.Ingress}}}))
	}
	return e, pod
}

// A label change costs what it touches, whatever there is besides.
func BenchmarkSetMember(b *testing.B) {
	for _, n := range []int{10, 1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, pod := big(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if err := e.SetMember(pod(3, i%2)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProgram(b *testing.B) {
	for _, n := range []int{10, 1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, _ := big(b, n)
			var local []string
			for i := range min(n, 100) {
				local = append(local, fmt.Sprint("pod-", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Program(local)
			}
		})
	}
}
