package ovsdb_test

import (
	"context"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// open starts a switch and connects to its database.
func open(t *testing.T) (*ovstest.Instance, *ovsdb.Client, *ovsdb.VSwitch) {
	t.Helper()
	in := ovstest.Start(t)
	c := dial(t, in)
	vs, err := ovsdb.NewVSwitch(t.Context(), c)
	require.NoError(t, err)
	return in, c, vs
}

func dial(t *testing.T, in *ovstest.Instance) *ovsdb.Client {
	t.Helper()
	c, err := ovsdb.Dial(t.Context(), "unix", in.DBSock, ovsdb.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// within bounds a call that waits for the daemons.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// nextCfg is the number of changes the database has seen.
func nextCfg(t *testing.T, c *ovsdb.Client) any {
	t.Helper()
	r, err := c.Transact(within(t), ovsdb.VSwitchDB, ovsdb.Select("Open_vSwitch", []string{"next_cfg"}))
	require.NoError(t, err)
	return r[0].Rows[0]["next_cfg"]
}

func TestVSwitch(t *testing.T) {
	in, c, vs := open(t)
	ctx := within(t)

	bridge := ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev", FailMode: "secure",
		Protocols: []string{"OpenFlow15", "OpenFlow13"}, ExternalIDs: map[string]string{"a": "1"}}
	require.NoError(t, vs.EnsureBridge(ctx, bridge))
	require.Contains(t, in.Ofctl("show", "br0"), "OFPT_FEATURES_REPLY")

	port := ovsdb.PortSpec{Bridge: "br0", Name: "p0", Type: "internal", OFPortRequest: 7,
		ExternalIDs: map[string]string{"iface-id": "x"}}
	n, err := vs.EnsurePort(ctx, port)
	require.NoError(t, err)
	require.Equal(t, uint32(7), n)
	tunnel := ovsdb.PortSpec{Bridge: "br0", Name: "gnv0", Type: "geneve",
		Options: map[string]string{"remote_ip": "flow", "key": "flow"}}
	m, err := vs.EnsurePort(ctx, tunnel)
	require.NoError(t, err)
	require.NotEqual(t, n, m)

	t.Run("unchanged sends nothing", func(t *testing.T) {
		before := nextCfg(t, c)
		require.NoError(t, vs.EnsureBridge(ctx, bridge))
		again, err := vs.EnsurePort(ctx, port)
		require.NoError(t, err)
		require.Equal(t, n, again)
		_, err = vs.EnsurePort(ctx, tunnel)
		require.NoError(t, err)
		require.NoError(t, vs.DeletePort(ctx, "br0", "absent"))
		require.NoError(t, vs.DeletePort(ctx, "absent", "p0"))
		require.NoError(t, vs.DeleteBridge(ctx, "absent"))
		require.NoError(t, vs.SetBridgeExternalIDs(ctx, "br0", map[string]string{"a": "1"}, []string{"absent"}))
		require.Equal(t, before, nextCfg(t, c))
	})

	t.Run("ports", func(t *testing.T) {
		ports, err := vs.Ports(ctx, "br0")
		require.NoError(t, err)
		require.Len(t, ports, 3)
		require.Equal(t, "br0", ports[0].Name)
		require.Equal(t, uint32(65534), ports[0].OFPort)
		require.Equal(t, "gnv0", ports[1].Name)
		require.Equal(t, tunnel.Options, ports[1].Options)
		require.Equal(t, "p0", ports[2].Name)
		require.Equal(t, port.ExternalIDs, ports[2].ExternalIDs)
		require.NotEmpty(t, ports[2].MAC)
		_, err = vs.Ports(ctx, "absent")
		require.ErrorIs(t, err, ovsdb.ErrNotFound)
	})

	t.Run("external ids merge", func(t *testing.T) {
		require.NoError(t, vs.SetBridgeExternalIDs(ctx, "br0", map[string]string{"b": "2", "c": "3"}, nil))
		bridge.ExternalIDs["a"] = "changed"
		require.NoError(t, vs.EnsureBridge(ctx, bridge))
		require.NoError(t, vs.SetBridgeExternalIDs(ctx, "br0", map[string]string{"c": "4"}, []string{"b"}))
		ids, err := vs.BridgeExternalIDs(ctx, "br0")
		require.NoError(t, err)
		require.Equal(t, map[string]string{"a": "changed", "c": "4"}, ids)
		_, err = vs.BridgeExternalIDs(ctx, "absent")
		require.ErrorIs(t, err, ovsdb.ErrNotFound)
	})

	t.Run("changes in place", func(t *testing.T) {
		port.ExternalIDs, port.Tag, port.MTURequest = map[string]string{"iface-id": "y"}, 12, 1400
		again, err := vs.EnsurePort(ctx, port)
		require.NoError(t, err)
		require.Equal(t, n, again)
		require.Contains(t, ovstest.Run(t, in.NetNS, "ip", "link", "show", "p0"), "mtu 1400")
		port.Tag = 0
		_, err = vs.EnsurePort(ctx, port)
		require.NoError(t, err)
		ports, err := vs.Ports(ctx, "br0")
		require.NoError(t, err)
		require.Equal(t, uint16(0), ports[2].Tag)
		require.Equal(t, map[string]string{"iface-id": "y"}, ports[2].ExternalIDs)
	})

	t.Run("statistics", func(t *testing.T) {
		stats, err := vs.Statistics(ctx, "p0")
		require.NoError(t, err)
		require.Contains(t, stats, "rx_packets")
		_, err = vs.Statistics(ctx, "absent")
		require.ErrorIs(t, err, ovsdb.ErrNotFound)
	})

	t.Run("refusals", func(t *testing.T) {
		require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br1", DatapathType: "netdev"}))
		_, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br1", Name: "p0", Type: "internal"})
		require.ErrorIs(t, err, ovsdb.ErrInUse)
		_, err = vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "absent", Name: "p1"})
		require.ErrorIs(t, err, ovsdb.ErrNotFound)
		err = vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br1", FailMode: "ajar"})
		var refused *ovsdb.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, ovsdb.CodeConstraint, refused.Code)
		_, err = vs.EnsurePort(ctx, ovsdb.PortSpec{Tag: 4095, OFPortRequest: 70000, MTURequest: -1})
		require.EqualError(t, err, "ovsdb: port \"\": no bridge\nno name\nofport_request 70000 is not in 1..65279\n"+
			"tag 4095 is not in 1..4094\nmtu_request -1 is negative")
		require.NoError(t, vs.DeleteBridge(ctx, "br1"))
		names, err := vs.Bridges(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"br0"}, names)
	})

	t.Run("deletes", func(t *testing.T) {
		require.NoError(t, vs.DeletePort(ctx, "br0", "p0"))
		require.NotContains(t, in.Ofctl("show", "br0"), "(p0)")
		require.NoError(t, vs.DeleteBridge(ctx, "br0"))
		_, err := vs.Ports(ctx, "br0")
		require.ErrorIs(t, err, ovsdb.ErrNotFound)
	})
}

