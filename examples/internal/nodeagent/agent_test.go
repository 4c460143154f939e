package nodeagent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A node is an agent in this process with a real switch.
type node struct {
	*Agent
	t      *testing.T
	in     *ovstest.Instance
	source source
	log    *logBuffer
	stop   func()
}

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

// start runs an agent over what the cluster has.
func (n *node) start() {
	n.t.Helper()
	n.log = &logBuffer{}
	n.Agent, _ = newAgent(n.in.RunDir)
	n.cfg.Source, n.objs = n.source, n.source.cache
	n.cfg.Socket = filepath.Join(n.in.RunDir, "cni.sock")
	n.Agent.log = slog.New(slog.NewTextHandler(n.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	agent := n.Agent
	go func() { ended <- agent.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(n.t, <-ended)
	})
	n.t.Cleanup(n.stop)
	n.eventually(func() bool { _, err := n.status(n.t.Context(), nil); return err == nil }, "ready")
}

func (n *node) eventually(ok func() bool, what string) {
	n.t.Helper()
	require.Eventually(n.t, ok, 60*time.Second, 10*time.Millisecond, what)
}

// do carries out a command where the switch is, as the node's agent would.
func (n *node) do(command func(context.Context, *cni.Request) (*cni.Result, error), r *cni.Request) (res *cni.Result, err error) {
	n.t.Helper()
	require.NoError(n.t, ovstest.InNS(n.in.NetNS, func() error {
		ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
		defer cancel()
		res, err = command(ctx, r)
		return nil
	}))
	return res, err
}

var counters = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age)=[^,]*, ?`)

// flows returns what the switch holds: flows, groups and ports.
func (n *node) flows() []string {
	var out []string
	for line := range strings.Lines(n.in.Ofctl("dump-flows", "br-int") + n.in.Ofctl("dump-groups", "br-int")) {
		if strings.Contains(line, "table=") || strings.Contains(line, "group_id=") {
			out = append(out, strings.TrimSpace(counters.ReplaceAllString(line, "")))
		}
	}
	ports, err := n.in.Vsctl(n.t.Context(), "list-ports", "br-int")
	require.NoError(n.t, err)
	slices.Sort(out)
	return append(out, strings.Fields(ports)...)
}

func TestAgent_Switch(t *testing.T) {
	in := ovstest.Start(t)
	ovstest.Veth(t, in.NetNS, "eth1", ovstest.NewNS(t), "trunk")
	_, src := newAgent("")
	n := &node{t: t, in: in, source: src}
	n.start()
	n.eventually(func() bool { return len(n.flows()) > 3 }, "flows without pods")
	empty := n.flows()

	sandbox := func(container, name, uid string) *cni.Request {
		r := request(container, name, uid)
		r.NetNS = ovstest.NSPath(ovstest.NewNS(t))
		return r
	}
	p := sandbox("c1", "p", "u1")
	n.source.put(n.Agent, "p", "u1", ready(cifOf("u1", 7)))
	for range 2 {
		res, err := n.do(n.add, p)
		require.NoError(t, err)
		require.Equal(t, "10.4.0.7/24", res.IPs[0].Address.String())
	}
	one := n.flows()
	require.Len(t, slices.DeleteFunc(slices.Clone(one), func(l string) bool { return !strings.HasPrefix(l, vethPrefix) }), 1, "asked twice, one port: %v", one)
	_, err := n.do(n.check, p)
	require.NoError(t, err)

	// A restart writes nothing.
	n.stop()
	n.start()
	s, err := n.session(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.round(t.Context()))
	require.NotContains(t, n.log.String(), "switch written")
	require.NotContains(t, n.log.String(), "port swept")
	require.Equal(t, one, n.flows())

	// A service, as the cluster has it.
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", UID: "s1"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	port, yes := int32(8080), true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "a", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.4.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
	}
	ref := cluster.Ref{Kind: cluster.KindService, Namespace: "a", Name: "s"}
	n.source.cache.Set(cluster.Ref{Kind: cluster.KindEndpointSlice, Namespace: "a", Name: "s-1"}, slice)
	n.source.cache.Set(ref, svc)
	n.clusterChanged(ref)
	n.eventually(func() bool {
		text := strings.Join(n.flows(), "\n")
		return strings.Contains(text, "10.96.0.7") && strings.Contains(text, "10.4.0.7:8080")
	}, "the service is balanced")
	n.source.cache.Delete(ref)
	n.clusterChanged(ref)
	n.eventually(func() bool { return slices.Equal(n.flows(), one) }, "the service leaves nothing")

	// An annotation with the VLAN id of a pod that lives harms its own pod only.
	n.source.put(n.Agent, "q", "u2", ready(cifOf("u2", 7)))
	_, err = n.do(n.add, sandbox("c2", "q", "u2"))
	require.Equal(t, cni.CodeInvalidConfig, code(t, err), "%v", err)
	require.ErrorContains(t, err, "vlan 7 is that of pod a/p")
	_, err = n.do(n.check, p)
	require.NoError(t, err)

	// The pod is made again; its first sandbox was never deleted.
	n.source.put(n.Agent, "p", "u3", ready(cifOf("u3", 7)))
	again := sandbox("c3", "p", "u3")
	_, err = n.do(n.add, again)
	require.NoError(t, err)
	_, err = n.do(n.check, p)
	require.Error(t, err, "the first is gone")
	_, err = n.do(n.check, again)
	require.NoError(t, err)

	// No such sandbox.
	bad := request("c4", "q", "u2")
	bad.NetNS = filepath.Join(t.TempDir(), "none")
	n.source.put(n.Agent, "q", "u2", ready(cifOf("u2", 9)))
	_, err = n.do(n.add, bad)
	require.Equal(t, cni.CodeInvalidNetNS, code(t, err), "%v", err)

	// GC keeps what the runtime knows and removes the rest.
	q := sandbox("c5", "q", "u2")
	_, err = n.do(n.add, q)
	require.NoError(t, err)
	_, err = n.do(n.gc, &cni.Request{ValidAttachments: []cni.Attachment{{ContainerID: "c3", IfName: "eth0"}}})
	require.NoError(t, err)
	_, err = n.do(n.check, again)
	require.NoError(t, err)
	_, err = n.do(n.check, q)
	require.Equal(t, cni.CodeMismatch, code(t, err), "%v", err)

	// DEL needs no sandbox, and may come again.
	gone := request("c3", "p", "")
	for range 2 {
		_, err = n.do(n.del, gone)
		require.NoError(t, err)
	}
	for _, line := range empty {
		require.Contains(t, n.flows(), line)
	}
	require.Len(t, n.flows(), len(empty), "nothing is left")
}

// ovsdb-server is killed, and started again: meanwhile the agent is not ready,
// afterwards a pod is attached as before.
func TestAgent_DatabaseRestarts(t *testing.T) {
	in := ovstest.Start(t)
	ovstest.Veth(t, in.NetNS, "eth1", ovstest.NewNS(t), "trunk")
	_, src := newAgent("")
	n := &node{t: t, in: in, source: src}
	n.start()
	n.eventually(func() bool { return len(n.flows()) > 3 }, "flows without pods")
	for i, uid := range []string{"u1", "u2"} {
		in.KillDB()
		n.eventually(func() bool { _, err := n.status(t.Context(), nil); return err != nil }, "the outage is told")
		require.NoError(t, in.StartDB(t.Context()))
		n.eventually(func() bool { _, err := n.status(t.Context(), nil); return err == nil }, "ready again")
		n.source.put(n.Agent, "p"+uid, uid, ready(cifOf(uid, uint16(7+i))))
		r := request("c"+uid, "p"+uid, uid)
		r.NetNS = ovstest.NSPath(ovstest.NewNS(t))
		_, err := n.do(n.add, r)
		require.NoError(t, err)
		_, err = n.do(n.check, r)
		require.NoError(t, err)
		require.Contains(t, strings.Join(n.flows(), "\n"), fmt.Sprintf("10.4.0.%d", 7+i))
	}
}

// Without a switch the agent says so and tries again; it needs no restart when
// one comes.
func TestAgent_WaitsForSwitch(t *testing.T) {
	ovstest.Require(t, "ovs", "root")
	in, err := ovstest.NewInstance(t.Context(), ovstest.InstanceConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, in.Close()) })
	ovstest.Veth(t, in.NetNS, "eth1", ovstest.NewNS(t), "trunk")
	in.KillDB()
	a, _ := newAgent(in.RunDir)
	log := &logBuffer{}
	a.log, a.cfg.Socket = slog.New(slog.NewTextHandler(log, nil)), filepath.Join(in.RunDir, "cni.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	eventually := func(ok func() bool) { t.Helper(); require.Eventually(t, ok, 60*time.Second, 10*time.Millisecond) }
	well := func() (bool, string) {
		rec := httptest.NewRecorder()
		a.cfg.Health.ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
		return rec.Code == 200, rec.Body.String()
	}
	eventually(func() bool { return strings.Count(log.String(), "switch session") >= 3 })
	ok, why := well()
	require.False(t, ok)
	require.Contains(t, why, filepath.Join(in.RunDir, "db.sock"))
	_, err = a.status(ctx, nil)
	require.Equal(t, cni.CodeNotAvailable, code(t, err))
	require.NoError(t, in.StartDB(ctx))
	eventually(func() bool { ok, _ := well(); return ok })
	_, err = a.status(ctx, nil)
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ended)
}
