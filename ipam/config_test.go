package ipam_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

func second[T any](_ T, err error) error { return err }

// words returns the words of a text, each parsed.
func words[T any](s string, parse func(string) T) (list []T) {
	for _, w := range strings.Fields(s) {
		list = append(list, parse(w))
	}
	return list
}

// between returns a range that need not be a good one.
func between(s string) ipam.Range {
	first, last, _ := strings.Cut(s, "-")
	return ipam.Range{First: ip(first), Last: ip(last)}
}

// TestPoolsRefuse configurations with every fault named.
func TestPoolsRefuse(t *testing.T) {
	for _, c := range []struct{ prefixes, ranges, exclude, faults string }{
		{"", "", "", "neither prefix nor range"},
		{"10.0.0.1/24", "", "", "10.0.0.1/24: invalid: host bits are set, want 10.0.0.0/24"},
		{"fd00::1/64", "", "", "fd00::1/64: invalid: host bits are set, want fd00::/64"},
		{"::ffff:10.0.0.0/120", "", "", "::ffff:10.0.0.0 is IPv4 in IPv6"},
		{"::/0", "", "", "::/0: invalid: it has the IPv4 in IPv6 of ::ffff:0.0.0.0/96"},
		{"::/64", "", "", "::/64: invalid: it has the IPv4 in IPv6"},
		{"", "::ffff:10.0.0.1-::ffff:10.0.0.9", "", "::ffff:10.0.0.1 is IPv4 in IPv6; ::ffff:10.0.0.9 is IPv4 in IPv6"},
		{"", "::1-1::", "", "::1-1::: invalid: it has the IPv4 in IPv6"},
		{"", "fe80::1%eth0-fe80::2%eth0", "", "fe80::1%eth0 has a zone; fe80::2%eth0 has a zone"},
		{"", "10.0.0.9-10.0.0.1", "", "10.0.0.9-10.0.0.1: invalid: the last address is not behind the first"},
		{"", "10.0.0.9-fd00::1", "", "10.0.0.9-fd00::1: invalid: the last address is not behind the first"},
		{"10.0.0.0/24 fd00::/64", "", "", "IPv4 and IPv6 in one pool"},
		{"10.0.0.0/24", "fd00::1-fd00::2", "", "IPv4 and IPv6 in one pool"},
		{"10.0.0.0/24 10.0.0.0/32", "", "", "10.0.0.0-10.0.0.255 and 10.0.0.0-10.0.0.0: invalid: they overlap"},
		{"10.0.0.0/24", "10.0.0.255-10.0.1.3", "", "10.0.0.0-10.0.0.255 and 10.0.0.255-10.0.1.3: invalid: they overlap"},
		{"", "10.0.0.1-10.0.0.9 10.0.0.9-10.0.0.12", "", "10.0.0.1-10.0.0.9 and 10.0.0.9-10.0.0.12: invalid: they overlap"},
		{"fd00::/48 fd00:0:0:1::/64", "", "", "they overlap"},
		{"10.0.0.0/16 10.0.3.0/24 10.0.5.0/24", "", "", "10.0.0.0-10.0.255.255 and 10.0.3.0-10.0.3.255; 10.0.0.0-10.0.255.255 and 10.0.5.0-10.0.5.255"},
		{"10.0.0.0/30", "", "10.0.0.1 10.0.0.2", "10.0.0.1-10.0.0.2: invalid: all addresses are excluded"},
		{"10.0.0.7/32", "", "10.0.0.7 10.0.0.7", "all addresses are excluded"},
		{"10.0.0.0/30", "", "10.0.0.4", "10.0.0.4 is in no prefix or range"},
		{"10.0.0.0/24", "", "fd00::1 ::ffff:10.0.0.1 fe80::1%eth0", "fd00::1 is in no prefix; ::ffff:10.0.0.1 is IPv4 in IPv6; fe80::1%eth0 has a zone"},
		{"10.0.0.1/24 10.1.0.0/24 10.1.0.0/25", "10.3.0.9-10.3.0.1", "10.8.0.1", "10.0.0.1/24; they overlap; 10.3.0.9-10.3.0.1; 10.8.0.1 is in no prefix"},
	} {
		_, err := ipam.NewPool(ipam.AddressConfig{Prefixes: words(c.prefixes, pfx), Ranges: words(c.ranges, between), Exclude: words(c.exclude, ip)})
		requireFaults(t, err, c.faults)
	}
	_, err := ipam.NewPool(ipam.AddressConfig{Prefixes: make([]netip.Prefix, 1), Ranges: make([]ipam.Range, 1), Exclude: make([]netip.Addr, 1), Watermarks: ipam.Watermarks{High: 0.5, Low: 0.5}})
	requireFaults(t, err, "not a prefix; no address; exclude: invalid: no address; watermarks")
	var many ipam.AddressConfig
	for i := range 1<<14 + 1 {
		many.Prefixes = append(many.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24))
	}
	requireFaults(t, second(ipam.NewPool(many)), "16385 prefixes and ranges, at most 16384")
}

