package ctl_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/ctl"
	"github.com/tierloom/tierloom/examples/internal/loopback"
	"github.com/tierloom/tierloom/examples/internal/managertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// startManager returns the address of a manager in this process.
func startManager(t *testing.T) string {
	t.Helper()
	cfg := managertest.Config(t)
	managertest.Start(t, cfg)
	return cfg.Listen
}

func client(addr string) *api.Client {
	return api.NewClient("http://"+addr, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
}

// run carries out a command line; args are separated by spaces.
func run(t *testing.T, args string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = ctl.Main(t.Context(), strings.Fields(args), &o, &e)
	return code, o.String(), e.String()
}

// unstable is what differs from run to run.
var unstable = regexp.MustCompile(`"epoch": "[^"]*"`)

// TestSession holds a whole dialogue against testdata/session.txt.
func TestSession(t *testing.T) {
	addr := startManager(t)
	var session strings.Builder
	do := func(args string) {
		code, out, errs := run(t, "-manager http://"+addr+" "+args)
		fmt.Fprintf(&session, "$ tierloomctl %s\n%s%s[%d]\n\n", args, unstable.ReplaceAllString(out, `"epoch": "..."`), errs, code)
	}
	do("status")
	do("get Segment")
	do("apply -f testdata/objects.yaml")
	do("apply -f testdata/objects.yaml")
	do("status")
	do("get SegmentPort")
	do("get SegmentPort web-1")
	do("get -o json SegmentPort web-1")
	do("get SegmentPort web-1 -o json")
	do("get -tag ncp/cluster=c1")
	do("get SegmentPort -tag ncp/node_name=n1")
	do("get SegmentPort nobody")
	do("topology")

	for _, a := range []api.Allocation{
		{Kind: api.Address, Pool: "snat", Owner: "c1/snat/b"}, {Kind: api.Address, Pool: "snat", Owner: "c2/snat/a"},
		{Kind: api.VLAN, Pool: "n1", Owner: "c1/port/a"}, {Kind: api.MAC, Owner: "c1/port/a"},
	} {
		_, err := client(addr).Allocate(t.Context(), a)
		require.NoError(t, err)
	}
	do("leases")
	do("leases c1/port/")
	do("leases nobody")

	do("realized")
	c := client(addr)
	// A span follows its intent; the host acknowledges it until it has the port.
	require.Eventually(t, func() bool {
		st, err := c.Span("h1").Status(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.Acknowledge(t.Context(), "h1", api.Ack{Epoch: st.Epoch, Revision: st.Revision}))
		_, out, _ := run(t, "-manager http://"+addr+" realized")
		return strings.Contains(out, "web-1")
	}, 30*time.Second, 5*time.Millisecond)
	do("realized")

	do("delete SegmentPort web-1")
	do("delete SegmentPort web-1")
	do("apply -f testdata/faults.yaml")
	do("apply -f testdata/refused.yaml")
	do("get IpAddressBlock")

	golden := filepath.Join("testdata", "session.txt")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(session.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), session.String()))
}

func TestTopologySVG(t *testing.T) {
	addr := startManager(t)
	code, _, errs := run(t, "-manager http://"+addr+" apply -f testdata/objects.yaml")
	require.Zero(t, code, errs)
	code, out, errs := run(t, "-manager http://"+addr+" topology -format svg")
	require.Zero(t, code, errs)
	require.True(t, strings.HasPrefix(out, "<svg"), out)
	for _, want := range []string{"provider", "development", "web-1", "10.4.0.0/24", "h1"} {
		require.Contains(t, out, want)
	}
}

// A command line that makes no sense asks no manager: it ends with code 2 and
// one line that says what is wrong.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 `no command ""`,
		"fly":                              `no command "fly"`,
		"-nope status":                     "flag provided but not defined: -nope",
		"-manager":                         "flag needs an argument: -manager",
		"-manager nonsense status":         `-manager "nonsense": want a URL`,
		"-manager ftp://h status":          "want a URL",
		"-manager 127.0.0.1:7443 status":   "want a URL",
		"-tls-ca ca.pem status":            "all three or none",
		"status now":                       "usage: status",
		"status -v":                        "not defined: -v",
		"get":                              "usage: get KIND [ID]",
		"get A b c":                        "usage: get KIND [ID]",
		"get -tag ncp/cluster":             `-tag "ncp/cluster": want scope=value`,
		"get -o yaml Segment":              `-o "yaml": want table or json`,
		"get Segment -x":                   "not defined: -x",
		"apply":                            "usage: apply -f FILE",
		"apply testdata/objects.yaml":      "usage: apply -f FILE",
		"apply -f testdata/objects.yaml x": "usage: apply -f FILE",
		"delete Segment":                   "usage: delete KIND ID",
		"delete Segment a b":               "usage: delete KIND ID",
		"leases a b":                       "usage: leases [PREFIX]",
		"realized all":                     "usage: realized",
		"topology -format png":             `-format "png": want svg or mermaid`,
		"topology svg":                     "usage: topology",

		"policy":                                          "policy explain -from",
		"policy explain -from a -to 192.0.2.1:1":          `-from "a" is neither`,
		"policy explain -from a/b -to 192.0.2.1":          `-to "192.0.2.1": want a port`,
		"policy explain -from a/b -to c/d:x":              `port "x" is not a number`,
		"policy explain -from a/b -to c/d:80 -proto quic": `-proto "quic"`,
		"policy explain -from a/b -to c/d:80 now":         "policy explain -from",
	} {
		code, out, errs := run(t, args)
		require.Equal(t, 2, code, "%s: %s", args, errs)
		require.Empty(t, out, args)
		require.True(t, strings.HasPrefix(errs, "tierloomctl: usage: "), "%s: %s", args, errs)
		require.Contains(t, errs, want, args)
		require.Equal(t, 1, strings.Count(errs, "\n"), "%s: %s", args, errs)
	}
}

func TestHelp(t *testing.T) {
	for args, want := range map[string][]string{
		"-h":              {"usage: tierloomctl [flags] COMMAND", "topology", "-tls-ca"},
		"--help":          {"-manager URL"},
		"get -h":          {"usage: tierloomctl get KIND [ID]", "-tag scope=value"},
		"topology --help": {"-format"},
		"status -h":       {"usage: tierloomctl status"},
	} {
		code, out, errs := run(t, args)
		require.Zero(t, code, args)
		require.Empty(t, out, args)
		for _, w := range want {
			require.Contains(t, errs, w, args)
		}
	}
}

// What fails beyond the command line ends with code 1, and names what and where.
func TestFailures(t *testing.T) {
	addr := loopback.Address(t)
	away := "-manager http://" + addr + " "
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for args, want := range map[string][]string{
		away + "status":                         {addr, "connection refused"},
		away + "get Segment":                    {addr, "connection refused"},
		away + "delete Segment s":               {addr, "connection refused"},
		away + "leases":                         {addr, "connection refused"},
		away + "realized":                       {addr, "connection refused"},
		away + "topology":                       {addr, "connection refused"},
		away + "apply -f testdata/objects.yaml": {addr, "connection refused"},
		away + "apply -f testdata/nowhere.yaml": {"testdata/nowhere.yaml"},
		"-tls-ca x -tls-cert y -tls-key " + missing + " status": {"tls: ca"},
	} {
		code, out, errs := run(t, args)
		require.Equal(t, 1, code, args)
		require.Empty(t, out, args)
		for _, w := range want {
			require.Contains(t, errs, w, args)
		}
	}
}
