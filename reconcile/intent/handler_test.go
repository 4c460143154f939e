package intent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/reconcile/intent"
)

func TestHandler(t *testing.T) {
	store := intent.NewMemory()
	st, err := store.Status(t.Context())
	require.NoError(t, err)
	cfg := intent.Config{
		MaxBytes: 400,
		Validate: func(o intent.Object) error {
			if o.ResourceType == "Bad" {
				return &intent.Error{Field: "vni", Kind: intent.ErrInvalid, Err: errors.New("out of range")}
			}
			return nil
		},
		Principal: func(r *http.Request) string { return r.Header.Get("Principal") },
		Authorize: func(who string, c intent.Change) error {
			if who != "ncp" {
				return errors.New("only ncp writes here")
			}
			return nil
		},
	}
	h := http.StripPrefix("/api/v1/intent", intent.NewHandler(store, cfg))
	for _, tc := range []struct {
		request string // method, target, header or "-", body
		code    int
		want    string // part of the answer
	}{
		{`GET /status - `, 200, `{"epoch":"` + st.Epoch + `","revision":0,"objects":0}`},
		{`PUT /Segment/web - {"vni":1}`, 200, `{"resource_type":"Segment","id":"web","_revision":1,"vni":1}`},
		{`PUT /Segment/web - {"vni":1}`, 200, `"_revision":1`},
		{`PUT /Segment/web - {"_revision":7,"vni":2}`, 412, `"kind":"conflict"`},
		{`PUT /Segment/web If-Match:"7" {"vni":2}`, 412, `"field":"if_revision"`},
		{`PUT /Segment/web If-None-Match:* {"vni":2}`, 412, `must not exist`},
		{`PUT /Segment/web If-Match:"1" {"_revision":1,"vni":2}`, 200, `"_revision":2`},
		{`PUT /Segment/web If-Match:x {}`, 400, `"field":"If-Match"`},
		{`PUT /Segment/web - {"id":"db"}`, 400, `"field":"id"`},
		{`PUT /Segment/web - {"tags":[{"scope":1}]}`, 400, `"field":"tags.scope"`},
		{`PUT /Segment/web - {"tags":[{"scope":"a:b"}]}`, 400, `"field":"tags[0].scope"`},
		{`PUT /Segment/web - {"vni":1,"vni":2}`, 400, `"field":"vni"`},
		{`PUT /Segment/web - {"vni":`, 400, `"kind":"invalid"`},
		{`PUT /Segment/web - {"vni":"` + strings.Repeat("x", 400) + `"}`, 413, `"kind":"invalid"`},
		{`PUT /Bad/web - {"vni":1}`, 400, `"field":"vni"`},
		{`PUT /Segment/web Principal:eve {"vni":9}`, 403, `only ncp writes here`},
		{`PUT /Segment/web Principal: {"vni":9}`, 403, `"kind":"forbidden"`},
		{`GET /Segment/web - `, 200, `"vni":2`},
		{`GET /Segment/db - `, 404, `"kind":"not_found"`},
		{`GET /Segment - `, 200, `"result_count":1,"revision":2`},
		{`GET ?resource_type=Segment&tag=a:b - `, 200, `"results":[],"result_count":0`},
		{`GET /?tag=ab - `, 400, `"field":"tag"`},
		{`GET /?tags=a:b - `, 400, `"field":"tags"`},
		{`GET /?epoch=other - `, 410, `"kind":"compacted"`},
		{`GET /watch?from=x - `, 400, `"field":"from"`},
		{`GET /watch?epoch=other - `, 410, `"kind":"compacted"`},
		{`POST :batch - {"changes":[{"put":{"resource_type":"Segment","id":"b","x":1}},{"delete":{"resource_type":"Segment","id":"web"},"if_revision":2}]}`, 200, `{"revision":4}`},
		{`POST /batch - {"changes":[{"put":{"resource_type":"Bad","id":"b"}}]}`, 400, `"field":"changes[0].put.vni"`},
		{`POST /batch - {"change":[]}`, 400, `"field":"change"`},
		{`POST /batch - {"changes":[]} x`, 400, `"kind":"invalid"`},
		{`DELETE /Segment/b If-Match:"1" `, 412, `"kind":"conflict"`},
		{`DELETE /Segment/b If-Match:"3" `, 200, `{"revision":5}`},
		{`DELETE /Segment/b - `, 200, `{"revision":5}`},
		{`PATCH /Segment/b - {}`, 405, `method PATCH`},
		{`GET /a/b/c - `, 404, `"kind":"not_found"`},
	} {
		part := strings.SplitN(tc.request, " ", 4)
		r := httptest.NewRequest(part[0], "http://manager/api/v1/intent"+part[1], strings.NewReader(part[3]))
		r.Header.Set("Principal", "ncp")
		if name, value, ok := strings.Cut(part[2], ":"); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, tc.code, w.Code, "%s: %s", tc.request, w.Body)
		require.Contains(t, w.Body.String(), tc.want, tc.request)
	}
}