// TestBlocksRefuse configurations with every fault named.
func TestBlocksRefuse(t *testing.T) {
	for _, c := range []struct{ prefixes, exclude, faults string }{
		{"", "", "no prefix"},
		{"10.0.0.1/8", "", "10.0.0.1/8: invalid: host bits are set, want 10.0.0.0/8"},
		{"::ffff:10.0.0.0/104", "", "::ffff:10.0.0.0 is IPv4 in IPv6"},
		{"::/0", "", "it has the IPv4 in IPv6"},
		{"10.0.0.0/8 10.1.0.0/16", "", "10.0.0.0/8 and 10.1.0.0/16: invalid: they overlap"},
		{"10.1.0.0/16 10.0.0.0/8 10.0.0.0/8", "", "10.1.0.0/16 and 10.0.0.0/8; 10.0.0.0/8 and 10.0.0.0/8"},
		{"10.0.0.0/16", "10.1.0.0/24", "exclude 10.1.0.0/24: invalid: it is in no prefix of 10.0.0.0/16"},
		{"10.0.0.0/16", "10.0.0.0/8", "exclude 10.0.0.0/8: invalid: it is in no prefix of 10.0.0.0/16"},
		{"fd00::/48", "fd00::/113", "exclude fd00::/113: invalid: it is in no prefix of fd00::/48, or over 64 bits longer"},
		{"10.0.0.0/16", "10.0.0.0/24 10.0.0.0/25", "exclude 10.0.0.0/24 and 10.0.0.0/25: invalid: they overlap"},
		{"10.0.0.0/16", "10.0.0.1/24", "10.0.0.1/24: invalid: host bits"},
		{"10.0.0.0/16", "10.0.0.0/17 10.0.128.0/17", "10.0.0.0/16: invalid: all of it is excluded"},
		{"10.0.0.1/8 fd00::1/48", "::ffff:10.0.0.0/104", "10.0.0.1/8; fd00::1/48; ::ffff:10.0.0.0"},
	} {
		_, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: words(c.prefixes, pfx), Exclude: words(c.exclude, pfx)})
		requireFaults(t, err, c.faults)
	}
}

// TestIDsRefuse configurations with every fault named.
func TestIDsRefuse(t *testing.T) {
	for _, c := range []struct {
		cfg    ipam.IDConfig
		faults string
	}{
		{ipam.IDConfig{Min: 5, Max: 1}, "5 to 1: invalid: empty"},
		{ipam.IDConfig{Min: 1, Max: 5, Reserved: []uint32{0, 9}}, "1 to 5: invalid: reserved 0 is not; reserved 9 is not"},
		{ipam.IDConfig{Min: 1, Max: 2, Reserved: []uint32{1, 2, 2}}, "all are reserved"},
		{ipam.IDConfig{Min: 3, Max: 1, Reserved: []uint32{9}, Watermarks: ipam.Watermarks{High: 2}}, "empty; reserved 9; watermarks"},
		{ipam.IDConfig{Watermarks: ipam.Watermarks{Low: 0.5}}, "watermarks 0 and 0.5"},
	} {
		requireFaults(t, second(ipam.NewIDPool(c.cfg)), c.faults)
		requireFaults(t, second(ipam.NewIDPools(c.cfg)), c.faults)
	}
	requireFaults(t, second(ipam.NewMACPool(ipam.MACConfig{Prefix: []byte{1, 2, 3}, Watermarks: ipam.Watermarks{High: -1}})), `"01:02:03": invalid; watermarks`)
}

// requireFaults holds an error to having all of the faults, which are separated by semicolons.
func requireFaults(t *testing.T, err error, faults string) {
	t.Helper()
	require.ErrorIs(t, err, ipam.ErrInvalid, faults)
	for _, fault := range strings.Split(faults, "; ") {
		require.ErrorContains(t, err, fault, fmt.Sprintf("%q", faults))
	}
}
