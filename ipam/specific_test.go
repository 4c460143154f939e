package ipam_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// specific tests a space that has at least the values one and two, and not other.
func specific[T any](t *testing.T, acquire func(context.Context, string, T) (T, error), release func(context.Context, string) error, one, two, other T) {
	t.Helper()
	ctx := t.Context()
	for range 2 { // the second finds what it has
		got, err := acquire(ctx, "a", two)
		require.NoError(t, err)
		require.Equal(t, two, got)
	}
	_, err := acquire(ctx, "a", one)
	require.ErrorIs(t, err, ipam.ErrConflict, "the owner has another")
	_, err = acquire(ctx, "b", two)
	var held *ipam.HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, "a", held.Record.Owner)
	_, err = acquire(ctx, "b", other)
	require.ErrorIs(t, err, ipam.ErrOutOfRange)
	_, err = acquire(ctx, "b", one)
	require.NoError(t, err, "what was refused has left nothing")
	require.NoError(t, release(ctx, "a"))
	_, err = acquire(ctx, "c", two)
	require.NoError(t, err)
}

func TestAcquireSpecific(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r := open(t, store, ipam.Config{})
		addresses, err := r.Addresses("addresses", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("fd00::/64")}})
		require.NoError(t, err)
		specific(t, addresses.AcquireSpecific, addresses.Release, ip("fd00::1"), ip("fd00::2"), ip("10.0.0.1"))
		subnets, err := r.Subnets("subnets", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}})
		require.NoError(t, err)
		specific(t, subnets.AcquireSpecific, subnets.Release, pfx("10.0.1.0/24"), pfx("10.0.2.0/23"), pfx("10.1.0.0/24"))
		ids, err := r.IDs("ids", ipam.VLANs())
		require.NoError(t, err)
		specific(t, ids.AcquireSpecific, ids.Release, 7, 8, 4095)
		macs, err := r.MACs("macs", ipam.MACConfig{Prefix: net.HardwareAddr{2, 0x74, 0x6c}})
		require.NoError(t, err)
		mac := func(s string) net.HardwareAddr {
			a, err := net.ParseMAC(s)
			require.NoError(t, err)
			return a
		}
		specific(t, macs.AcquireSpecific, macs.Release, mac("02:74:6c:00:01:01"), mac("02:74:6c:00:01:02"), mac("02:74:6d:00:01:01"))
		_, err = macs.AcquireSpecific(t.Context(), "short", net.HardwareAddr{2, 0x74, 0x6c})
		require.ErrorIs(t, err, ipam.ErrInvalid)
	})
}

// An owner may have back any value that is in quarantine after it, not only the last.
func TestAcquireSpecificAgain(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		ctx := t.Context()
		_, p := pool(t, store, ipam.Config{Quarantine: time.Hour}, "10.0.0.0/28")
		for _, want := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.3", "10.0.0.2"} {
			_, err := p.AcquireSpecific(ctx, "a", ip(want))
			require.NoError(t, err, want)
			require.NoError(t, p.Release(ctx, "a"))
		}
		_, err := p.AcquireSpecific(ctx, "b", ip("10.0.0.1"))
		require.ErrorIs(t, err, ipam.ErrQuarantined)
	})
}

// Who asks for a subnet is told what overlaps it, as the store has it.
func TestAcquireSpecificOverlap(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		ctx := t.Context()
		_, s := subnets(t, store, ipam.Config{}, "10.0.0.0/16")
		for owner, p := range map[string]string{"a": "10.0.2.0/24", "b": "10.0.1.0/25", "c": "10.0.4.0/22"} {
			_, err := s.AcquireSpecific(ctx, owner, pfx(p))
			require.NoError(t, err)
		}
		_, err := s.AcquireSpecific(ctx, "d", pfx("10.0.0.0/21"))
		require.ErrorIs(t, err, ipam.ErrInUse)
		require.ErrorContains(t, err, `10.0.0.0/21 overlaps 10.0.1.0/25: in use: leased to "b"`)
		_, err = s.AcquireSpecific(ctx, "d", pfx("10.0.5.0/24"))
		require.ErrorContains(t, err, `10.0.5.0/24 overlaps 10.0.4.0/22: in use: leased to "c"`)
		_, err = s.AcquireSpecific(ctx, "d", pfx("10.0.8.1/24"))
		require.ErrorIs(t, err, ipam.ErrOutOfRange, "bits of a host")
		_, err = s.AcquireSpecific(ctx, "d", pfx("10.0.8.0/24"))
		require.NoError(t, err)

		giver := s
		if _, shared := store.(*ipam.MemoryStore); shared {
			_, giver = subnets(t, store, ipam.Config{}, "10.0.0.0/16")
		}
		require.NoError(t, giver.Release(ctx, "c"))
		_, err = s.AcquireSpecific(ctx, "e", pfx("10.0.5.0/24"))
		require.NoError(t, err, "it was given back")
	})
}
