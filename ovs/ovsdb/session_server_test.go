package ovsdb_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A Session lives through crashes of the server, a VSwitch with it, and leaves
// no goroutine and no descriptor.
func TestSessionServer(t *testing.T) {
	in := ovstest.Start(t)
	ctx := within(t)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	files, goroutines := descriptors(), runtime.NumGoroutine()

	dial, err := ovsdb.Endpoint("unix:"+in.DBSock, nil)
	require.NoError(t, err)
	s := ovsdb.NewSession(dial, ovsdb.SessionConfig{Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	require.NoError(t, s.Ready(ctx))
	vs, err := ovsdb.NewVSwitch(ctx, s)
	require.NoError(t, err)
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	for range 3 {
		old, err := s.Client()
		require.NoError(t, err)
		in.KillDB()
		<-old.Done()
		_, err = vs.Bridges(ctx)
		require.ErrorIs(t, err, ovsdb.ErrDisconnected)
		require.NoError(t, in.StartDB(ctx))
		require.NoError(t, s.Ready(ctx))
		names, err := vs.Bridges(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"br0"}, names)
	}
	_, err = vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "p0", Type: "internal"})
	require.NoError(t, err)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Eventually(t, func() bool {
		return descriptors() <= files && runtime.NumGoroutine() <= goroutines+1 // the one of Eventually
	}, 30*time.Second, 10*time.Millisecond)
}

// The rows that are followed change with the conditions.
func TestSetWhere(t *testing.T) {
	in := ovstest.Start(t)
	c := dial(t, in)
	ctx := within(t)
	for _, kind := range []string{"a", "b", "b"} {
		_, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Insert("QoS", "", ovsdb.Row{"type": kind}))
		require.NoError(t, err)
	}
	k, err := c.Monitor(ctx, ovsdb.VSwitchDB, ovsdb.TableMonitor{Table: "QoS", Columns: []string{"type"}, Where: []ovsdb.Condition{ovsdb.Where("type", "a")}})
	require.NoError(t, err)
	count := func(want int) {
		t.Helper()
		rows, err := k.Rows("QoS")
		require.NoError(t, err)
		require.Len(t, rows, want)
	}
	count(1)
	require.NoError(t, k.SetWhere(ctx, "QoS", ovsdb.Where("type", "b")))
	count(2)
	require.NoError(t, k.SetWhere(ctx, "QoS"))
	count(3)
	require.ErrorIs(t, k.SetWhere(ctx, "Bridge"), ovsdb.ErrNotFound)
	var refused *ovsdb.Error
	require.ErrorAs(t, k.SetWhere(ctx, "QoS", ovsdb.Where("absent", 1)), &refused)
	count(3)
}
