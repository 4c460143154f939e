package intent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	m := NewMemory()
	mux := http.NewServeMux()
	mux.Handle("/api/v1/intent/", http.StripPrefix("/api/v1/intent", NewHandler(m, Config{})))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c := NewClient(srv.URL+"/api/v1/intent", srv.Client())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	rev, err := c.Apply(ctx, []Change{Put(Object{ResourceType: "Segment", ID: "a/b c", Body: []byte(`{"vni": 3, "a":[1,{"z":1,"b":"<"}]}`)})})
	require.NoError(t, err)
	require.Equal(t, uint64(1), rev)
	_, err = c.Apply(ctx, []Change{Delete("Segment", "a/b c").If(4)})
	require.ErrorIs(t, err, ErrConflict)
	t.Log(err)
	o, err := Lookup(ctx, c, "Segment", "a/b c")
	require.NoError(t, err)
	require.Equal(t, `{"a":[1,{"b":"<","z":1}],"vni":3}`, string(o.Body))
	for ev, err := range c.Watch(ctx, 0, Query{}) {
		require.NoError(t, err)
		require.Equal(t, EventPut, ev.Type)
		break
	}
	for _, err := range c.Watch(ctx, 7, Query{}) {
		require.ErrorIs(t, err, ErrCompacted)
		t.Log(err)
	}
}
