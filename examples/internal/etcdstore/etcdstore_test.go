package etcdstore_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/etcdstore"
	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/ipamtest"
)

func TestStore(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	ipamtest.TestStore(t, func(t *testing.T, name string) (ipam.Store, func()) {
		return etcdstore.New(server.Client(t), "/"+name), func() {}
	})
}

// A server whose data was put back from an old copy is found out by a process
// that lives on, and by one that starts and hears of the live ports.
func TestRolledBackServer(t *testing.T) {
	dir, old := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "copy")
	server := etcdtest.Start(t, dir)
	pool, err := addresses(t.Context(), server.Client(t))
	require.NoError(t, err)
	_, err = pool.Acquire(t.Context(), "before")
	require.NoError(t, err)
	server.Stop()
	require.NoError(t, os.CopyFS(old, os.DirFS(dir)))
	server.Restart(t)
	var ports []ipam.Claim
	for i := range 5 {
		owner := fmt.Sprint("after", i)
		_, err := pool.Acquire(t.Context(), owner)
		require.NoError(t, err)
		l, _ := pool.Lease(owner)
		ports = append(ports, ipam.Claim{Owner: owner, Value: l.Value, Generation: l.Generation, Source: "port"})
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = pool.Acquire(ctx, "while it is down")
	require.ErrorIs(t, err, ipam.ErrUnavailable)
	require.NotErrorIs(t, err, ipam.ErrNotFound)

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.CopyFS(dir, os.DirFS(old)))
	server.Restart(t)
	_, err = pool.Acquire(t.Context(), "late")
	require.ErrorIs(t, err, ipam.ErrRolledBack)

	registry, err := ipam.Open(t.Context(), etcdstore.New(server.Client(t), "/leases"), ipam.Config{})
	require.NoError(t, err)
	pool, err = registry.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}})
	require.NoError(t, err)
	found, err := registry.Recover(t.Context(), "pods", ports)
	require.NoError(t, err)
	require.True(t, found.RolledBack)
	require.Len(t, found.Adopted, len(ports))
	for _, port := range ports {
		l, held := pool.Lease(port.Owner)
		require.True(t, held)
		require.Equal(t, ipam.Lease{Space: "pods", Owner: port.Owner, Value: port.Value, Generation: port.Generation}, l)
	}
	_, err = pool.Acquire(t.Context(), "late")
	require.NoError(t, err)
	l, _ := pool.Lease("late")
	for _, port := range ports {
		require.NotEqual(t, port.Value, l.Value)
		require.Greater(t, l.Generation, port.Generation)
	}
}
