package netpol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"
)

// A quick look never lets pass what the API server refuses, and is wrong the other
// way round nowhere either.
func FuzzLabels(f *testing.F) {
	for _, s := range []string{
		"", "a", "A-b_c.9", "-a", "a-", "a b", "é", "app.kubernetes.io/name", "/a", "a/", "a/b/c", "A/b", "a..b/c", "a-.b/c", ".a/b", "a./b", "-a/b", "a-/b", "x.-y/z",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253) + "/b", strings.Repeat("a", 254) + "/b", "a/" + strings.Repeat("b", 64), "a\n", "1/2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.Equal(t, len(validation.IsQualifiedName(s)) == 0, isLabelKey(s), "key %q", s)
		require.Equal(t, len(validation.IsValidLabelValue(s)) == 0, isLabelValue(s), "value %q", s)
	})
}
