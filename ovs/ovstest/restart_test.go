package ovstest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

const shareCookie = 0x74 << 56

var share = ovs.Share{Cookie: shareCookie, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 1 << 20}

// guarded is a pipeline that by default lets everything through between two
// ports, but for UDP to port 9999, and has so many flows in between that it is
// replayed in several bundles.
func guarded(a, b uint32) (open, policy []ovs.Flow) {
	add := func(list *[]ovs.Flow, table uint8, priority uint16, m ovs.Match, actions ...ovs.Action) {
		*list = append(*list, ovs.Flow{Table: table, Priority: priority, Cookie: shareCookie, Match: m, Actions: actions})
	}
	add(&open, 0, 0, ovs.NewMatch(), ovs.Goto(10))
	add(&open, 10, 0, ovs.NewMatch(), ovs.Goto(20))
	add(&open, 20, 1, ovs.NewMatch(ovs.InPort(a)), ovs.Output(b))
	add(&open, 20, 1, ovs.NewMatch(ovs.InPort(b)), ovs.Output(a))
	add(&policy, 20, 500, ovs.NewMatch(ovs.EthType(0x0800), ovs.UDPDst(9999)))
	for i := range uint32(12000) {
		add(&policy, uint8(i%3)*10, 100, ovs.NewMatch(ovs.EthType(0x0800), ovs.Reg(3, i+1)))
	}
	return open, policy
}

// dialer connects to the bridge of an instance.
func dialer(in *ovstest.Instance, bridge string) func(context.Context) (ovs.Link, error) {
	return func(ctx context.Context) (ovs.Link, error) {
		return openflow.Dial(ctx, "unix", in.Mgmt(bridge), openflow.Config{})
	}
}

// TestRestartLeaksNothing kills ovs-vswitchd, and ovsdb-server, while packets
// run that a policy drops: at no time does the default flow get one of them
// through. With flow-restore-wait the switch does not look at packets at all
// until the flows are back.
func TestRestartLeaksNothing(t *testing.T) {
	for _, mode := range []struct {
		name string
		wait bool
	}{{"fail-mode secure", false}, {"flow-restore-wait", true}} {
		t.Run(mode.name, func(t *testing.T) {
			in := ovstest.Start(t)
			in.AddBridge("br0")
			nsA, _, portA := in.AddNS("br0", "10.0.0.1/24")
			nsB, _, portB := in.AddNS("br0", "10.0.0.2/24")
			allowed := ovstest.StartStream(t, nsA, nsB, "10.0.0.2:8888")
			denied := ovstest.StartStream(t, nsA, nsB, "10.0.0.2:9999")
			link, err := dialer(in, "br0")(t.Context())
			require.NoError(t, err)
			defer func() { link.Close() }()
			open, policy := guarded(portA, portB)
			b := ovs.NewBridge(link, share)
			sync := func() ovs.Report {
				t.Helper()
				r, err := b.Sync(t.Context())
				require.NoError(t, err)
				return r
			}

			// Without the policy the packets do get through, and are seen.
			require.NoError(t, b.Set("forward", open, nil))
			sync()
			allowed.AwaitArrival()
			denied.AwaitArrival()
			require.NoError(t, b.Set("policy", policy, nil))
			sync()
			require.NoError(t, in.PurgeDatapath(t.Context()))
			denied.Watch()
			allowed.AwaitArrival()

			for range 3 {
				if mode.wait {
					_, err := in.Vsctl(t.Context(), "set", "open_vswitch", ".", "other_config:flow-restore-wait=true")
					require.NoError(t, err)
				}
				require.NoError(t, in.RestartVSwitchd(t.Context()))
				denied.AwaitSent(100) // into a switch without flows
				link.Close()
				link, err = dialer(in, "br0")(t.Context())
				require.NoError(t, err)
				b.Use(link)
				require.Equal(t, ovs.Report{Added: len(open) + len(policy)}, sync())
				if mode.wait {
					allowed.Watch()
					allowed.AwaitSent(100)
					require.Zero(t, allowed.Seen(), "the switch waits")
					_, err := in.Vsctl(t.Context(), "remove", "open_vswitch", ".", "other_config", "flow-restore-wait")
					require.NoError(t, err)
				}
				allowed.AwaitArrival()
				denied.AwaitSent(100)
				require.Zero(t, denied.Seen(), "packets got through that a policy drops")
			}

			// The switch keeps its flows when the database restarts.
			require.NoError(t, in.RestartDB(t.Context()))
			allowed.AwaitArrival()
			r, err := b.Audit(t.Context())
			require.NoError(t, err)
			require.Zero(t, r)
			require.Zero(t, denied.Seen(), "packets got through that a policy drops")
		})
	}
}
