package intent_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/reconcile/intent/intenttest"
)

func TestMemory(t *testing.T) {
	intenttest.TestStore(t, func(*testing.T) intent.Store { return intent.NewMemory() })
}

func openBolt(t *testing.T, path string, cfg intent.StoreConfig) *intent.Bolt {
	t.Helper()
	b, err := intent.OpenBoltWith(path, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBolt(t *testing.T) {
	intenttest.TestStore(t, func(t *testing.T) intent.Store {
		return openBolt(t, filepath.Join(t.TempDir(), "intent.db"), intent.StoreConfig{})
	})
}

// serve mounts a store at a prefix, as the manager does, and returns a client of it.
func serve(t *testing.T, s intent.Store, cfg intent.Config) *intent.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/api/v1/spans/host-1/", http.StripPrefix("/api/v1/spans/host-1", intent.NewHandler(s, cfg)))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return intent.NewClient(srv.URL+"/api/v1/spans/host-1/", srv.Client())
}

func TestClient(t *testing.T) {
	intenttest.TestStore(t, func(t *testing.T) intent.Store { return serve(t, intent.NewMemory(), intent.Config{}) })
}
