package link_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/cni/link"
)

func TestHostName(t *testing.T) {
	seen := map[string]bool{}
	for _, prefix := range []string{"", "tl", "tierlo", "averylongprefix"} {
		for _, id := range []string{"a", "b", "3f0c9e", "ab"} {
			for _, ifName := range []string{"eth0", "eth1", "b"} {
				name := link.HostName(prefix, id, ifName)
				require.LessOrEqual(t, len(name), 15)
				require.Equal(t, name, link.HostName(prefix, id, ifName))
				require.False(t, seen[name], "%q twice", name)
				seen[name] = true
			}
		}
	}
	require.Len(t, link.HostName("tl", "c", "eth0"), 15)
}

func TestValidate(t *testing.T) {
	addr := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	good := func() link.Spec {
		return link.Spec{
			NetNS: "/run/netns/p", IfName: "eth0", HostIfName: "tlx", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
			Addresses: []netip.Prefix{addr("10.0.0.2/24")}, Gateway: netip.MustParseAddr("10.0.0.1"), MTU: 1400,
		}
	}
	require.NoError(t, good().Validate())
	for field, spoil := range map[string]func(*link.Spec){
		"NetNS":        func(s *link.Spec) { s.NetNS = "netns/p" },
		"IfName":       func(s *link.Spec) { s.IfName = "eth/0" },
		"IfName lo":    func(s *link.Spec) { s.IfName = "lo" },
		"HostIfName":   func(s *link.Spec) { s.HostIfName = "sixteen-bytes-xx" },
		"MAC":          func(s *link.Spec) { s.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} },
		"MTU":          func(s *link.Spec) { s.MTU = 60 },
		"Addresses[0]": func(s *link.Spec) { s.Addresses = []netip.Prefix{{}} },
		"given twice":  func(s *link.Spec) { s.Addresses = append(s.Addresses, s.Addresses[0]) },
		"no address of its family": func(s *link.Spec) {
			s.Gateway = netip.MustParseAddr("fd00::1")
		},
		"has the gateway": func(s *link.Spec) {
			s.Routes = []link.Route{{Dst: addr("10.9.0.0/16"), Via: netip.MustParseAddr("fd00::1")}}
		},
		"no network prefix": func(s *link.Spec) { s.Routes = []link.Route{{Dst: addr("10.9.0.1/16")}} },
	} {
		s := good()
		spoil(&s)
		err := s.Validate()
		require.ErrorIs(t, err, link.ErrInvalid, field)
		require.ErrorContains(t, err, field)
	}
}
