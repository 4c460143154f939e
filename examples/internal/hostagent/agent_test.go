package hostagent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/hostagent"
	"github.com/tierloom/tierloom/examples/internal/managertest"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A logBuffer may be read while it is written to.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// generation is what ct_mark says of connections.
var generation = regexp.MustCompile(`ct_mark=0x[0-9a-f]+(/0x[0-9a-f]+)?|0x[0-9a-f]+->ct_mark`)

// timeless returns flows without the generation of connections.
func timeless(flows []string) []string {
	var out []string
	for _, f := range flows {
		out = append(out, generation.ReplaceAllString(f, "ct_mark"))
	}
	slices.Sort(out)
	return out
}

// A host is a manager and the agent of one host, in this process.
type host struct {
	t      *testing.T
	api    *api.Client
	runDir string
	health *proc.Health
	log    *logBuffer
	stop   func() // of the agent

	restoreLimit time.Duration
}

// newHost returns a host whose agent has not been started, and runs its manager.
func newHost(t *testing.T, runDir string) *host {
	t.Helper()
	c, _ := managertest.Start(t, managertest.Config(t))
	return &host{t: t, api: c, runDir: runDir}
}

func (h *host) start() {
	h.t.Helper()
	h.health, h.log = proc.NewHealth(), &logBuffer{}
	agent := hostagent.New(hostagent.Config{
		Host: "h1", RunDir: h.runDir, Bridge: "br-int", DatapathType: "netdev", Manager: h.api,
		Log: slog.New(slog.NewTextHandler(h.log, nil)), Health: h.health, RestoreLimit: h.restoreLimit,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, <-ended)
	})
	h.t.Cleanup(h.stop)
}

func (h *host) eventually(ok func() bool, what string) {
	h.t.Helper()
	require.Eventually(h.t, ok, 60*time.Second, 10*time.Millisecond, what)
}

func (h *host) put(docs ...string) {
	h.t.Helper()
	var changes []intent.Change
	for _, d := range docs {
		var o intent.Object
		require.NoError(h.t, json.Unmarshal([]byte(d), &o), d)
		changes = append(changes, intent.Put(o))
	}
	_, err := h.api.Intent.Apply(h.t.Context(), changes)
	require.NoError(h.t, err)
}

func (h *host) delete(kind, id string) {
	h.t.Helper()
	_, err := h.api.Intent.Apply(h.t.Context(), []intent.Change{intent.Delete(kind, id)})
	require.NoError(h.t, err)
}

