package ncp_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/managertest"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/ncp"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A world is a manager and an NCP over a folder of manifests, in this process.
type world struct {
	t       *testing.T
	dir     string
	api     *api.Client
	stopNCP func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir()}
	for _, d := range []string{"manifests", "status"} {
		require.NoError(t, os.Mkdir(filepath.Join(w.dir, d), 0o755))
	}
	w.api, _ = managertest.Start(t, managertest.Config(t))
	return w
}

func (w *world) startNCP(change ...func(*ncp.Config)) {
	w.startNCPWith(cluster.NewFolder(cluster.FolderConfig{
		Manifests: filepath.Join(w.dir, "manifests"), Status: filepath.Join(w.dir, "status"), Writer: true,
	}), change...)
}

func (w *world) startNCPWith(source cluster.SourceReporter, change ...func(*ncp.Config)) {
	cfg := ncp.Config{Cluster: "c1", Source: source, Reporter: source, Manager: w.api}
	for _, f := range change {
		f(&cfg)
	}
	c, err := ncp.New(cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.stopNCP = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	w.t.Cleanup(w.stopNCP)
}

// eventually waits for a condition. After a while without an API server a client
// of Kubernetes asks for it every 30 s or so.
func (w *world) eventually(ok func() bool, what string) {
	w.t.Helper()
	require.Eventually(w.t, ok, 2*time.Minute, 10*time.Millisecond, what)
}

func (w *world) admin(docs ...string) {
	w.t.Helper()
	var changes []intent.Change
	for _, d := range docs {
		var o intent.Object
		require.NoError(w.t, json.Unmarshal([]byte(d), &o))
		changes = append(changes, intent.Put(o))
	}
	_, err := w.api.Intent.Apply(w.t.Context(), changes)
	require.NoError(w.t, err)
}

func (w *world) manifest(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.dir, "manifests", name)
	if text == "" {
		require.NoError(w.t, os.Remove(file))
		return
	}
	require.NoError(w.t, os.WriteFile(file, []byte(text), 0o644))
}

func (w *world) objects(kind string) []intent.Object {
	w.t.Helper()
	objs, _, err := w.api.Intent.List(w.t.Context(), intent.Query{ResourceType: kind})
	require.NoError(w.t, err)
	return objs
}

func (w *world) status(kind, ns, name string) cluster.Status {
	w.t.Helper()
	s, err := cluster.ReadStatus(filepath.Join(w.dir, "status"), cluster.Ref{Kind: kind, Namespace: ns, Name: name})
	require.NoError(w.t, err)
	return s
}

const (
	tagC1  = `"tags":[{"scope":"ncp/cluster","tag":"c1"}]`
	tier0  = `{"resource_type":"Tier0","id":"t0","transit_vni":100,` + tagC1 + `}`
	block  = `{"resource_type":"IpAddressBlock","id":"pods","cidrs":["10.4.0.0/23"],` + tagC1 + `}`
	snat   = `{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.1-203.0.113.1"],` + tagC1 + `}`
	host   = `{"resource_type":"HostTransportNode","id":"h1","tep":"192.0.2.1","role":"host"}`
	parent = `{"resource_type":"SegmentPort","id":"vif-n1","attachment":{"type":"PARENT","id":"vnic-n1"},"tags":[{"scope":"ncp/cluster","tag":"c1"},{"scope":"ncp/node_name","tag":"n1"}]}`
	plugs  = `{"resource_type":"HostAttachments","id":"h1","iface_ids":["vnic-n1"]}`

	namespaceA = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	podA       = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a, labels: {app: web, ncp/project: b}}\nspec: {nodeName: n1, containers: [{name: c}]}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
)

// acknowledge says for the host that its span is realized.
func (w *world) acknowledge() {
	w.t.Helper()
	st, err := w.api.Span("h1").Status(w.t.Context())
	require.NoError(w.t, err)
	require.NoError(w.t, w.api.Acknowledge(w.t.Context(), "h1", api.Ack{Epoch: st.Epoch, Revision: st.Revision}))
}

func TestPodFromManifestToAnnotationAndAway(t *testing.T) {
	w := newWorld(t)
	w.admin(tier0, block, snat, host, parent, plugs)
	w.startNCP()
	w.manifest("ns.yaml", namespaceA)
	w.manifest("pod.yaml", podA)
	w.eventually(func() bool { return len(w.objects(model.KindSegmentPort)) == 2 }, "port")
	w.eventually(func() bool {
		objs, _, err := w.api.Span("h1").List(t.Context(), intent.Query{ResourceType: model.KindSpanPort})
		return err == nil && len(objs) == 2 // the vNIC and the pod behind it
	}, "span")
	require.Empty(t, w.status("Pod", "a", "p").Annotations[cluster.AnnotationCIF], "closed until realized")
	for _, o := range w.objects(model.KindSegmentPort) {
		require.False(t, model.HasTag(o.Tags, "ncp/project", "b"), "a label cannot pass for a tag of ours")
	}
	w.eventually(func() bool {
		w.acknowledge()
		return w.status("Pod", "a", "p").Annotations[cluster.AnnotationCIF] != ""
	}, "annotation")
	uid := w.status("Pod", "a", "p").UID
	w.eventually(func() bool { return len(w.objects(model.KindClusterNode)) == 1 }, "node")

	before, err := w.api.Status(t.Context())
	require.NoError(t, err)
	w.stopNCP()
	w.manifest("pod.yaml", strings.Replace(podA, "app: web", "app: db", 1))
	w.startNCP()
	w.eventually(func() bool {
		for _, o := range w.objects(model.KindSegmentPort) {
			if model.HasTag(o.Tags, "app", "db") {
				return true
			}
		}
		return false
	}, "what changed while it was away")
	after, err := w.api.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Revision+1, after.Revision, "one write for one change")
	require.Equal(t, before.Allocations, after.Allocations)
	require.Equal(t, uid, w.status("Pod", "a", "p").UID)

	w.manifest("pod.yaml", "")
	w.manifest("ns.yaml", "")
	w.eventually(func() bool {
		w.acknowledge()
		leases, err := w.api.Allocations(t.Context(), "c1/")
		return err == nil && len(leases) == 0 && len(w.objects(model.KindSegment))+len(w.objects(model.KindTier1))+len(w.objects(model.KindNATRule)) == 0
	}, "nothing is left")
}

