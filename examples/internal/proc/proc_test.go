package proc_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/proc"
)

type config struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

func runMain(t *testing.T, args ...string) (int, config, string) {
	cfg := config{Name: "default"}
	var out bytes.Buffer
	code := proc.Main(args, &out, proc.Command{
		Name: "x", Summary: "does it.", Config: &cfg,
		Flags: func(fs *flag.FlagSet) { fs.StringVar(&cfg.Name, "name", cfg.Name, "`name`") },
		Validate: func() error {
			if cfg.Size < 0 {
				return errors.New("size: negative")
			}
			return nil
		},
		Run: func(context.Context, proc.Env) error { return nil },
	})
	return code, cfg, out.String()
}

func TestMain_FlagsWinOverFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: file\nsize: 3\n"), 0o644))
	code, cfg, _ := runMain(t, "--config", file)
	require.Equal(t, 0, code)
	require.Equal(t, config{"file", 3}, cfg)
	_, cfg, _ = runMain(t, "--config", file, "--name", "flag")
	require.Equal(t, config{"flag", 3}, cfg)
}

func TestMain_NamesTheFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	for text, want := range map[string]string{"nam: x\n": `unknown field "nam"`, "size: -1\n": "size: negative", "size: [\n": "c.yaml"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		code, _, out := runMain(t, "--config", file)
		require.Equal(t, 2, code)
		require.Contains(t, out, want)
	}
	code, _, out := runMain(t, "stray")
	require.Equal(t, 2, code)
	require.Contains(t, out, `"stray"`)
	code, _, out = runMain(t, "--help")
	require.Equal(t, 0, code)
	require.Contains(t, out, "does it.")
}

func TestHealth(t *testing.T) {
	h := proc.NewHealth()
	get := func() (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
		return rec.Code, rec.Body.String()
	}
	h.Set("switch", errors.New("away"))
	code, body := get()
	require.Equal(t, 503, code)
	require.Contains(t, body, "away")
	h.Set("switch", nil)
	code, _ = get()
	require.Equal(t, 200, code)
}
