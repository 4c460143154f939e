package ipam_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// full returns allocators of which everything is in use.
func full(t *testing.T) (*ipam.Pool, *ipam.Block, *ipam.BlockSet, *ipam.IDPool, *ipam.IDPools, *ipam.MACPool) {
	t.Helper()
	pool, err := ipam.NewPool(ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/30")}})
	require.NoError(t, err)
	block, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/23")}})
	require.NoError(t, err)
	own, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.9.0.0/24")}})
	require.NoError(t, err)
	set, err := ipam.NewBlockSet(ipam.InOrder, ipam.SetBlock{Name: "own", Block: own, Owners: []string{"ns:a", "cluster:x"}})
	require.NoError(t, err)
	ids, err := ipam.NewIDPool(ipam.IDConfig{Min: 7, Max: 8})
	require.NoError(t, err)
	vlans, err := ipam.NewIDPools(ipam.IDConfig{Min: 7, Max: 8})
	require.NoError(t, err)
	macs, err := ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{2, 0, 0}})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, second(pool.Allocate()))
		require.NoError(t, second(block.Carve(24)))
		require.NoError(t, second(ids.Allocate()))
		require.NoError(t, second(vlans.Allocate("port")))
	}
	require.NoError(t, second(set.Reserve(pfx("10.9.0.0/24"), "ns:a")))
	require.NoError(t, second(macs.Allocate()))
	return pool, block, set, ids, vlans, macs
}

// TestRefusals tell what was asked, of what, by whom, and how full it is.
func TestRefusals(t *testing.T) {
	pool, block, set, ids, vlans, macs := full(t)
	mac := func(s string) ipam.MAC {
		m, err := ipam.ParseMAC(s)
		require.NoError(t, err)
		return m
	}
	carve := func(bits int, as ...string) error {
		_, _, err := set.Carve(bits, as...)
		return err
	}
	for _, c := range []struct {
		err       error
		condition error
		text      string
	}{
		{second(pool.Allocate()), ipam.ErrExhausted, "ipam: address from 10.0.0.1-10.0.0.2: exhausted (2 of 2 in use)"},
		{pool.Reserve(ip("10.0.0.1")), ipam.ErrInUse, "ipam: address 10.0.0.1 from 10.0.0.1-10.0.0.2: in use (2 of 2 in use)"},
		{pool.Reserve(ip("10.0.0.0")), ipam.ErrOutOfRange, "ipam: address 10.0.0.0 from 10.0.0.1-10.0.0.2: out of range (2 of 2 in use)"},
		{pool.Reserve(netip.Addr{}), ipam.ErrOutOfRange, "ipam: address invalid IP from 10.0.0.1-10.0.0.2: out of range (2 of 2 in use)"},
		{pool.Reserve(ip("::ffff:10.0.0.1")), ipam.ErrOutOfRange, "ipam: address ::ffff:10.0.0.1 from 10.0.0.1-10.0.0.2: out of range (2 of 2 in use)"},
		{second(block.Carve(24)), ipam.ErrExhausted, "ipam: subnet /24 from 10.0.0.0/23: exhausted (2 in use)"},
		{second(block.Carve(22)), ipam.ErrOutOfRange, "ipam: subnet /22 from 10.0.0.0/23: out of range: want /23 to /32 (2 in use)"},
		{second(block.Carve(-1)), ipam.ErrOutOfRange, "ipam: subnet /-1 from 10.0.0.0/23: out of range: want /23 to /32 (2 in use)"},
		{block.Reserve(pfx("10.0.1.0/25")), ipam.ErrInUse, "ipam: subnet 10.0.1.0/25 from 10.0.0.0/23: in use (2 in use)"},
		{block.Reserve(pfx("10.0.1.1/25")), ipam.ErrOutOfRange, "ipam: subnet 10.0.1.1/25 from 10.0.0.0/23: out of range (2 in use)"},
		{block.Reserve(netip.Prefix{}), ipam.ErrOutOfRange, "ipam: subnet invalid Prefix from 10.0.0.0/23: out of range (2 in use)"},
		{carve(24, "ns:b"), ipam.ErrNotOwner, `ipam: subnet /24 from "own" (10.9.0.0/24) for ns:b: not the owner of any (1 in use)`},
		{carve(24, "ns:b", "cluster:x"), ipam.ErrExhausted, `ipam: subnet /24 from "own" (10.9.0.0/24) for ns:b, cluster:x: exhausted (1 in use)`},
		{carve(23, "ns:a"), ipam.ErrOutOfRange, `ipam: subnet /23 from "own" (10.9.0.0/24) for ns:a: out of range (1 in use)`},
		{second(set.Reserve(pfx("10.9.0.0/25"), "ns:b")), ipam.ErrNotOwner, `ipam: subnet 10.9.0.0/25 from "own" (10.9.0.0/24) for ns:b: not the owner, which is ns:a or cluster:x (1 in use)`},
		{second(set.Reserve(pfx("10.9.0.0/25"), "ns:a")), ipam.ErrInUse, `ipam: subnet 10.9.0.0/25 from "own" (10.9.0.0/24) for ns:a: in use (1 in use)`},
		{second(ids.Allocate()), ipam.ErrExhausted, "ipam: id from 7 to 8: exhausted (2 of 2 in use)"},
		{ids.Reserve(7), ipam.ErrInUse, "ipam: id 7 from 7 to 8: in use (2 of 2 in use)"},
		{ids.Reserve(9), ipam.ErrOutOfRange, "ipam: id 9 from 7 to 8: out of range (2 of 2 in use)"},
		{second(vlans.Allocate("port")), ipam.ErrExhausted, `ipam: id from 7 to 8 of "port": exhausted (2 of 2 in use)`},
		{vlans.Reserve("other", 9), ipam.ErrOutOfRange, `ipam: id 9 from 7 to 8 of "other": out of range (0 of 2 in use)`},
		{vlans.Forget("port"), ipam.ErrInUse, `ipam: to forget the ids from 7 to 8 of "port": in use (2 of 2 in use)`},
		{macs.Reserve(mac("02:00:00:00:01:00")), ipam.ErrInUse, "ipam: mac 02:00:00:00:01:00 from 02:00:00: in use (1 of 16776960 in use)"},
		{macs.Reserve(mac("02:00:00:00:00:ff")), ipam.ErrOutOfRange, "ipam: mac 02:00:00:00:00:ff from 02:00:00: out of range (1 of 16776960 in use)"},
		{macs.Reserve(mac("02:00:01:00:01:00")), ipam.ErrOutOfRange, "ipam: mac 02:00:01:00:01:00 from 02:00:00: out of range (1 of 16776960 in use)"},
	} {
		require.EqualError(t, c.err, c.text)
		require.ErrorIs(t, c.err, c.condition, c.text)
		_, ok := errors.AsType[*ipam.RefusedError](c.err)
		require.True(t, ok, c.text)
	}
}

// TestRefusalsStayShort of pools and blocks of many pieces.
func TestRefusalsStayShort(t *testing.T) {
	var cfg ipam.AddressConfig
	for i := range 200 {
		cfg.Prefixes = append(cfg.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24))
	}
	pool, err := ipam.NewPool(cfg)
	require.NoError(t, err)
	err = pool.Reserve(ip("11.0.0.1"))
	require.ErrorContains(t, err, "and 192 more: out of range (0 of 50800 in use)")
	require.Less(t, len(err.Error()), 400)
}
