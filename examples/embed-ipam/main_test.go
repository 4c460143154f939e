package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReconcile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	for _, c := range []struct{ machines, want string }{
		{"a b", "a 10.4.0.1\nb 10.4.0.2\n"},
		{"b a", "b 10.4.0.2\na 10.4.0.1\n"},
		{"b c", "b 10.4.0.2\nc 10.4.0.3\n"},
		{"b d", "b 10.4.0.2\nd 10.4.0.4\n"}, // the addresses of a and c rest for a minute
		{"b a", "b 10.4.0.2\na 10.4.0.1\n"}, // but a gets its own again
	} {
		var out strings.Builder
		require.NoError(t, reconcile(t.Context(), file, strings.Fields(c.machines), &out))
		require.Equal(t, c.want, out.String())
	}
}