// A port whose device is missing fails with what ovs-vswitchd says, and works
// once the device is there.
func TestVSwitchPortWithoutDevice(t *testing.T) {
	in, _, vs := open(t)
	ctx := within(t)
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	spec := ovsdb.PortSpec{Bridge: "br0", Name: "late0"}
	_, err := vs.EnsurePort(ctx, spec)
	require.ErrorIs(t, err, ovsdb.ErrPortFailed)
	require.ErrorContains(t, err, `port "late0": interface failed: could not open network device late0 (No such device)`)
	ports, err := vs.Ports(ctx, "br0")
	require.NoError(t, err)
	require.Contains(t, ports[1].Error, "No such device")

	ovstest.Veth(t, in.NetNS, "late0", ovstest.NewNS(t), "eth0")
	n, err := vs.EnsurePort(ctx, spec)
	require.NoError(t, err)
	require.NotZero(t, n)
}

// Two clients that make the same things at once agree.
func TestVSwitchConcurrent(t *testing.T) {
	in, _, vs := open(t)
	ctx := within(t)
	other, err := ovsdb.NewVSwitch(ctx, dial(t, in))
	require.NoError(t, err)
	type result struct {
		n   uint32
		err error
	}
	results := make(chan result)
	for _, s := range []*ovsdb.VSwitch{vs, other, vs, other} {
		go func() {
			err := s.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"})
			var n uint32
			if err == nil {
				n, err = s.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "p0", Type: "internal"})
			}
			results <- result{n, err}
		}()
	}
	for range 4 {
		r := <-results
		require.NoError(t, r.err)
		require.Equal(t, uint32(1), r.n)
	}
}

