package deps

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/imports.txt; every changed line needs a reason")

const module = "github.com/tierloom/tierloom"

var roots = []string{"ipam", "topology", "policy", "lb", "overlay", "ovs", "cni", "reconcile"}

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
}

func deps(t *testing.T, dir, pattern string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Module", pattern)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func list(t *testing.T, dir, pattern string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", pattern)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}

// reached returns the packages of ours and the modules of others that a
// package reaches.
func reached(t *testing.T, dir, path string) (ours, modules []string) {
	for _, p := range deps(t, dir, path) {
		switch {
		case p.Standard || p.ImportPath == path:
		case strings.HasPrefix(p.ImportPath, module+"/") && !strings.HasPrefix(p.ImportPath, module+"/examples"):
			ours = append(ours, strings.TrimPrefix(p.ImportPath, module+"/"))
		case p.Module != nil:
			modules = append(modules, p.Module.Path)
		}
	}
	slices.Sort(ours)
	slices.Sort(modules)
	return ours, slices.Compact(modules)
}

// TestImportTable compares what each package reaches with the committed table.
func TestImportTable(t *testing.T) {
	var b strings.Builder
	row := func(name string, ours, modules []string) {
		fmt.Fprintf(&b, "%s: ours [%s] modules [%s]\n", name, strings.Join(ours, " "), strings.Join(modules, " "))
	}
	for _, path := range list(t, "../../..", "./...") {
		ours, modules := reached(t, "../../..", path)
		row(strings.TrimPrefix(path, module+"/"), ours, modules)
	}
	for _, path := range list(t, "../..", "./embed-...") {
		ours, modules := reached(t, "../..", path)
		row(strings.TrimPrefix(path, module+"/"), ours, modules)
	}
	const file = "testdata/imports.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), b.String()))
}

// TestRootsStandAlone: a root package reaches the standard library, its own
// internal packages, and for policy the label selectors of apimachinery.
func TestRootsStandAlone(t *testing.T) {
	for _, root := range roots {
		ours, modules := reached(t, "../../..", module+"/"+root)
		for _, p := range ours {
			require.True(t, strings.HasPrefix(p, root+"/internal/"), "%s reaches %s", root, p)
		}
		if root != "policy" {
			require.Empty(t, modules, "%s reaches a module", root)
		}
	}
}

// TestRootModuleIsLight keeps the heavy modules where the binaries are.
func TestRootModuleIsLight(t *testing.T) {
	raw, err := os.ReadFile("../../../go.mod")
	require.NoError(t, err)
	for _, heavy := range []string{"k8s.io/client-go", "etcd.io/etcd", "gobgp", "spf13/cobra", "prometheus/client_golang"} {
		require.NotContains(t, string(raw), heavy)
	}
}
