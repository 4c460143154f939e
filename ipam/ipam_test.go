package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/ipamtest"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

func TestMemoryStore(t *testing.T) {
	stores := map[string]ipam.Store{}
	ipamtest.TestStore(t, func(_ *testing.T, name string) (ipam.Store, func()) {
		if stores[name] == nil {
			stores[name] = ipam.NewMemoryStore()
		}
		return stores[name], func() {}
	})
}

func TestPoolLeavesOut(t *testing.T) {
	for _, c := range []struct {
		prefix      string
		first, last string
		total       uint64
	}{
		{"10.0.0.0/24", "10.0.0.1", "10.0.0.254", 254}, {"10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2},
		{"10.0.0.7/32", "10.0.0.7", "10.0.0.7", 1}, {"fd00::/126", "fd00::1", "fd00::3", 3}, {"fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", 1<<64 - 1},
		{"fd00::/48", "fd00::1", "fd00::ffff:ffff:ffff:ffff:ffff", 1<<64 - 1},
	} {
		p, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx(c.prefix)}})
		require.NoError(t, err)
		_, total := p.Usage()
		require.Equal(t, c.total, total, c.prefix)
		a, err := p.Allocate()
		require.NoError(t, err)
		require.Equal(t, ip(c.first), a)
		require.True(t, p.Contains(ip(c.last)), c.prefix)
	}
}

func open(t *testing.T, store ipam.Store, cfg ipam.Config) *ipam.Registry {
	t.Helper()
	r, err := ipam.Open(t.Context(), store, cfg)
	require.NoError(t, err)
	return r
}

func TestLeasesAreTheOwners(t *testing.T) {
	store := ipam.NewMemoryStore()
	cfg := ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/29")}}
	pool, err := open(t, store, ipam.Config{}).Addresses("p", cfg)
	require.NoError(t, err)
	a, err := pool.Acquire(t.Context(), "a")
	require.NoError(t, err)
	again, err := pool.Acquire(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, a, again)
	_, err = pool.AcquireSpecific(t.Context(), "b", a)
	require.ErrorIs(t, err, ipam.ErrInUse)
	require.ErrorContains(t, err, `leased to "a"`)
	_, err = pool.AcquireSpecific(t.Context(), "a", ip("10.0.0.6"))
	require.ErrorIs(t, err, ipam.ErrConflict)
	_, err = pool.AcquireSpecific(t.Context(), "b", ip("10.9.0.6"))
	require.ErrorIs(t, err, ipam.ErrOutOfRange)

	r := open(t, store, ipam.Config{})
	pool, err = r.Addresses("p", cfg)
	require.NoError(t, err)
	got, ok := pool.Lookup("a")
	require.True(t, ok)
	require.Equal(t, a, got, "after a restart")
	for i := range 5 {
		_, err = pool.Acquire(t.Context(), fmt.Sprint("more", i))
		require.NoError(t, err)
	}
	_, err = pool.Acquire(t.Context(), "late")
	require.ErrorIs(t, err, ipam.ErrExhausted)
	require.ErrorContains(t, err, "6 of 6 in use")
	require.Equal(t, uint64(5), r.Writes())
	_, err = r.Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.1.0.0/29")}})
	require.ErrorIs(t, err, ipam.ErrOutOfRange, "a configuration without the leases")
}

func TestQuarantine(t *testing.T) {
	now := time.Unix(1000, 0)
	store := ipam.NewMemoryStore()
	cfg := ipam.Config{Now: func() time.Time { return now }, Quarantine: time.Minute}
	one := ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.1/32")}}
	pool, err := open(t, store, cfg).Addresses("p", one)
	require.NoError(t, err)
	_, err = pool.Acquire(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, pool.Release(t.Context(), "a"))
	require.NoError(t, pool.Release(t.Context(), "a"), "twice")
	_, err = pool.Acquire(t.Context(), "b")
	require.ErrorIs(t, err, ipam.ErrExhausted)
	pool, err = open(t, store, cfg).Addresses("p", one)
	require.NoError(t, err)
	_, err = pool.AcquireSpecific(t.Context(), "b", ip("10.0.0.1"))
	require.ErrorContains(t, err, "in quarantine until", "after a restart")
	_, err = pool.Acquire(t.Context(), "a")
	require.NoError(t, err, "the old owner may have it back")
	require.NoError(t, pool.Release(t.Context(), "a"))
	now = now.Add(time.Minute)
	_, err = pool.Acquire(t.Context(), "b")
	require.NoError(t, err)
	require.Len(t, records(t, store), 1, "the expired lease is gone")
}

// broken fails every commit after it was made.
type broken struct{ ipam.Store }

func (broken) Commit(context.Context, []ipam.Change) error { return errors.New("disk on fire") }

func TestStoreDownIsNotNotFound(t *testing.T) {
	pool, err := open(t, broken{ipam.NewMemoryStore()}, ipam.Config{}).Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/30")}})
	require.NoError(t, err)
	_, err = pool.Acquire(t.Context(), "a")
	require.ErrorIs(t, err, ipam.ErrUnavailable)
	require.ErrorContains(t, err, "disk on fire")
	_, held := pool.Lookup("a")
	require.False(t, held, "what may not be durable is not handed out")
}

func TestOtherSpaces(t *testing.T) {
	r := open(t, ipam.NewMemoryStore(), ipam.Config{})
	macs, err := r.MACs("m", ipam.MACConfig{Prefix: net.HardwareAddr{2, 0x74, 0x6c}})
	require.NoError(t, err)
	m, err := macs.Acquire(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "02:74:6c:00:01:00", m.String())
	_, err = r.MACs("x", ipam.MACConfig{Prefix: net.HardwareAddr{1, 0, 0}})
	require.ErrorIs(t, err, ipam.ErrInvalid)
	subnets, err := r.Subnets("s", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}})
	require.NoError(t, err)
	s, err := subnets.Acquire(t.Context(), "a", 24)
	require.NoError(t, err)
	require.Equal(t, pfx("10.0.0.0/24"), s)
	_, err = subnets.Acquire(t.Context(), "a", 25)
	require.ErrorIs(t, err, ipam.ErrConflict)
	_, err = subnets.Acquire(t.Context(), "b", 8)
	require.ErrorIs(t, err, ipam.ErrOutOfRange)
	var leases []ipam.Lease
	for l := range r.Leases() {
		leases = append(leases, l)
	}
	require.Equal(t, []ipam.Lease{{"m", "a", "02:74:6c:00:01:00", 1}, {"s", "a", "10.0.0.0/24", 2}}, leases)
	require.NoError(t, r.Release(t.Context(), "s", "a"))
	require.NoError(t, r.Release(t.Context(), "never opened", "a"))
}

// TestWriters has 64 goroutines acquire and release; no value is held twice.
func TestWriters(t *testing.T) {
	pool, err := open(t, ipam.NewMemoryStore(), ipam.Config{}).Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}})
	require.NoError(t, err)
	var mu sync.Mutex
	held := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range 100 {
				owner := fmt.Sprint(g, "-", i%3)
				a, err := pool.Acquire(context.Background(), owner)
				if err != nil {
					continue
				}
				mu.Lock()
				if other := held[a]; other != "" && other != owner {
					t.Errorf("%s held by %s and %s", a, other, owner)
				}
				held[a] = owner
				if i%2 == 0 {
					delete(held, a)
				}
				mu.Unlock()
				if i%2 == 0 {
					_ = pool.Release(context.Background(), owner)
				}
			}
		})
	}
	wg.Wait()
}
