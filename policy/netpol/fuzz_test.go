package netpol_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// taken holds an Engine to what is made: it must take it, and know what rules name.
func taken(t *testing.T, groups []policy.Group, sections []policy.Section) {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	for _, m := range pods {
		require.NoError(t, e.SetMember(m))
	}
	installed(t, e, groups, sections)
	e.Program([]string{"prod/web", "dev/client"})
}

func toJSON(f *testing.F, spec string) string {
	raw, err := yaml.YAMLToJSON([]byte(spec))
	require.NoError(f, err)
	return string(raw)
}

// Whatever decodes either has its faults named or is something an Engine takes.
func FuzzCompile(f *testing.F) {
	for _, spec := range []string{
		`{podSelector: {}}`, `{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b, "", b]}]}, policyTypes: [Egress, Egress]}`,
		`{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "::/0", except: ["fd00::/8"]}}, {podSelector: {}, namespaceSelector: {}}], ports: [{port: 1, endPort: 65535}, {port: a, protocol: SCTP}]}]}`,
		`{podSelector: {}, egress: [{to: [{}], ports: [{endPort: 1}]}]}`, `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8, except: [10.0.0.0/8]}}]}]}`,
	} {
		f.Add(toJSON(f, spec))
	}
	f.Fuzz(func(t *testing.T, text string) {
		np := &networkingv1.NetworkPolicy{}
		if json.Unmarshal([]byte(text), &np.Spec) != nil {
			return
		}
		np.Namespace, np.Name = "prod", "p"
		groups, sections, err := netpol.Compile(np, netpol.Config{})
		if err != nil {
			require.ErrorIs(t, err, policy.ErrInvalid)
			return
		}
		taken(t, groups, sections)
	})
}

func FuzzCompileCluster(f *testing.F) {
	for _, spec := range []string{
		`{` + admin + `}`, `{` + baseline + `, ingress: [{name: x, action: Pass, from: [{}, {pods: {podSelector: {}}}], protocols: [{tcp: {}}, {destinationNamedPort: a}]}]}`,
		`{` + admin + `, egress: [{action: Accept, to: [{networks: [0.0.0.0/0, "::/0"]}, {nodes: {}}, {domainNames: ["*.a.b"]}], protocols: [{udp: {destinationPort: {range: {start: 1, end: 2}}}}]}]}`,
	} {
		f.Add(toJSON(f, spec))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := &netpol.ClusterNetworkPolicy{}
		if json.Unmarshal([]byte(text), &p.Spec) != nil {
			return
		}
		p.Name = "p"
		groups, sections, err := netpol.CompileCluster(p, netpol.Config{})
		if u := (*netpol.UnsupportedError)(nil); err != nil && !errors.As(err, &u) {
			require.ErrorIs(t, err, policy.ErrInvalid)
			return
		}
		taken(t, groups, sections)
	})
}
