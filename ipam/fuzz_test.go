package ipam_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"10.0.0.5-10.0.0.90", " 10.0.0.5 - 10.0.0.9 ", "::1", "10.0.0.9-10.0.0.5", "fd00::-10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "-", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ipam.ParseRange(s)
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrInvalid)
			require.Zero(t, r)
			return
		}
		again, err := ipam.ParseRange(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"02:74:6c:00:01:00", "02-74-6C-00-01-00", "0274.6c00.0100", "02:74:6c", "02:74:6c:00:01:00:00:00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ipam.ParseMAC(s)
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrInvalid)
			require.Zero(t, m)
			return
		}
		again, err := ipam.ParseMAC(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// FuzzPool makes a pool of any prefixes, ranges and exclusions, given as
// words, and asks it for any address. What it gives, it contains.
func FuzzPool(f *testing.F) {
	f.Add("10.0.0.0/24 10.1.0.5-10.1.0.90", "10.0.0.1 10.1.0.7", "10.0.0.3")
	f.Add("fd00::/64", "fd00::1 fd00::ffff:0:0:1", "fd00::74:6cff:fe00:1")
	f.Add("8000::/1", "8000::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	f.Add("0.0.0.0/0", "255.255.255.255", "0.0.0.0")
	f.Add("10.0.0.1/24 10.0.0.0/8 ::1/128", "::ffff:10.0.0.1 fe80::1%eth0", "")
	f.Fuzz(func(t *testing.T, given, excluded, asked string) {
		var cfg ipam.AddressConfig
		for _, w := range strings.Fields(given) {
			if p, err := netip.ParsePrefix(w); err == nil {
				cfg.Prefixes = append(cfg.Prefixes, p)
			} else if r, err := ipam.ParseRange(w); err == nil {
				cfg.Ranges = append(cfg.Ranges, r)
			}
		}
		for _, w := range strings.Fields(excluded) {
			if a, err := netip.ParseAddr(w); err == nil {
				cfg.Exclude = append(cfg.Exclude, a)
			}
		}
		p, err := ipam.NewPool(cfg)
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrInvalid)
			return
		}
		_, total := p.Usage()
		require.NotZero(t, total)
		if a, err := netip.ParseAddr(asked); err == nil {
			err := p.Reserve(a)
			require.Equal(t, p.Contains(a), err == nil, "%s: %v", a, err)
			if err != nil {
				require.ErrorIs(t, err, ipam.ErrOutOfRange)
			}
		}
		before, _ := p.Usage()
		a, err := p.Allocate()
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrExhausted)
			require.Equal(t, total, before)
			return
		}
		require.True(t, p.Contains(a), a)
		require.NotContains(t, cfg.Exclude, a)
		require.ErrorIs(t, p.Reserve(a), ipam.ErrInUse)
		p.Release(a)
		after, _ := p.Usage()
		require.Equal(t, before, after)
	})
}

// FuzzBlock makes a block of any prefixes and exclusions, given as words, and
// asks it for any subnet and one of any length. What it gives, it contains.
func FuzzBlock(f *testing.F) {
	f.Add("10.0.0.0/8 10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/24", 24)
	f.Add("fd00::/48", "fd00:0:0:1::/64", "fd00::/112", 112)
	f.Add("8000::/1 0.0.0.0/0", "8000::/65 0.0.0.0/1", "8000::1/128", 65)
	f.Add("10.0.0.1/8", "fe80::/10", "10.0.0.1/8", -1)
	f.Fuzz(func(t *testing.T, given, excluded, asked string, bits int) {
		prefixes := func(words string) (list []netip.Prefix) {
			for _, w := range strings.Fields(words) {
				if p, err := netip.ParsePrefix(w); err == nil {
					list = append(list, p)
				}
			}
			return list
		}
		cfg := ipam.SubnetConfig{Prefixes: prefixes(given), Exclude: prefixes(excluded)}
		b, err := ipam.NewBlock(cfg)
		if err != nil {
			require.ErrorIs(t, err, ipam.ErrInvalid)
			return
		}
		var taken []netip.Prefix
		if p, err := netip.ParsePrefix(asked); err == nil {
			err := b.Reserve(p)
			require.Equal(t, b.Contains(p), err == nil, "%s: %v", p, err)
			if err == nil {
				taken = append(taken, p)
			}
		}
		p, err := b.Carve(bits)
		if err == nil {
			require.Equal(t, bits, p.Bits())
			require.True(t, b.Contains(p), p)
			for _, q := range append(taken, cfg.Exclude...) {
				require.False(t, p.Overlaps(q), "%s and %s", p, q)
			}
			taken = append(taken, p)
		} else if !errors.Is(err, ipam.ErrExhausted) {
			require.ErrorIs(t, err, ipam.ErrOutOfRange)
		}
		require.Equal(t, len(taken), b.Usage())
		require.True(t, 0 <= b.Share() && b.Share() <= 1, b.Share())
		for _, p := range taken {
			b.Release(p)
			b.Release(p)
		}
		require.Zero(t, b.Usage())
		require.Zero(t, b.Share())
	})
}