func TestErrorsOverHTTP(t *testing.T) {
	kinds := []error{intent.ErrInvalid, intent.ErrConflict, intent.ErrNotFound, intent.ErrCompacted, intent.ErrForbidden, intent.ErrUnavailable}
	for _, want := range kinds {
		c := serve(t, intent.NewMemory(), intent.Config{Validate: func(intent.Object) error {
			return &intent.Error{Kind: want, Field: "vni", Err: errors.New("for the test")}
		}})
		_, err := c.Apply(t.Context(), []intent.Change{segment("a", 1)})
		for _, kind := range kinds {
			require.Equal(t, kind == want, errors.Is(err, kind), "%v is %v", err, kind)
		}
		var e *intent.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "changes[0].put.vni", e.Field)
		require.Equal(t, intent.Key{ResourceType: "Segment", ID: "a"}, e.Key)
		require.ErrorContains(t, err, "for the test")
	}
}

func TestClientUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	c := intent.NewClient("http://"+l.Addr().String(), nil)
	_, err = c.Status(t.Context())
	require.ErrorIs(t, err, intent.ErrUnavailable)
	require.ErrorIs(t, firstError(c.Watch(t.Context(), 0, intent.Query{})), intent.ErrUnavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Status(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// pipes is a listener whose connections are made in memory, so that they keep to a clock that is
// not real.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "pipes"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.made <- far
	return near, nil
}

// inMemory returns a client of a handler, to be used inside synctest, and what ends both.
func inMemory(h http.Handler) (c *intent.Client, end func()) {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(p) }()
	transport := &http.Transport{DialContext: p.dial}
	return intent.NewClient("http://memory", &http.Client{Transport: transport}), func() {
		transport.CloseIdleConnections()
		_ = srv.Close()
	}
}

// TestClientDeadPeer: a server that says nothing more is noticed.
func TestClientDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := make(chan struct{})
		c, end := inMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"type":"heartbeat"}`+"\n")
			w.(http.Flusher).Flush()
			<-silent
		}))
		defer end()
		defer close(silent)
		c.Silence = time.Minute
		start := time.Now()
		err := firstError(c.Watch(t.Context(), 0, intent.Query{}))
		require.ErrorIs(t, err, intent.ErrUnavailable)
		require.ErrorContains(t, err, "nothing heard")
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// TestHeartbeat: a quiet watch outlives the silence a client bears.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := inMemory(intent.NewHandler(intent.NewMemory(), intent.Config{}))
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, firstError(c.Watch(ctx, 0, intent.Query{})), context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

// TestSlowWatcher: a watcher that does not read holds up nobody, and is told that it fell behind.
func TestSlowWatcher(t *testing.T) {
	store := intent.NewMemoryWith(intent.StoreConfig{History: 10})
	_, err := store.Apply(t.Context(), []intent.Change{segment("a", 0)})
	require.NoError(t, err)
	var last error
	for ev, err := range store.Watch(t.Context(), 0, intent.Query{}) {
		if last = err; err != nil {
			break
		}
		require.EqualValues(t, 1, ev.Revision)
		for i := range 100 { // while the watcher holds the event
			_, err := store.Apply(t.Context(), []intent.Change{segment("a", i+1)})
			require.NoError(t, err)
		}
	}
	require.ErrorIs(t, last, intent.ErrCompacted)
}
