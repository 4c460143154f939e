package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(&out))
	require.Equal(t, "web -> db:5432 ALLOW\nweb -> db:22 DROP\nrules at db: 1\n", out.String())
}
