package ctl_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/etcdstore"
	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

// lease fills a store: web-0 holds .1 pinned and contested, web-1 has released
// .2, which may still be in use, and web-2 has .10.
func lease(t *testing.T, store ipam.Store) {
	t.Helper()
	ctx := context.Background()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r, err := ipam.Open(ctx, store, ipam.Config{Now: func() time.Time { return at }, Quarantine: time.Minute, Acknowledge: true})
	require.NoError(t, err)
	pool, err := r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/28")}})
	require.NoError(t, err)
	for owner, address := range map[string]string{"c/web-0": "10.4.0.1", "c/web-1": "10.4.0.2", "d/web-2": "10.4.0.10"} {
		_, err := pool.AcquireSpecific(ctx, owner, netip.MustParseAddr(address))
		require.NoError(t, err)
	}
	require.NoError(t, pool.Pin(ctx, "c/web-0"))
	require.NoError(t, pool.Release(ctx, "c/web-1"))
	_, err = r.Recover(ctx, "pods", []ipam.Claim{{Owner: "d/other", Value: "10.4.0.1", Source: "a port"}})
	require.NoError(t, err)
}

func TestIPAM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	lease(t, store)

	code, _, errs := run(t, "ipam -store bolt:"+file+" check")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "a manager that runs has it open")
	require.NoError(t, store.Close())

	server := etcdtest.Start(t, t.TempDir())
	lease(t, etcdstore.New(server.Client(t), etcdstore.DefaultPrefix))

	for _, where := range []string{"bolt:" + file, "etcd:" + server.Endpoint} {
		on := "ipam -store " + where + " "
		code, out, _ := run(t, on+"leases c/")
		require.Zero(t, code)
		require.Regexp(t, `(?s)^SPACE +VALUE +OWNER +STATE +GENERATION\npods +10.4.0.1 +c/web-0 +contested +\d+\npods +10.4.0.2 +c/web-1 +unacknowledged +\d+\n$`, out)
		code, out, _ = run(t, on+"show 10.4.0.1")
		require.Zero(t, code)
		require.Contains(t, out, `10.4.0.1 in pods: leased to "c/web-0" since 2026-01-02T03:04:05Z, pinned, contested by ["d/other"] (generation `)
		_, out, _ = run(t, on+"show c/web-1")
		require.Contains(t, out, `10.4.0.2 in pods: released by "c/web-1" at 2026-01-02T03:04:05Z, in quarantine until 2026-01-02T03:05:05Z, not acknowledged as gone`)
		code, _, errs = run(t, on+"show nobody")
		require.Equal(t, 1, code)
		require.Contains(t, errs, `nothing has, or had, "nobody"`)
		code, out, errs = run(t, on+"check")
		require.Equal(t, 1, code, "contested, and not acknowledged for years")
		require.Contains(t, out, "10.4.0.1 in pods: leased")
		require.Contains(t, out, "10.4.0.2 in pods: released")
		require.Contains(t, errs, "2 of 3")
		code, out, _ = run(t, on+"-space other check")
		require.Zero(t, code)
		require.Equal(t, "0 records, no conflict\n", out)
	}
}

// A subnet that time has freed may be given in parts; one that is not may not.
func TestIPAMSubnets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	store, err := boltstore.Open(file)
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var changes []ipam.Change
	for owner, value := range map[string]string{"new": "10.0.0.0/25", "wide": "10.0.2.0/23", "narrow": "10.0.3.0/24"} {
		changes = append(changes, ipam.Change{After: ipam.Record{Space: "nodes", Value: value, Owner: owner, Since: at}})
	}
	over := ipam.Record{Space: "nodes", Value: "10.0.0.0/24", Owner: "old", Since: at, Released: at, Until: at.Add(time.Minute)}
	require.NoError(t, store.Commit(t.Context(), append(changes, ipam.Change{After: over})))
	require.NoError(t, store.Close())
	on := "ipam -store bolt:" + file + " "
	code, out, errs := run(t, on+"check")
	require.Equal(t, 1, code)
	const since = " since 2026-01-02T03:04:05Z"
	require.Equal(t, `10.0.3.0/24 in nodes: leased to "narrow"`+since+`; it overlaps 10.0.2.0/23, leased to "wide"`+since+"\n", out)
	require.Contains(t, errs, "1 of 4")
	_, out, _ = run(t, on+"show old")
	require.Contains(t, out, "in quarantine until 2026-01-02T03:05:05Z, free by now (generation")
	_, out, _ = run(t, on+"leases old")
	require.Regexp(t, `10.0.0.0/24 +old +free `, out)
}

func TestIPAMOfAManager(t *testing.T) {
	addr := startManager(t)
	_, err := client(addr).Allocate(t.Context(), api.Allocation{Kind: api.VNI, Owner: "c/segment/1"})
	require.NoError(t, err)
	code, out, _ := run(t, "-manager http://"+addr+" ipam show c/segment/1")
	require.Zero(t, code)
	require.Regexp(t, `^4096 in vni:: leased to "c/segment/1" since \S+ \(generation 1\)\n$`, out)
	code, out, _ = run(t, "-manager http://"+addr+" ipam check")
	require.Zero(t, code)
	require.Equal(t, "1 records, no conflict\n", out)
}

func TestIPAMMigrates(t *testing.T) {
	dir := t.TempDir()
	from, to, lines := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db"), filepath.Join(dir, "leases.jsonl")
	for _, file := range []string{from, to} {
		store, err := boltstore.Open(file)
		require.NoError(t, err)
		if file == from {
			lease(t, store)
		}
		require.NoError(t, store.Close())
	}
	code, want, _ := run(t, "ipam -store bolt:"+from+" export")
	require.Zero(t, code)
	require.NoError(t, os.WriteFile(lines, []byte(want), 0o600))
	code, out, errs := run(t, "ipam -store bolt:"+to+" import "+lines)
	require.Zero(t, code, errs)
	require.Equal(t, "3 records put\n", out)
	_, got, _ := run(t, "ipam -store bolt:"+to+" export")
	require.Equal(t, want, got)
}

func TestIPAMUsage(t *testing.T) {
	for args, want := range map[string]string{
		"ipam":                     "usage: ipam",
		"ipam what":                `no command ipam "what"`,
		"ipam show":                "ipam show VALUE or OWNER",
		"ipam -store file:x check": `-store "file:x": want manager, bolt:FILE or etcd:URL`,
		"ipam -store bolt: check":  `-store "bolt:"`,
		"ipam check -space a b c":  "usage: ipam",
		"ipam export":              `-store "manager": want`,
	} {
		code, _, errs := run(t, args)
		require.Equal(t, 2, code, args)
		require.Contains(t, errs, want)
	}
	code, _, errs := run(t, "ipam -store bolt:/nowhere/leases.db check")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no such file")
}
