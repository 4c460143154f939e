package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out))
	require.Equal(t, strings.Repeat("pod-a/eth0 10.4.0.1\npod-b/eth0 10.4.0.2\n", 2), out.String())
}