func TestVSwitchWatch(t *testing.T) {
	_, _, vs := open(t)
	ctx, cancel := context.WithCancel(within(t))
	calls := make(chan struct{}, 100)
	var running atomic.Int32
	ended := make(chan error, 1)
	go func() {
		ended <- vs.Watch(ctx, func() {
			if running.Add(1) != 1 {
				t.Error("calls at the same time")
			}
			calls <- struct{}{}
			running.Add(-1)
		})
	}()
	<-calls // the first
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	<-calls
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// While ovs-vswitchd is down a change waits for it, and ends with the context.
func TestVSwitchWithoutDaemon(t *testing.T) {
	in, c, vs := open(t)
	in.KillVSwitchd()
	short := func(limit time.Duration, change func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		err := change(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return err
	}
	_ = short(100*time.Millisecond, func(ctx context.Context) error {
		return vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"})
	})
	// On a busy machine the time may be over before the server has answered.
	told := regexp.MustCompile(`^ovsdb: ovs-vswitchd has taken configuration 0, wait for \d+: context deadline exceeded$`)
	for limit := 100 * time.Millisecond; !told.MatchString(short(limit, vs.Sync).Error()); limit *= 2 {
		require.Less(t, limit, time.Minute)
	}
	require.NoError(t, in.StartVSwitchd(within(t)))
	require.NoError(t, vs.Sync(within(t)))
	require.NoError(t, vs.EnsureBridge(within(t), ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))

	in.KillDB()
	require.ErrorIs(t, c.Wait(), ovsdb.ErrDisconnected)
	_, err := vs.Ports(t.Context(), "br0")
	require.ErrorIs(t, err, ovsdb.ErrDisconnected, "an old answer must not pass for a new one")
	require.ErrorIs(t, vs.EnsureBridge(within(t), ovsdb.BridgeSpec{Name: "br0"}), ovsdb.ErrDisconnected)
	require.ErrorIs(t, vs.Watch(within(t), func() {}), ovsdb.ErrDisconnected)
}

// A database without its root row gets one with the first change.
func TestVSwitchEmptyDatabase(t *testing.T) {
	in, c, vs := open(t)
	ctx := within(t)
	in.KillVSwitchd()
	_, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Delete("Open_vSwitch"))
	require.NoError(t, err)
	require.NoError(t, in.StartVSwitchd(ctx))
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	require.Contains(t, in.Ofctl("show", "br0"), "(br0)")
}

// Ports outlive a crash of ovs-vswitchd with their numbers, and what was asked
// for meanwhile is there when it is back.
func TestVSwitchRestart(t *testing.T) {
	in, _, vs := open(t)
	ctx := within(t)
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	first, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "p0", Type: "internal", OFPortRequest: 9})
	require.NoError(t, err)
	in.KillVSwitchd()
	ended := make(chan error, 1)
	go func() {
		_, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "p1", Type: "internal"})
		ended <- err
	}()
	require.NoError(t, in.StartVSwitchd(ctx))
	require.NoError(t, <-ended)
	again, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "p0", Type: "internal", OFPortRequest: 9})
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Contains(t, in.Ofctl("show", "br0"), " 9(p0)")
}
