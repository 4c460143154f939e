// Package managertest runs a manager in the process of a test.
//
//	c, _ := managertest.Start(t, managertest.Config(t))
package managertest

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/loopback"
	"github.com/tierloom/tierloom/examples/internal/manager"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

// Config is that of a manager with an address and a folder of its own, which
// keeps nothing in quarantine.
func Config(t testing.TB) manager.Config {
	t.Helper()
	return manager.Config{Listen: loopback.Address(t), Data: filepath.Join(t.TempDir(), "data"), Quarantine: "0s"}
}

// Start runs a manager until stop is called, which may be called again, or the
// test ends, and returns a client of it. A run that ends with an error fails the
// test.
func Start(t testing.TB, cfg manager.Config) (c *api.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(ctx, cfg, slog.New(slog.DiscardHandler), proc.NewHealth()) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return Client(t, cfg), stop
}

// Client returns one of a manager that is about to answer, once it does.
func Client(t testing.TB, cfg manager.Config) *api.Client {
	t.Helper()
	c := api.NewClient("http://"+cfg.Listen, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	require.Eventually(t, func() bool { _, err := c.Status(t.Context()); return err == nil }, 30*time.Second, 5*time.Millisecond, "the manager answers")
	return c
}
