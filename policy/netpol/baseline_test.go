package netpol_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

func installBaseline(t testing.TB, e *policy.Engine, b netpol.Baseline, cfg netpol.Config) {
	t.Helper()
	groups, sections, err := netpol.CompileBaseline(b, cfg)
	require.NoError(t, err)
	installed(t, e, groups, sections)
	for _, ns := range []string{"prod", "dev"} {
		groups, sections, err := netpol.CompileNamespaceBaseline(b, ns, cfg)
		require.NoError(t, err)
		installed(t, e, groups, sections)
	}
}

// Each sentence about the baselines, alone and below what comes before them.
func TestBaselines(t *testing.T) {
	const within, across, out, in = "prod/web->prod/db tcp/1", "dev/web->prod/db tcp/1", "prod/web->10.9.9.9 tcp/1", "10.9.9.9->prod/web tcp/1"
	for _, c := range []struct {
		clause      string
		baseline    netpol.Baseline
		drop        bool // by default
		cluster     []string
		network     []string
		allow, deny []string
	}{
		{clause: "none", allow: []string{within, across, out, in}},
		{clause: "none, where the default is to drop", drop: true, deny: []string{within, across, out, in}},
		{clause: "allow_cluster leaves the outside to the default", baseline: netpol.AllowCluster, allow: []string{within, across, out, in, "vm->prod/db tcp/1"}},
		{clause: "allow_cluster allows all pods", baseline: netpol.AllowCluster, drop: true, allow: []string{within, across, "prod/web 6->dev/web icmpv6"}, deny: []string{out, in, "vm->prod/db tcp/1"}},
		{clause: "allow_namespace: not across namespaces", baseline: netpol.AllowNamespace, allow: []string{within, out, in, "vm->prod/db tcp/1"}, deny: []string{across, "prod/web->dev/web udp/1"}},
		{clause: "allow_namespace allows the namespace", baseline: netpol.AllowNamespace, drop: true, allow: []string{within, "dev/web->dev/client udp/1"}, deny: []string{across, out, in}},
		{clause: "allow_namespace_strict: nothing else, either", baseline: netpol.AllowNamespaceStrict, allow: []string{within, "vm->10.9.9.9 tcp/1"}, deny: []string{across, out, in, "vm->prod/db tcp/1", "prod/db->vm tcp/1"}},
		{clause: "a NetworkPolicy opens its end", baseline: netpol.AllowNamespace, network: []string{`{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}`}, deny: []string{across}},
		{clause: "a NetworkPolicy at one end, an Admin policy at the other", baseline: netpol.AllowNamespace, network: []string{`{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}`},
			cluster: []string{`{` + admin + `, egress: [{action: Accept, to: [{pods: {podSelector: {matchLabels: {app: db}}}}]}]}`}, allow: []string{across}, deny: []string{"dev/web->prod/web tcp/1"}},
		{clause: "a NetworkPolicy closes", baseline: netpol.AllowCluster, network: []string{`{podSelector: {}}`}, allow: []string{"prod/web->dev/web tcp/1"}, deny: []string{within}},
		{clause: "a Baseline policy comes before", baseline: netpol.AllowCluster, cluster: []string{`{tier: Baseline, priority: 1000, subject: {namespaces: {}}, ingress: [{action: Deny, ` + fromAll + `}]}`}, allow: []string{out}, deny: []string{within, across}},
		{clause: "Pass of a Baseline policy passes over it", baseline: netpol.AllowNamespaceStrict, cluster: []string{`{` + baseline + `, ingress: [{action: Pass, ` + fromAll + `}], egress: [{action: Pass, ` + toAll + `}]}`}, allow: []string{across, within}, deny: []string{out}},
	} {
		t.Run(c.clause, func(t *testing.T) {
			cfg := netpol.Config{DefaultDrop: c.drop}
			e := policy.NewEngine(policy.Config{Default: policy.Allow})
			if c.drop {
				e = policy.NewEngine(policy.Config{})
			}
			for _, m := range pods {
				require.NoError(t, e.SetMember(m))
			}
			installBaseline(t, e, c.baseline, cfg)
			for _, spec := range c.cluster {
				installCluster(t, e, parseCluster(t, "c", spec), cfg)
			}
			for _, spec := range c.network {
				install(t, e, parse(t, "n", spec))
			}
			verdicts(t, e, c.allow, c.deny)
		})
	}
}

func TestBaselineNames(t *testing.T) {
	for _, s := range []string{"", "none", "allow_cluster", "allow_namespace", "allow_namespace_strict"} {
		var b netpol.Baseline
		require.NoError(t, b.UnmarshalText([]byte(s)))
	}
	var b netpol.Baseline
	require.ErrorIs(t, b.UnmarshalText([]byte("allow_all")), policy.ErrInvalid)
	_, _, err := netpol.CompileBaseline("allow_all", netpol.Config{})
	require.ErrorIs(t, err, policy.ErrInvalid)
	_, _, err = netpol.CompileNamespaceBaseline("allow_all", "prod", netpol.Config{})
	require.ErrorContains(t, err, `"allow_all" is none of allow_cluster, allow_namespace, allow_namespace_strict`)
	// Clusters that share an Engine keep to themselves.
	tags := []policy.Tag{{Scope: "cluster", Tag: "c1"}}
	cfg := netpol.Config{IDPrefix: "c1-", ClusterTags: tags, Tags: tags, LogDrops: true}
	groups, sections, err := netpol.CompileBaseline(netpol.AllowNamespace, cfg)
	require.NoError(t, err)
	require.Empty(t, sections)
	require.Equal(t, "c1-baseline-pods", groups[0].ID)
	require.True(t, groups[0].Criteria.Matches(policy.Member{ID: "x", Namespace: "c1/n", NamespaceTags: tags}))
	require.False(t, groups[0].Criteria.Matches(policy.Member{ID: "x", Namespace: "c2/n"}))
	_, sections, err = netpol.CompileNamespaceBaseline(netpol.AllowNamespace, "prod", cfg)
	require.NoError(t, err)
	require.Equal(t, "c1-baseline:prod", sections[0].ID)
	require.Equal(t, tags, sections[0].Tags)
	logged := func(r policy.Rule) bool { return r.Logged }
	require.Equal(t, []bool{false, false, true, true}, []bool{logged(sections[0].Rules[0]), logged(sections[0].Rules[1]), logged(sections[0].Rules[2]), logged(sections[0].Rules[3])})
}
