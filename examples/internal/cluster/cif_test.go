package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/examples/internal/cluster"
)

const goodCIF = `{"uid":"u1","ips":["10.4.0.2/24","fd00::2/64"],"mac":"02:00:00:00:00:01","gateways":["10.4.0.1","fd00::1"],"vlan":7,"mtu":1450,"generation":3}`

func TestParseCIF(t *testing.T) {
	parse := func(annotation string) (cluster.CIF, bool, error) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u1"}}
		if annotation != "" {
			p.Annotations = map[string]string{cluster.AnnotationCIF: annotation}
		}
		return cluster.ParseCIF(p)
	}
	c, ok, err := parse(goodCIF)
	require.NoError(t, err)
	require.True(t, ok)
	require.JSONEq(t, goodCIF, c.Annotation())
	_, ok, err = parse("")
	require.NoError(t, err)
	require.False(t, ok, "none")
	_, ok, err = parse(`{"uid":"another"}`)
	require.NoError(t, err)
	require.False(t, ok, "of another pod of the name")

	for _, s := range []struct{ old, new, want string }{
		{`"uid"`, `"uid`, "annotation ncp/cif"},
		{`"10.4.0.2/24"`, `"ten"`, "ten"},
		{`"10.4.0.2/24"`, `""`, "ips[0]: empty"},
		{`"10.4.0.2/24",`, ``, "1 ips and 2 gateways"},
		{`"10.4.0.1",`, ``, "2 ips and 1 gateways"},
		{`"10.4.0.1"`, `"10.5.0.1"`, "gateways[0] 10.5.0.1: not in the subnet of 10.4.0.2/24"},
		{`"10.4.0.1"`, `""`, "gateways[0]"},
		{`"fd00::1"`, `"10.4.0.1"`, "gateways[1] 10.4.0.1: not in the subnet of fd00::2/64"},
		{`"fd00::2/64"`, `"10.4.0.3/24"`, "ips[1] 10.4.0.3/24: a second of its family"},
		{`"vlan":7`, `"vlan":0`, "vlan 0"},
		{`"vlan":7`, `"vlan":4095`, "vlan 4095"},
		{`"vlan":7`, `"vlan":70000`, "70000"},
		{`02:00:00:00:00:01`, `02:00`, `mac "02:00"`},
		{`02:00:00:00:00:01`, `02:00:00:00:00:01:02:03`, "mac"},
		{`["10.4.0.2/24","fd00::2/64"]`, `null`, "0 ips"},
	} {
		_, ok, err := parse(strings.Replace(goodCIF, s.old, s.new, 1))
		require.ErrorContains(t, err, "pod a/p: annotation ncp/cif: ", s.new)
		require.ErrorContains(t, err, s.want)
		require.False(t, ok)
	}
}
