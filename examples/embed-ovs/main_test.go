package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(&out))
	require.Equal(t, `add-flow table=0,priority=100,eth_type=0x800,ip_dst=10.0.0.2 actions=dec_ttl,output:3
add-flow table=0,priority=100,eth_type=0x800,ip_dst=10.0.1.0/24 actions=dec_ttl,output:4
`, out.String())
}