// realized lists the ports that the host has acknowledged, without an error.
func (h *host) realized() (ids []string) {
	objs, _, err := h.api.Realized.List(h.t.Context(), intent.Query{ResourceType: model.KindRealizedPort})
	require.NoError(h.t, err)
	for _, o := range objs {
		p, err := model.Decode[model.RealizedPort](o)
		require.NoError(h.t, err)
		if p.Error == "" {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// well is what /healthz says.
func (h *host) well() (bool, string) {
	rec := httptest.NewRecorder()
	h.health.ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
	return rec.Code == 200, rec.Body.String()
}

var counters = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age)=[^,]*, ?`)

// flows returns the flows of the bridge, without what counts.
func flows(in *ovstest.Instance) []string {
	var out []string
	for line := range strings.Lines(in.Ofctl("dump-flows", "br-int")) {
		if strings.Contains(line, "table=") {
			out = append(out, strings.TrimSpace(counters.ReplaceAllString(line, "")))
		}
	}
	slices.Sort(out)
	return out
}

func externalIDs(t *testing.T, in *ovstest.Instance) string {
	out, err := in.Vsctl(t.Context(), "get", "Bridge", "br-int", "external_ids")
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

var network = []string{
	`{"resource_type":"Tier0","id":"t0","transit_vni":100}`,
	`{"resource_type":"Tier1","id":"t1","tier0_path":"t0"}`,
	`{"resource_type":"Segment","id":"s","connectivity_path":"t1","vni":5000,"subnets":[{"gateway_address":"10.4.0.1/24"}]}`,
	`{"resource_type":"HostTransportNode","id":"h1","tep":"192.0.2.1","role":"host"}`,
	`{"resource_type":"SegmentPort","id":"p1","attachment":{"type":"PARENT","id":"v1"}}`,
	`{"resource_type":"SegmentPort","id":"a","segment_path":"s","attachment":{"type":"CHILD","context_id":"p1","traffic_tag":7},"address_bindings":[{"ip_address":"10.4.0.2","mac_address":"02:00:00:00:00:01"}]}`,
}

const portB = `{"resource_type":"SegmentPort","id":"b","segment_path":"s","attachment":{"type":"CHILD","context_id":"p1","traffic_tag":8},"address_bindings":[{"ip_address":"10.4.0.3","mac_address":"02:00:00:00:00:02"}]}`

// One host with a real switch: a span is applied; a restart writes nothing; a
// switch that lost its flows gets them back; a port that is removed leaves
// nothing; a VIF that is unplugged takes its pods' flows along.
func TestAgent_Switch(t *testing.T) {
	in := ovstest.Start(t)
	h := newHost(t, in.RunDir)
	in.AddBridge("br-int")
	in.AddPort("br-int", "vnic1", "type=internal", "external_ids:iface-id=v1")
	before := flows(in)
	h.start()
	h.put(network...)
	h.eventually(func() bool { return slices.Equal(h.realized(), []string{"a"}) }, "port a is realized")
	h.eventually(func() bool { ok, _ := h.well(); return ok }, "healthy")
	attached, err := intent.Lookup(t.Context(), h.api.Intent, model.KindHostAttachments, "h1")
	require.NoError(t, err)
	require.JSONEq(t, `{"iface_ids":["v1"]}`, string(attached.Body))
	one, ids := flows(in), externalIDs(t, in)
	require.Greater(t, len(one), len(before))
	require.Contains(t, ids, `tierloom-key-a="1"`)

	// Restart: the same span, and not one message that changes the switch.
	h.stop()
	revision := status(t, h).Revision
	h.start()
	h.put(strings.Replace(network[5], `"id":"a"`, `"id":"a","display_name":"x"`, 1)) // something to acknowledge
	h.eventually(func() bool {
		o, err := intent.Lookup(t.Context(), h.api.Realized, model.KindRealizedPort, "a")
		require.NoError(t, err)
		p, err := model.Decode[model.RealizedPort](o)
		require.NoError(t, err)
		return p.Revision == revision+1
	}, "acknowledged")
	h.stop()
	require.NotContains(t, h.log.String(), "flows written")
	require.Equal(t, one, flows(in))
	require.Equal(t, ids, externalIDs(t, in))
	require.Equal(t, revision+1, status(t, h).Revision, "nothing reported that did not change")

	// A second pod, and another agent that made no round before.
	h.start()
	h.put(portB)
	h.eventually(func() bool { return slices.Equal(h.realized(), []string{"a", "b"}) }, "port b is realized")
	two := flows(in)
	require.Greater(t, len(two), len(one))
	require.Contains(t, externalIDs(t, in), `tierloom-key-b="2"`)
	// To this agent the rules that were there are unknown: connections are of a new generation.
	match := func(line string) string {
		m, _, _ := strings.Cut(line, "actions=")
		return generation.ReplaceAllString(m, "ct_mark")
	}
	for _, line := range one {
		require.True(t, slices.ContainsFunc(two, func(l string) bool { return match(l) == match(line) }), line)
	}

	// The switch starts again without its flows.
	require.NoError(t, in.RestartVSwitchd(t.Context()))
	h.eventually(func() bool { return slices.Equal(flows(in), two) }, "flows are back")

	// The pod goes.
	h.delete("SegmentPort", "b")
	h.eventually(func() bool { return slices.Equal(h.realized(), []string{"a"}) }, "port b is gone")
	h.eventually(func() bool { return externalIDs(t, in) == ids }, "and its key")
	require.Equal(t, timeless(one), timeless(flows(in)))

	// A port that cannot be realized says why; the flows stay.
	h.put(`{"resource_type":"SegmentPort","id":"a","segment_path":"s","attachment":{"type":"CHILD","context_id":"p1","traffic_tag":7},"address_bindings":[{"ip_address":"10.4.0.2","mac_address":"03:00:00:00:00:01"}]}`)
	h.eventually(func() bool {
		o, err := intent.Lookup(t.Context(), h.api.Realized, model.KindRealizedPort, "a")
		return err == nil && strings.Contains(string(o.Body), `"error"`)
	}, "the fault is told")
	require.Equal(t, timeless(one), timeless(flows(in)))
	h.put(network...)
	h.eventually(func() bool { return slices.Equal(h.realized(), []string{"a"}) }, "healed")

	// The VIF is unplugged.
	_, err = in.Vsctl(t.Context(), "remove", "Interface", "vnic1", "external_ids", "iface-id")
	require.NoError(t, err)
	h.eventually(func() bool {
		return !strings.Contains(strings.Join(flows(in), "\n"), "10.4.0.2") && !strings.Contains(externalIDs(t, in), "tierloom-key")
	}, "nothing is left of its pod")
	o, err := intent.Lookup(t.Context(), h.api.Intent, model.KindHostAttachments, "h1")
	require.NoError(t, err)
	require.JSONEq(t, `{"iface_ids":[]}`, string(o.Body))
}

func status(t *testing.T, h *host) api.Status {
	st, err := h.api.Status(t.Context())
	require.NoError(t, err)
	return st
}

// Without a switch, and without a manager, the agent says so, tries again, and
// needs no restart when they come.
func TestAgent_WaitsForSwitch(t *testing.T) {
	ovstest.Require(t, "ovs", "root")
	dir, err := os.MkdirTemp("", "ha")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := newHost(t, dir)
	h.start()
	h.eventually(func() bool { return strings.Count(h.log.String(), "switch session") >= 3 }, "tried again and again")
	ok, why := h.well()
	require.False(t, ok)
	require.Contains(t, why, dir+"/db.sock")
	in, err := ovstest.NewInstance(t.Context(), ovstest.InstanceConfig{RunDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, in.Close()) })
	h.eventually(func() bool { ok, _ := h.well(); return ok }, "healthy")

	in.KillDB()
	h.eventually(func() bool { ok, why := h.well(); return !ok && strings.Contains(why, "switch") }, "the outage is told")
	require.NoError(t, in.StartDB(t.Context()))
	h.eventually(func() bool { ok, _ := h.well(); return ok }, "healthy again")
	h.stop()
}

// A manager that does not answer is told, and no flow is touched meanwhile.
func TestAgent_WithoutManager(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br-int")
	_ = in.Ofctl("add-flow", "br-int", "cookie=0x7400000000000001,priority=5,actions=drop") // of an agent before
	h := &host{t: t, api: api.NewClient("http://127.0.0.1:1", &http.Client{}), runDir: in.RunDir}
	h.start()
	h.eventually(func() bool { return strings.Count(h.log.String(), "msg=manager") >= 3 }, "tried again and again")
	ok, why := h.well()
	require.False(t, ok)
	require.Contains(t, why, "127.0.0.1:1")
	h.eventually(func() bool { _, why := h.well(); return strings.Contains(why, `"switch":""`) }, "connected to the switch")
	require.Contains(t, strings.Join(flows(in), "\n"), "0x7400000000000001")
	h.stop()
	require.Contains(t, strings.Join(flows(in), "\n"), "0x7400000000000001")
}
