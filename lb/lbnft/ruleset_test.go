package lbnft

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
)

// fe makes a frontend from "192.0.2.1:80", a protocol and its backends.
func fe(at string, proto uint8, backends ...string) lb.Frontend {
	ap := netip.MustParseAddrPort(at)
	f := lb.Frontend{Key: lb.Key{Addr: ap.Addr(), Proto: proto, Port: ap.Port()}, Service: "d/web"}
	for _, b := range backends {
		ap := netip.MustParseAddrPort(b)
		f.Backends = append(f.Backends, lb.Backend{Addr: ap.Addr(), Port: ap.Port()})
	}
	return f
}

func sticky(f lb.Frontend) lb.Frontend {
	f.Affinity = time.Hour
	return f
}

func TestRulesetText(t *testing.T) {
	r, err := Compile([]lb.Frontend{
		fe("192.0.2.2:53", lb.UDP), fe("192.0.2.1:80", lb.TCP, "10.4.0.1:8080", "10.4.0.2:8080"),
		fe("192.0.2.2:53", lb.TCP), sticky(fe("[2001:db8::1]:80", lb.TCP, "[fd00::1]:80")),
	}, Config{InputIface: "up0"})
	require.NoError(t, err)
	shape := r.cfg.shape()
	require.Equal(t, strings.ReplaceAll(`table inet tierloom-lb {
  chain reject-prerouting { type filter hook prerouting priority -101
    iifname "up0" ip daddr 192.0.2.2 tcp dport 53 counter reject with tcp reset comment "SHAPE 192.0.2.2:53/tcp d/web 0s"
    iifname "up0" ip daddr 192.0.2.2 udp dport 53 counter reject with icmpx port-unreachable comment "SHAPE 192.0.2.2:53/udp d/web 0s"
  }
  chain dnat-prerouting { type nat hook prerouting priority -100
    iifname "up0" ip daddr 192.0.2.1 tcp dport 80 counter dnat to numgen random mod 2 map [10.4.0.1:8080 10.4.0.2:8080] comment "SHAPE 192.0.2.1:80/tcp d/web 0s"
    iifname "up0" ip6 daddr 2001:db8::1 tcp dport 80 counter dnat to jhash ip6 saddr mod 1 map [[fd00::1]:80] comment "SHAPE [2001:db8::1]:80/tcp d/web 1h0m0s"
  }
}
`, "SHAPE", shape), r.String())
}

func TestCompileFaults(t *testing.T) {
	long := fe("192.0.2.1:80", lb.TCP)
	long.Service = strings.Repeat("x", 200)
	_, err := Compile([]lb.Frontend{
		long, fe("192.0.2.1:80", lb.TCP), fe("192.0.2.3:80", 1), fe("192.0.2.4:0", lb.TCP), fe("192.0.2.5:80", lb.TCP, "[fd00::1]:80"),
	}, Config{InputIface: "a-name-that-is-too-long"})
	require.ErrorIs(t, err, lb.ErrInvalid)
	for _, want := range []string{"is longer than 15 bytes", "it is there twice", "is longer than 150 bytes",
		"frontend 192.0.2.3:80/1: protocol 1", "frontend 192.0.2.4:0/tcp: not an address", "backends[0]: [fd00::1]:80"} {
		require.ErrorContains(t, err, want)
	}
}

func FuzzComment(f *testing.F) {
	f.Add("0a0b0c0d 192.0.2.1:80/tcp d/web 1h0m0s")
	f.Add("x [2001:db8::1]:53/udp a 0s")
	f.Add("a b c d")
	f.Fuzz(func(t *testing.T, text string) {
		_, one, err := parseComment(text)
		if err != nil {
			return
		}
		again := (&Ruleset{}).comment(one)
		_, two, err := parseComment(again)
		require.NoError(t, err)
		require.True(t, one.Equal(two), "%q and %q", text, again)
	})
}
