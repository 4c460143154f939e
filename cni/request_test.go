package cni_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/cni"
)

func TestParseArgs(t *testing.T) {
	for in, want := range map[string]map[string]string{
		"":                     {},
		";;":                   {},
		"A=1":                  {"A": "1"},
		"A=1;B=;C=x=y;A=1":     {"A": "1", "B": "", "C": "x=y"},
		"IgnoreUnknown=true;;": {"IgnoreUnknown": "true"},
	} {
		got, err := cni.ParseArgs(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"A", "=1", "A=1;A=2", "A=1;B", strings.Repeat("A=1;", 5000)} {
		_, err := cni.ParseArgs(in)
		require.ErrorContains(t, err, "CNI_ARGS", in)
	}
}

func TestAsError(t *testing.T) {
	require.Nil(t, cni.AsError(nil))
	e := &cni.Error{Code: cni.CodeUnsupportedField, Msg: "m", Details: "d"}
	require.Equal(t, e, cni.AsError(fmt.Errorf("outer: %w", e)))
	bare := cni.Errorf(cni.CodeUnknownContainer, "gone")
	require.Equal(t, bare, cni.AsError(bare))
	require.Equal(t, "outer: gone (code 3)", cni.AsError(fmt.Errorf("outer: %w", bare)).Details)
	require.Empty(t, bare.Details, "the original is not changed")
	for _, err := range []error{cni.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
		require.Equal(t, cni.CodeTryAgainLater, cni.AsError(fmt.Errorf("x: %w", err)).Code)
	}
	require.Equal(t, cni.CodeInternal, cni.AsError(cni.ErrProtocol).Code)
}

func TestNames(t *testing.T) {
	for _, ok := range []string{"a", "0", "A_b.c-d", strings.Repeat("a", 255)} {
		require.NoError(t, cni.ValidContainerID(ok))
	}
	for _, bad := range []string{"", "-a", ".a", "_a", "a/b", "a b", "a\x00", "ä", strings.Repeat("a", 256)} {
		require.Error(t, cni.ValidContainerID(bad), bad)
	}
	for _, ok := range []string{"eth0", "a.b", "fifteen-bytes-x"} {
		require.NoError(t, cni.ValidIfName(ok))
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a:b", "a b", "a\n", "sixteen-bytes-xx"} {
		require.Error(t, cni.ValidIfName(bad), bad)
	}
}

func TestResultValidate(t *testing.T) {
	one := 1
	r := cni.Result{
		Interfaces: []cni.Interface{{MAC: "x"}},
		IPs:        []cni.IP{{Interface: &one}, {Address: netip.MustParsePrefix("10.0.0.1/8")}},
		Routes:     []cni.Route{{}},
	}
	err := r.Validate()
	for _, field := range []string{"interfaces[0].name", "interfaces[0].mac", "ips[0].address", "ips[0].interface", "routes[0].dst"} {
		require.ErrorContains(t, err, field)
	}
	require.NotContains(t, err.Error(), "ips[1]")
}
