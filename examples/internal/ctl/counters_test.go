package ctl_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/ctl"
)

func TestCounters(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/policy" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"rules":[{"direction":"IN","section":"s","rule":"r","display_name":"shop/web","action":"REJECT","packets":3,"bytes":180},
			{"direction":"IN","action":"ALLOW","packets":9,"bytes":600}]}`))
	}))
	defer agent.Close()
	var out, errs strings.Builder
	require.Zero(t, ctl.Main(t.Context(), []string{"policy", "counters", "-agent", agent.URL}, &out, &errs), errs.String())
	require.Equal(t, "DIRECTION  SECTION  RULE  ACTION  PACKETS  BYTES  NAME\nIN         s        r     REJECT  3        180    shop/web\nIN         default        ALLOW   9        600    \n", out.String())
	require.Equal(t, 1, ctl.Main(t.Context(), []string{"policy", "counters", "-agent", agent.URL + "/else"}, &out, &errs))
	require.Contains(t, errs.String(), "404")
	require.Equal(t, 2, ctl.Main(t.Context(), []string{"policy", "counters"}, &out, &errs))
}
