//go:build linux

package policyovs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
	"github.com/tierloom/tierloom/policy/policytest"
)

// A parityBackend is a Compiler and a real bridge between the pods of a lab.
type parityBackend struct {
	lab      *policytest.Lab
	in       *ovstest.Instance
	bridge   *ovs.Bridge
	compiler *policyovs.Compiler
	prog     *policy.Program // in force
	ports    []string
}

func newParityBackend(t testing.TB, lab *policytest.Lab) *parityBackend {
	ovstest.Require(t, "ovs", "root")
	in, err := ovstest.NewInstance(t.Context(), ovstest.InstanceConfig{NetNS: lab.NetNS})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, in.Close()) })
	require.NoError(t, in.NewBridge(t.Context(), "br0"))
	l := policyovs.DefaultLayout()
	conn, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	b := &parityBackend{lab: lab, in: in, bridge: ovs.NewBridge(conn, ovs.Share{Cookie: uint64(l.Owner) << 56, Mask: ovs.OwnerMask})}
	b.compiler, err = policyovs.NewCompiler(l)
	require.NoError(t, err)
	b.wire(t)
	return b
}

// hasRules are the pods whose ports are subject to rules; packets of the others come as if from a tunnel.
func (b *parityBackend) hasRules(i int) bool { return i < 4 }

// wire adds what is around the stages of the rules: who a packet is from, and where it goes.
func (b *parityBackend) wire(t testing.TB) {
	l := policyovs.DefaultLayout()
	var text strings.Builder
	fmt.Fprintf(&text, "table=%d,actions=goto_table:%d\n", l.ARP, l.EgressCT)
	for i, p := range b.lab.Pods {
		n, err := b.in.NewPort(t.Context(), "br0", p.Interface)
		require.NoError(t, err)
		mac, key := ovs.MAC(p.MAC), i+1
		if !b.hasRules(i) {
			fmt.Fprintf(&text, "table=0,in_port=%d,actions=goto_table:%d\n", n, l.L2)
			fmt.Fprintf(&text, "table=%d,dl_dst=%s,actions=output:%d\n", l.L2, mac, n)
			continue
		}
		fmt.Fprintf(&text, "table=0,in_port=%d,actions=load:%d->NXM_NX_REG%d[],load:%d->NXM_NX_REG%d[],goto_table:%d\n", n, key, l.Source, key, l.Zone, l.Spoofguard)
		fmt.Fprintf(&text, "table=%d,dl_dst=%s,actions=load:%d->NXM_NX_REG%d[],load:%d->NXM_NX_REG%d[],goto_table:%d\n", l.L2, mac, key, l.Dest, key, l.Zone, l.IngressCT)
		fmt.Fprintf(&text, "table=%d,reg%d=%d,actions=output:%d\n", l.Output, l.Dest, key, n)
	}
	name := filepath.Join(t.TempDir(), "flows")
	require.NoError(t, os.WriteFile(name, []byte(text.String()), 0o644))
	_, err := ovstest.Exec(t.Context(), b.lab.NetNS, "ovs-ofctl", "-OOpenFlow15", "add-flows", b.in.Mgmt("br0"), name)
	require.NoError(t, err)
}

func (b *parityBackend) Sync(ctx context.Context, prog *policy.Program, ids []string) error {
	var ports policyovs.PortChange
	if b.ports == nil {
		for i, p := range b.lab.Pods {
			if b.hasRules(i) {
				ports.Set = append(ports.Set, policyovs.Port{ID: p.ID, Key: uint32(i + 1), MAC: ovs.MAC(p.MAC), IPs: p.IPs})
				b.ports = append(b.ports, p.ID)
			}
		}
	}
	if fmt.Sprint(ids) != fmt.Sprint(b.ports) {
		return fmt.Errorf("ports %v, not %v", ids, b.ports)
	}
	return b.apply(ctx, policy.Diff(b.prog, prog), ports)
}

func (b *parityBackend) Apply(ctx context.Context, change policy.Change) error {
	return b.apply(ctx, change, policyovs.PortChange{})
}

func (b *parityBackend) apply(ctx context.Context, change policy.Change, ports policyovs.PortChange) error {
	delta, err := b.compiler.Apply(change, ports)
	if err != nil {
		return err
	}
	if err := b.bridge.Update("policy", delta.Put, delta.Gone); err != nil {
		return err
	}
	if _, err := b.bridge.Sync(ctx); err != nil {
		return err
	}
	if err := b.in.PurgeDatapath(ctx); err != nil {
		return err
	}
	if b.prog == nil {
		b.prog = &policy.Program{}
	}
	b.prog = b.prog.With(change)
	return nil
}

// The bridge lets through what the evaluator does, on real packets.
func TestParity(t *testing.T) {
	policytest.Run(t, policytest.Config{PerEnd: true, Keep: true, Stateless: true, Worlds: 20, Updates: 40}, func(t testing.TB, lab *policytest.Lab) policytest.Backend {
		return newParityBackend(t, lab)
	})
}
