package intent_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/reconcile/intent"
)

// TestMirrorOutage: the server dies, answers with faults, and comes back with another store, as a
// manager does whose spans live in memory.
func TestMirrorOutage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var current atomic.Pointer[http.Handler]
	use := func(h http.Handler) { current.Store(&h) }
	first := intent.NewMemory()
	use(intent.NewHandler(first, intent.Config{}))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load()).ServeHTTP(w, r) }))
	defer srv.Close()
	_, err := first.Apply(ctx, []intent.Change{segment("a", 1), segment("b", 1)})
	require.NoError(t, err)

	type seen struct {
		ids      []string
		changed  []intent.Key
		relisted bool
	}
	snaps, faults := make(chan seen, 100), make(chan error, 1000)
	run, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		cfg := intent.MirrorConfig{MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond, OnError: func(err error) { faults <- err }}
		done <- intent.MirrorWith(run, intent.NewClient(srv.URL, srv.Client()), intent.Query{}, cfg, func(s intent.Snapshot) {
			got := seen{changed: s.Changed, relisted: s.Relisted}
			for _, o := range s.Objects() {
				got.ids = append(got.ids, o.ID)
			}
			snaps <- got
		})
	}()
	a, b, c := intent.Key{ResourceType: "Segment", ID: "a"}, intent.Key{ResourceType: "Segment", ID: "b"}, intent.Key{ResourceType: "Segment", ID: "c"}
	require.Equal(t, seen{[]string{"a", "b"}, []intent.Key{a, b}, true}, <-snaps)

	// The same store after an outage: resumed, not listed again.
	use(http.NotFoundHandler())
	srv.CloseClientConnections()
	require.ErrorIs(t, <-faults, intent.ErrUnavailable)
	_, err = first.Apply(ctx, []intent.Change{intent.Delete("Segment", "a")})
	require.NoError(t, err)
	use(intent.NewHandler(first, intent.Config{}))
	require.Equal(t, seen{[]string{"b"}, []intent.Key{a}, false}, <-snaps)

	// Another store: listed again, the difference told.
	second := intent.NewMemory()
	_, err = second.Apply(ctx, []intent.Change{segment("c", 1), segment("b", 1)})
	require.NoError(t, err)
	use(intent.NewHandler(second, intent.Config{}))
	require.NoError(t, first.Close())
	got := <-snaps
	require.Equal(t, []string{"b", "c"}, got.ids)
	require.Contains(t, got.changed, c)
	require.True(t, got.relisted)

	healthy := false
	for !healthy {
		select {
		case err := <-faults:
			healthy = err == nil && len(faults) == 0
		case <-ctx.Done():
			t.Fatal("recovery was never told")
		}
	}
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
}
