package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reading of a folder in which one pod's annotation changed.
func BenchmarkFolder_OneChange(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("pods=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			cfg := FolderConfig{Manifests: filepath.Join(dir, "in"), Status: filepath.Join(dir, "status")}
			var text strings.Builder
			for _, d := range []string{cfg.Manifests, cfg.Status} {
				if err := os.Mkdir(d, 0o755); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				name := fmt.Sprintf("p%d", i)
				text.WriteString(pod("a", name))
				status := filepath.Join(cfg.Status, fileName(ref("a", name)))
				if err := os.WriteFile(status, fmt.Appendf(nil, `{"uid":"u%d"}`, i), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(cfg.Manifests, "p.yaml"), []byte(text.String()), 0o644); err != nil {
				b.Fatal(err)
			}
			f := NewFolder(cfg)
			if _, err := f.scan(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				status := filepath.Join(cfg.Status, fileName(ref("a", "p1")))
				if err := os.WriteFile(status, fmt.Appendf(nil, `{"uid":"u1","annotations":{"k":"%d"}}`, i), 0o644); err != nil {
					b.Fatal(err)
				}
				if refs, err := f.scan(); err != nil || len(refs) != 1 {
					b.Fatal(refs, err)
				}
			}
		})
	}
}
