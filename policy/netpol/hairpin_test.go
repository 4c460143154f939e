package netpol_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// The cases of network-policy-api issue 343: prod/web and prod/db are behind one service, and
// isolated both ways. What a port sees of a connection to a service is the endpoint that was picked.
func TestHairpin(t *testing.T) {
	const (
		isolated = `{podSelector: {}, policyTypes: [Ingress, Egress]}`
		among    = `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]}`
		denied   = `{` + admin + `, ingress: [{action: Deny, ` + fromAll + `}], egress: [{action: Deny, to: [{namespaces: {}}]}]}`
		// What a pod sees as the source of what it sends itself by a service, see lbovs.
		masked = `{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 169.254.169.252/32}}]}]}`
	)
	itself := []string{"prod/web->prod/web tcp/80", "prod/web 6->prod/web udp/53", "prod/db->prod/db icmp", "prod/db->prod/db sctp/7"}
	for _, c := range []struct {
		name, network, cluster string
		allow, deny            []string
	}{
		{name: "1, 2 a pod to itself, by its address or a service", network: isolated, allow: itself, deny: []string{"dev/web->prod/web tcp/80"}},
		{name: "1, 2 a pod to itself, tier Admin denies", network: isolated, cluster: denied, allow: itself},
		{name: "3 a pod by a service to another", network: isolated, deny: []string{"prod/web->prod/db tcp/80", "prod/db 6->prod/web tcp/80"}},
		{name: "3 a pod by a service to another, which a policy allows", network: among, allow: []string{"prod/web->prod/db tcp/80", "prod/db 6->prod/web tcp/80"}},
		{name: "3 a pod by a service to another, tier Admin denies", network: among, cluster: denied, deny: []string{"prod/web->prod/db tcp/80"}},
		{name: "4 masquerading: the source is that of before", network: masked, allow: itself, deny: []string{"prod/web->prod/db tcp/80", "dev/web->prod/db tcp/80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := engine(t)
			if c.network != "" {
				install(t, e, parse(t, "n", c.network))
			}
			if c.cluster != "" {
				installCluster(t, e, parseCluster(t, "c", c.cluster), netpol.Config{})
			}
			verdicts(t, e, c.allow, c.deny)
		})
	}
	d := engine(t, parse(t, "n", isolated)).Eval(packet(t, itself[0]))
	require.Equal(t, policy.Decision{Verdict: policy.Allow, Why: "port prod/web to itself"}, d)
}
