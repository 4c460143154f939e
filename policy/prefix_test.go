package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

func pfx(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func prefixes(rnd *rand.Rand) []netip.Prefix {
	var out []netip.Prefix
	for range rnd.IntN(6) {
		if rnd.IntN(2) == 0 {
			out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(32))}), 27+rnd.IntN(6)))
		} else {
			out = append(out, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rnd.IntN(32))}), 123+rnd.IntN(6)))
		}
	}
	return out
}

func addrs(i byte) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, i}), netip.AddrFrom16([16]byte{0: 0xfd, 15: i})}
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func TestAggregate(t *testing.T) {
	for _, c := range []struct{ in, want []netip.Prefix }{
		{nil, nil},
		{pfx("10.0.0.0/32", "10.0.0.1/32"), pfx("10.0.0.0/31")},
		{pfx("10.0.0.1/32", "10.0.0.2/32"), pfx("10.0.0.1/32", "10.0.0.2/32")},
		{pfx("10.0.0.7/8", "10.1.0.0/16"), pfx("10.0.0.0/8")},
		{pfx("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"), pfx("0.0.0.0/0", "::/0")},
		{pfx("10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/31"), pfx("10.0.0.0/30")},
	} {
		require.Equal(t, c.want, policy.Aggregate(c.in), "%v", c.in)
	}
}

func TestSubtract(t *testing.T) {
	require.Equal(t, pfx("10.0.0.0/31", "10.0.0.3/32"), policy.Subtract(pfx("10.0.0.0/30"), pfx("10.0.0.2/32")))
	require.Empty(t, policy.Subtract(pfx("10.0.0.0/30"), pfx("10.0.0.0/8")))
	require.Len(t, policy.Subtract(pfx("0.0.0.0/0"), pfx("10.1.2.3/32")), 32)
}

func TestMergePorts(t *testing.T) {
	r := func(from, to uint16) policy.PortRange { return policy.PortRange{From: from, To: to} }
	require.Equal(t, []policy.PortRange{r(1, 10), r(20, 20)}, policy.MergePorts([]policy.PortRange{r(20, 20), r(4, 10), r(1, 3), r(2, 5)}))
	require.Equal(t, []policy.PortRange{r(0, 65535)}, policy.MergePorts([]policy.PortRange{r(1, 65535), r(0, 0), r(7, 9)}))
}
