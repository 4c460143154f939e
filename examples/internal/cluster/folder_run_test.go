package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/cluster"
)

// Two processes over one folder, as on a control machine and a node: the
// reader sees the writer's objects and what it says of them.
func TestFolder_Run(t *testing.T) {
	dir := t.TempDir()
	manifests, status := filepath.Join(dir, "in"), filepath.Join(dir, "status")
	missing := cluster.NewFolder(cluster.FolderConfig{Manifests: manifests, Status: status})
	require.ErrorContains(t, missing.Run(t.Context(), func() {}, nil), manifests)
	require.NoError(t, os.Mkdir(manifests, 0o755))

	ctx, cancel := context.WithCancel(t.Context())
	start := func(writer bool) (*cluster.Folder, chan error) {
		f := cluster.NewFolder(cluster.FolderConfig{Manifests: manifests, Status: status, Writer: writer})
		synced, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- f.Run(ctx, func() { close(synced) }, func(cluster.Ref) {}) }()
		<-synced
		return f, ended
	}
	writer, writerEnded := start(true)
	reader, readerEnded := start(false)
	eventually := func(ok func() bool) { t.Helper(); require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond) }
	seen := func() string {
		if p, ok := reader.Cache().Pod("default", "p"); ok {
			return string(p.UID) + p.Annotations["k"]
		}
		return ""
	}
	file := filepath.Join(manifests, "p.yaml")
	require.NoError(t, os.WriteFile(file, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"), 0o644))
	eventually(func() bool { return seen() != "" })
	uid := seen()
	ref := cluster.Ref{Kind: cluster.KindPod, Namespace: "default", Name: "p"}
	require.NoError(t, writer.Annotate(ctx, ref, uid, map[string]string{"k": "=v"}))
	eventually(func() bool { return seen() == uid+"=v" })
	require.NoError(t, os.Remove(file))
	eventually(func() bool { return seen() == "" })
	cancel()
	require.NoError(t, <-writerEnded)
	require.NoError(t, <-readerEnded)
}