func TestFaultsAreToldAndHeal(t *testing.T) {
	w := newWorld(t)
	w.startNCP()
	w.manifest("ns.yaml", namespaceA)
	w.manifest("pod.yaml", podA)
	told := func(kind, ns, name, want string) func() bool {
		return func() bool {
			return strings.Contains(w.status(kind, ns, name).Annotations[cluster.AnnotationError], want)
		}
	}
	w.eventually(told("Namespace", "", "a", "no tier-0"), "missing tier-0")
	w.admin(tier0)
	w.eventually(told("Namespace", "", "a", "no IpAddressBlock"), "missing block")
	w.admin(block, snat)
	w.eventually(func() bool { return len(w.objects(model.KindSegment)) == 1 }, "healed")
	w.eventually(told("Pod", "a", "p", `no parent port of node "n1"`), "untagged parent port")
	w.admin(host, parent, plugs)
	w.eventually(func() bool {
		w.acknowledge()
		return w.status("Pod", "a", "p").Annotations[cluster.AnnotationError] == "" && w.status("Pod", "a", "p").Annotations[cluster.AnnotationCIF] != ""
	}, "healed")
	// The SNAT pool has one address; the second namespace hears why it has none,
	// and the first is unaffected.
	w.manifest("ns2.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n")
	w.eventually(told("Namespace", "", "b", api.ReasonExhausted), "exhausted pool")
	w.eventually(func() bool { return len(w.status("Namespace", "", "b").Events) > 0 }, "event")
	require.Len(t, w.objects(model.KindSegment), 1)
}

func TestOtherClustersObjectsStay(t *testing.T) {
	w := newWorld(t)
	foreign := `{"resource_type":"Tier1","id":"x","tags":[{"scope":"ncp/cluster","tag":"c2"},{"scope":"ncp/created_for","tag":"Namespace//gone"}]}`
	own := `{"resource_type":"Tier1","id":"y","tags":[{"scope":"ncp/cluster","tag":"c1"},{"scope":"ncp/created_for","tag":"Namespace//gone"}]}`
	w.admin(tier0, foreign, own)
	w.startNCP()
	w.eventually(func() bool { return len(w.objects(model.KindTier1)) == 1 }, "our orphan is removed")
	require.Equal(t, "x", w.objects(model.KindTier1)[0].ID)
}

func TestAddressOutsideItsPoolIsNamed(t *testing.T) {
	w := newWorld(t)
	w.admin(tier0, wideBlock, widePool, externalPool)
	w.startNCP()
	const static = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {ncp/static_snat_ip: 198.51.100.9}}\n"
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: b}\nspec: {type: LoadBalancer, loadBalancerIP: 192.0.2.77, ports: [{port: 80}]}\n"
	w.manifest("a.yaml", static)
	w.manifest("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n---\n"+service)
	fault := func(kind, ns, name string) string {
		return w.status(kind, ns, name).Annotations[cluster.AnnotationError]
	}
	w.eventually(func() bool { return strings.Contains(fault("Namespace", "", "a"), "198.51.100.9") }, "static SNAT address")
	w.eventually(func() bool { return strings.Contains(fault("Service", "b", "s"), "192.0.2.77") }, "load balancer address")
	w.eventually(func() bool { return len(w.objects(model.KindSegment)) >= 1 }, "the other namespace has its network")
	w.manifest("a.yaml", strings.Replace(static, "198.51.100.9", "203.0.113.9", 1))
	w.manifest("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n---\n"+strings.Replace(service, "192.0.2.77", "203.0.113.57", 1))
	w.eventually(func() bool { return fault("Namespace", "", "a") == "" && len(w.objects(model.KindNATRule)) == 2 }, "static SNAT address, mended")
	w.eventually(func() bool { return w.status("Service", "b", "s").LoadBalancer == "203.0.113.57" }, "load balancer address, mended")
}

// Labels beyond the number of tags that an object may have make none, and
// harm nothing.
func TestMoreLabelsThanTags(t *testing.T) {
	w := newWorld(t)
	w.startNCP(func(c *ncp.Config) { c.MaxTags = 10 })
	w.admin(tier0, block, snat, host, parent, plugs)
	w.manifest("ns.yaml", namespaceA)
	w.manifest("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a, labels: {a: \"1\", b: \"2\", c: \"3\", d: \"4\"}}\nspec: {nodeName: n1, containers: [{name: c}]}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")
	var port intent.Object
	w.eventually(func() bool {
		for _, o := range w.objects(model.KindSegmentPort) {
			if model.HasTag(o.Tags, "ncp/pod", "p") {
				port = o
			}
		}
		return port.ID != ""
	}, "the pod's port")
	require.True(t, model.HasTag(port.Tags, "a", "1"))
	require.True(t, model.HasTag(port.Tags, "b", "2"))
	require.False(t, model.HasTag(port.Tags, "c", "3"))
	require.LessOrEqual(t, len(port.Tags), 10)
}
