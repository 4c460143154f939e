package ovstest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

func TestBridgeIsASwitch(t *testing.T) {
	ovstest.TestSwitch(t, func(testing.TB) ovs.Switch { return ovstest.NewBridge() })
}

func TestOpenVSwitchIsASwitch(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	c, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	ovstest.TestSwitch(t, func(t testing.TB) ovs.Switch {
		empty(t, c)
		return c
	})
}

// empty removes all flows and groups.
func empty(t testing.TB, sw ovs.Switch) {
	flows, err := sw.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	groups, err := sw.Groups(t.Context())
	require.NoError(t, err)
	require.NoError(t, sw.Apply(t.Context(), ovs.Diff(nil, nil, flows, groups)))
}
