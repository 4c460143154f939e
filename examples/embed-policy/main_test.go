package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(&out))
	require.Equal(t, "rules at db-0: 1\nweb-0 -> db-0:5432 ALLOW\nrelabelled: [10.4.0.4/32] joined\n", out.String())
}
