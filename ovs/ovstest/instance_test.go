package ovstest_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

func TestInstanceForwards(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	a, _, portA := in.AddNS("br0", "10.0.0.1/24")
	_, _, portB := in.AddNS("br0", "10.0.0.2/24")
	require.NotEqual(t, portA, portB)
	require.Empty(t, flows(in), "fail_mode=secure starts without flows")

	in.Ofctl("add-flow", "br0", "actions=NORMAL")
	require.Contains(t, flows(in), "actions=NORMAL")
	ovstest.Run(t, a, "ping", "-c1", "-W30", "10.0.0.2")
	require.Contains(t, in.Trace("br0", "in_port=1,tcp,nw_src=10.0.0.1"), "NORMAL")

	require.NoError(t, in.RestartVSwitchd(t.Context()))
	require.Empty(t, flows(in), "a killed switch forgets its flows")
	require.NoError(t, in.RestartDB(t.Context()))
}

func TestPurgeDatapath(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	a, _, _ := in.AddNS("br0", "10.0.0.1/24")
	b, _, _ := in.AddNS("br0", "10.0.0.2/24")
	in.Ofctl("add-flow", "br0", "actions=NORMAL")
	s := ovstest.StartStream(t, a, b, "10.0.0.2:8888")
	s.AwaitArrival()
	s.Stop()
	cached := func() string { return in.Appctl("dpctl/dump-flows", "filter=udp") }
	require.Contains(t, cached(), "packets:")
	require.NoError(t, in.PurgeDatapath(t.Context()))
	require.NotContains(t, cached(), "packets:")
	require.NoError(t, in.PurgeDatapath(t.Context()), "nothing stays paused")
}

func flows(in *ovstest.Instance) string {
	return in.Ofctl("--no-stats", "--no-names", "dump-flows", "br0")
}

func TestInstanceLeavesNothing(t *testing.T) {
	ovstest.Require(t, "ovs", "root")
	in, err := ovstest.NewInstance(t.Context(), ovstest.InstanceConfig{})
	require.NoError(t, err)
	require.True(t, ovstest.NSExists(in.NetNS))
	require.NoError(t, in.Close())
	require.NoError(t, in.Close())
	require.False(t, ovstest.NSExists(in.NetNS))
	_, err = os.Stat(in.RunDir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, in.StartVSwitchd(t.Context()), "closed")
}

func TestInstanceRefusesLongRunDir(t *testing.T) {
	dir := t.TempDir() + "/a-directory-with-a-name-that-is-far-too-long-for-a-socket-in-it"
	_, err := ovstest.NewInstance(t.Context(), ovstest.InstanceConfig{RunDir: dir})
	require.ErrorContains(t, err, "at most 70 fit")
}

// A run directory and a namespace that were there before stay, and the
// database in the directory is used again.
func TestInstanceKeepsWhatItDidNotMake(t *testing.T) {
	ovstest.Require(t, "ovs", "root")
	dir, err := os.MkdirTemp("", "tlk")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := ovstest.InstanceConfig{NetNS: ovstest.NewNS(t), RunDir: dir}
	for round := range 2 {
		in, err := ovstest.NewInstance(t.Context(), cfg)
		require.NoError(t, err)
		if round == 0 {
			require.NoError(t, in.NewBridge(t.Context(), "br0"))
			n, err := in.NewPort(t.Context(), "br0", "p0", "type=internal", "ofport_request=5")
			require.NoError(t, err)
			require.Equal(t, uint32(5), n)
			_, err = in.NewPort(t.Context(), "br0", "absent0")
			require.ErrorContains(t, err, "No such device")
		}
		out, err := in.Vsctl(t.Context(), "list-br")
		require.NoError(t, err)
		require.Equal(t, "br0\n", out)
		require.NoError(t, in.Close())
		require.True(t, ovstest.NSExists(in.NetNS))
	}
}
