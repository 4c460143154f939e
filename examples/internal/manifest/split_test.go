package manifest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/examples/internal/manifest"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `1""`,
		"a\n":                   `1"a\n"`,
		"a\n---\nb\n":           `1"a\n" 3"b\n"`,
		"a\n---\nb":             `1"a\n" 3"b"`,
		"a\n---":                `1"a\n" 3""`,
		"---\n---\na":           `1"" 2"" 3"a"`,
		"a\r\n---\r\nb\r\n":     `1"a\r\n" 3"b\r\n"`,
		"a\n--- # remark\nb\n":  `1"a\n" 2" # remark\nb\n"`,
		"--- a\n---\tb\n":       `1"" 1" a\n" 2"\tb\n"`,
		"a\n...\nb\n":           `1"a\n" 3"b\n"`,
		"a\n---b\n----\n ---\n": `1"a\n---b\n----\n ---\n"`,
		"t: |\n  ---\n  x\n":    `1"t: |\n  ---\n  x\n"`,
	} {
		var got []string
		for _, p := range manifest.Split([]byte(text)) {
			got = append(got, fmt.Sprintf("%d%q", p.Line, p.Text))
		}
		require.Equal(t, want, strings.Join(got, " "), "%q", text)
	}
}

func TestPart_Error(t *testing.T) {
	part := manifest.Split([]byte("a: b\n---\nc: d\nc: e\n"))[1]
	var v any
	err := yaml.UnmarshalStrict(part.Text, &v)
	require.ErrorContains(t, err, "line 2:")
	require.Contains(t, part.Error(err), "line 4:")
	for _, text := range []string{"no line", "the line 2: of a poem", "yaml: line 99999999999999999999: x"} {
		require.Equal(t, text, part.Error(errors.New(text)))
	}
}
