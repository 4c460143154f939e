package policynft_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policynft"
	"github.com/tierloom/tierloom/policy/policytest"
)

// A backend is a Firewall at the pods of a lab.
type backend struct {
	*policynft.Firewall
	lab *policytest.Lab
}

func (b backend) Sync(ctx context.Context, prog *policy.Program, ids []string) error {
	ports := portsOf(b.lab, ids)
	for i := range ports {
		ports[i].IPs = b.lab.Pods[i].IPs
	}
	return b.Firewall.Sync(ctx, prog, ports)
}

// portsOf returns the ports of some pods.
func portsOf(lab *policytest.Lab, ids []string) []policynft.Port {
	var out []policynft.Port
	for _, id := range ids {
		for _, p := range lab.Pods {
			if p.ID == id {
				out = append(out, policynft.Port{ID: id, Interface: p.Interface})
			}
		}
	}
	return out
}

// firewall makes a Firewall in a namespace.
func firewall(t testing.TB, ns string, cfg policynft.Config) *policynft.Firewall {
	file, err := os.Open(ovstest.NSPath(ns))
	require.NoError(t, err)
	cfg.NetNS = int(file.Fd())
	f, err := policynft.New(cfg)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestParity(t *testing.T) {
	policytest.Run(t, policytest.Config{Routed: true, Stateless: true, Keep: true}, func(t testing.TB, lab *policytest.Lab) policytest.Backend {
		return backend{firewall(t, lab.NetNS, policynft.Config{}), lab}
	})
}
