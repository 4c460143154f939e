package proc

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Health is what a process says of itself: a state for each part that it
// depends on. Its methods may be called concurrently.
type Health struct {
	mu    sync.Mutex
	parts map[string]string // part → why it is not well, "" when it is
}

// NewHealth returns a Health with no parts, which is healthy.
func NewHealth() *Health { return &Health{parts: map[string]string{}} }

// Set records the state of a part: nil when it is well.
func (h *Health) Set(part string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parts[part] = ""
	if err != nil {
		h.parts[part] = err.Error()
	}
}

// ServeHTTP answers 200 when every part is well, else 503, with the parts.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	code := http.StatusOK
	for _, why := range h.parts {
		if why != "" {
			code = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"healthy": code == http.StatusOK, "parts": h.parts})
}

// serve runs the health endpoint beside run and ends it when run returns.
func serve(ctx context.Context, addr string, env Env, run func(context.Context, Env) error) error {
	if addr == "" {
		return run(ctx, env)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", env.Health)
	mux.Handle("/", env.Status)
	stop, err := Serve(addr, mux)
	if err != nil {
		return err
	}
	defer stop()
	return run(ctx, env)
}

// Serve answers HTTP on addr until the returned function is called.
func Serve(addr string, h http.Handler) (stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	return func() {
		_ = srv.Close()
		<-done
	}, nil
}

// Backoff calls f until ctx is done, waiting between failures: 50 ms first,
// doubling to 2 s, and from the start again after f ran for over 10 s.
func Backoff(ctx context.Context, f func(context.Context) error, failed func(error)) {
	const first, most = 50 * time.Millisecond, 2 * time.Second
	wait := first
	for ctx.Err() == nil {
		started := time.Now()
		err := f(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			failed(err)
		}
		if time.Since(started) > 10*time.Second {
			wait = first
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, most)
	}
}
