package etcdstore_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

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
	opened := func() (*ipam.Registry, *ipam.Addresses) {
		registry, err := ipam.Open(t.Context(), etcdstore.New(server.Client(t), "/leases"), ipam.Config{})
		require.NoError(t, err)
		pool, err := registry.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}})
		require.NoError(t, err)
		return registry, pool
	}
	living, pool := opened()
	_, err := pool.Acquire(t.Context(), "before")
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
	for range 3 {
		_, err = pool.Acquire(t.Context(), "late")
		require.ErrorIs(t, err, ipam.ErrRolledBack)
	}

	starting, again := opened()
	found, err := starting.Recover(t.Context(), "pods", ports)
	require.NoError(t, err)
	require.True(t, found.RolledBack)
	require.Len(t, found.Adopted, len(ports))
	found, err = living.Recover(t.Context(), "pods", ports)
	require.NoError(t, err)
	require.True(t, found.RolledBack)
	for _, pool := range []*ipam.Addresses{again, pool} {
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
}

// A late way to the cluster keeps the next transaction that writes: its caller
// gets an error, and the cluster gets it when the test says so.
type late struct {
	clientv3.KV
	keep bool
	kept func() (*clientv3.TxnResponse, error)
}

func (l *late) Txn(ctx context.Context) clientv3.Txn { return &lateTxn{Txn: l.KV.Txn(ctx), late: l} }

type lateTxn struct {
	clientv3.Txn
	late   *late
	cmps   []clientv3.Cmp
	writes []clientv3.Op
}

func (x *lateTxn) If(cmps ...clientv3.Cmp) clientv3.Txn {
	x.cmps = cmps
	x.Txn = x.Txn.If(cmps...)
	return x
}

func (x *lateTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	if !slices.ContainsFunc(ops, clientv3.Op.IsGet) {
		x.writes = ops
	}
	x.Txn = x.Txn.Then(ops...)
	return x
}

func (x *lateTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	x.Txn = x.Txn.Else(ops...)
	return x
}

func (x *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	if !x.late.keep || x.writes == nil {
		return x.Txn.Commit()
	}
	x.late.keep = false
	x.late.kept = func() (*clientv3.TxnResponse, error) {
		return x.late.KV.Txn(context.Background()).If(x.cmps...).Then(x.writes...).Commit()
	}
	return nil, context.DeadlineExceeded
}

// A release that comes to the cluster late does not take back what its owner was
// told since: by the process that sent it, or by the next after it has died.
func TestLateRelease(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	for _, died := range []bool{false, true} {
		client := server.Client(t)
		way := &late{KV: client.KV}
		client.KV = way
		pool, err := addresses(t.Context(), client)
		require.NoError(t, err)
		a, err := pool.Acquire(t.Context(), "a")
		require.NoError(t, err)
		way.keep = true
		require.ErrorIs(t, pool.Release(t.Context(), "a"), ipam.ErrUnavailable)
		if died {
			pool, err = addresses(t.Context(), server.Client(t))
			require.NoError(t, err)
		}
		again, err := pool.Acquire(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, a, again)
		resp, err := way.kept()
		require.NoError(t, err)
		require.False(t, resp.Succeeded)
		other, err := addresses(t.Context(), server.Client(t))
		require.NoError(t, err)
		_, err = other.AcquireSpecific(t.Context(), "b", a)
		require.ErrorIs(t, err, ipam.ErrInUse)
	}
}

// A commit that was under way while another process put the fence is made after all.
func TestFenceOfAnother(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	pool, err := addresses(t.Context(), server.Client(t))
	require.NoError(t, err)
	for i := range 5 {
		_, err = pool.Acquire(t.Context(), fmt.Sprint("here", i))
		require.NoError(t, err)
		other, err := addresses(t.Context(), server.Client(t))
		require.NoError(t, err)
		_, err = other.Acquire(t.Context(), fmt.Sprint("there", i))
		require.NoError(t, err)
	}
}

// An owner's key without the record that it names is told, and not waited for.
func TestOwnerWithoutRecord(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	client := server.Client(t)
	store := etcdstore.New(client, "/x")
	require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "s", Value: "1", Owner: "a"}}}))
	_, err := client.Delete(t.Context(), "/x/value/s/1")
	require.NoError(t, err)
	_, err = store.Find(t.Context(), "s", "a")
	require.ErrorContains(t, err, `key /x/owner/s/a: 1 is not "a"'s by its record`)
}

// The base stays as it is while nothing of a higher generation is put.
func TestBaseStays(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	client := server.Client(t)
	registry, err := ipam.Open(t.Context(), etcdstore.New(client, "/x"), ipam.Config{Quarantine: time.Hour})
	require.NoError(t, err)
	pool, err := registry.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}})
	require.NoError(t, err)
	for i := range 10 {
		_, err := pool.Acquire(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
		require.NoError(t, pool.Release(t.Context(), fmt.Sprint(i)))
	}
	found, err := client.Get(t.Context(), "/x/base")
	require.NoError(t, err)
	require.Len(t, found.Kvs, 1)
	require.Equal(t, "0", string(found.Kvs[0].Value))
}

// What is too much for a transaction is refused before it is sent; an import of
// the same goes in parts.
func TestTooMuchAtOnce(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	store := etcdstore.New(server.Client(t), "/x")
	var changes []ipam.Change
	var lines strings.Builder
	name := strings.Repeat("<", ipam.MaxName-4)
	for i := range 100 {
		rec := ipam.Record{Space: "s", Value: fmt.Sprint(i), Owner: fmt.Sprint(1000+i, name)}
		for n := range 32 {
			rec.Contested = append(rec.Contested, fmt.Sprint(1100+n, name))
		}
		changes = append(changes, ipam.Change{After: rec})
		fmt.Fprintf(&lines, "{\"space\":\"s\",\"value\":\"%d\",\"owner\":%q,\"contested\":[\"%s\"]}\n", i, rec.Owner, strings.Join(rec.Contested, `","`))
	}
	require.ErrorIs(t, store.Commit(t.Context(), changes[:ipam.MaxChanges]), ipam.ErrInvalid)
	for i := range changes {
		changes[i].After.Contested = nil
	}
	require.ErrorIs(t, store.Commit(t.Context(), changes), ipam.ErrInvalid)
	n, err := ipam.Import(t.Context(), store, strings.NewReader(lines.String()))
	require.NoError(t, err)
	require.Equal(t, len(changes), n)
}
