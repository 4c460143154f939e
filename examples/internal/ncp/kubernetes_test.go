package ncp_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/kubetest"
	"github.com/tierloom/tierloom/examples/internal/model"
)

const (
	systemNamespace = "tierloom-system"

	// A cluster has namespaces of its own, which have networks, too.
	wideBlock = `{"resource_type":"IpAddressBlock","id":"pods","cidrs":["10.4.0.0/16"],` + tagC1 + `}`
	widePool  = `{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.1-203.0.113.20"],` + tagC1 + `}`

	externalPool = `{"resource_type":"IpAddressPool","id":"vips","ranges":["203.0.113.50-203.0.113.60"],"tags":[{"scope":"ncp/cluster","tag":"c1"},{"scope":"ncp/external","tag":"true"}]}`

	kubeNode    = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
	kubePod     = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: c, image: x}]}\n"
	kubeOther   = "apiVersion: v1\nkind: Pod\nmetadata: {name: q, namespace: a}\nspec: {nodeName: n2, containers: [{name: c, image: x}]}\n"
	kubeService = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: a}\nspec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]}\n"
	kubeGroup   = "apiVersion: tierloom.io/v1alpha1\nkind: Group\nmetadata: {name: web}\nspec: {expression: {condition: {operator: EQUALS, scope: app, values: [web]}}}\n"
)

// A kubeWorld is a world whose objects a real API server holds. NCP and the
// node agent have no rights but those of deploy/rbac.yaml.
type kubeWorld struct {
	*world
	server *kubetest.Server
}

func newKubeWorld(t *testing.T) *kubeWorld {
	w := &kubeWorld{server: kubetest.Start(t)}
	w.server.Apply(t, "../../deploy/crds.yaml")
	w.server.Apply(t, "../../deploy/rbac.yaml")
	w.world = newWorld(t)
	return w
}

func (w *kubeWorld) source(account, node string) *cluster.Kube {
	w.t.Helper()
	k, err := cluster.OpenKube(w.server.Kubeconfig(w.t, systemNamespace, account), node, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	require.NoError(w.t, err)
	return k
}

func (w *kubeWorld) pod(name string) *corev1.Pod {
	w.t.Helper()
	p, err := w.server.Client.CoreV1().Pods("a").Get(w.t.Context(), name, metav1.GetOptions{})
	require.NoError(w.t, err)
	return p
}

// annotated acknowledges what the host is told until the pod has its CIF.
func (w *kubeWorld) annotated(name string) cluster.CIF {
	w.t.Helper()
	var cif cluster.CIF
	w.eventually(func() bool {
		w.acknowledge()
		var ok bool
		var err error
		cif, ok, err = cluster.ParseCIF(w.pod(name))
		return ok && err == nil
	}, "annotation")
	return cif
}

// groupError is what the administrator's group is annotated with.
func (w *kubeWorld) groupError() string {
	w.t.Helper()
	groups := w.server.Dynamic.Resource(schema.GroupVersionResource{Group: "tierloom.io", Version: "v1alpha1", Resource: "groups"})
	g, err := groups.Get(w.t.Context(), "web", metav1.GetOptions{})
	require.NoError(w.t, err)
	return g.GetAnnotations()[cluster.AnnotationError]
}

// deleteNamespace does what the namespace controller would.
func (w *kubeWorld) deleteNamespace(name string) {
	w.t.Helper()
	namespaces := w.server.Client.CoreV1().Namespaces()
	require.NoError(w.t, namespaces.Delete(w.t.Context(), name, metav1.DeleteOptions{}))
	n, err := namespaces.Get(w.t.Context(), name, metav1.GetOptions{})
	require.NoError(w.t, err)
	n.Spec.Finalizers = nil
	_, err = namespaces.Finalize(w.t.Context(), n, metav1.UpdateOptions{})
	require.NoError(w.t, err)
}

func TestKubernetesAPIServer(t *testing.T) {
	w := newKubeWorld(t)
	w.admin(tier0, wideBlock, widePool, externalPool, host, parent, plugs)
	w.startNCPWith(w.source("tierloom-ncp", ""))
	w.server.ApplyText(t, namespaceA)
	w.server.ApplyText(t, kubeNode)
	w.server.ApplyText(t, kubePod)
	cif := w.annotated("p")
	require.Equal(t, string(w.pod("p").UID), cif.UID)
	require.NotZero(t, cif.VLAN)

	w.server.ApplyText(t, kubeService)
	w.eventually(func() bool {
		s, err := w.server.Client.CoreV1().Services("a").Get(t.Context(), "s", metav1.GetOptions{})
		return err == nil && len(s.Status.LoadBalancer.Ingress) == 1 && strings.HasPrefix(s.Status.LoadBalancer.Ingress[0].IP, "203.0.113.5")
	}, "load balancer address")
	w.server.ApplyText(t, strings.Replace(kubeGroup, "expression", "expresion", 1))
	w.eventually(func() bool { return strings.Contains(w.groupError(), "expresion") }, "unknown field")
	w.server.ApplyText(t, kubeGroup)
	w.eventually(func() bool { return len(w.objects(model.KindGroup)) == 1 && w.groupError() == "" }, "administrator's group")

	// A pod that cannot have a network says so, as an event too.
	w.server.ApplyText(t, kubeOther)
	w.eventually(func() bool { return strings.Contains(w.pod("q").Annotations[cluster.AnnotationError], `no node "n2"`) }, "unknown node")
	w.eventually(func() bool {
		events, err := w.server.Client.CoreV1().Events("a").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=NodeUnknown"})
		return err == nil && len(events.Items) == 1 && events.Items[0].InvolvedObject.Name == "q"
	}, "event")

	// The API server dies and comes back: nothing is written, and what changes
	// afterwards arrives.
	before, err := w.api.Status(t.Context())
	require.NoError(t, err)
	w.server.Restart(t)
	label := []byte(`{"metadata":{"labels":{"app":"db"}}}`)
	_, err = w.server.Client.CoreV1().Pods("a").Patch(t.Context(), "p", types.MergePatchType, label, metav1.PatchOptions{})
	require.NoError(t, err)
	tagged := func() bool {
		for _, o := range w.objects(model.KindSegmentPort) {
			if model.HasTag(o.Tags, "app", "db") {
				return true
			}
		}
		return false
	}
	w.eventually(tagged, "label after the restart")
	after, err := w.api.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Revision+1, after.Revision, "one write for one change")

	// So does NCP, while a pod goes.
	w.stopNCP()
	zero := int64(0)
	require.NoError(t, w.server.Client.CoreV1().Pods("a").Delete(t.Context(), "q", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	w.startNCPWith(w.source("tierloom-ncp", ""))
	require.NoError(t, w.server.Client.CoreV1().Pods("a").Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	w.eventually(func() bool { return len(w.objects(model.KindSegmentPort)) == 1 }, "the pod's port is gone")
	require.NoError(t, w.server.Client.CoreV1().Services("a").Delete(t.Context(), "s", metav1.DeleteOptions{}))
	namespace, err := w.server.Client.CoreV1().Namespaces().Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	w.deleteNamespace("a")
	w.eventually(func() bool {
		w.acknowledge()
		leases, err := w.api.Allocations(t.Context(), "c1/")
		return err == nil && !slices.ContainsFunc(leases, func(l api.Allocation) bool {
			return strings.Contains(l.Owner, string(namespace.UID)) || strings.Contains(l.Owner, cif.UID)
		})
	}, "nothing is left of the namespace")
}

func TestNodeAgentsRights(t *testing.T) {
	w := newKubeWorld(t)
	w.server.ApplyText(t, namespaceA)
	w.server.ApplyText(t, kubePod)
	w.server.ApplyText(t, kubeOther)
	w.server.ApplyText(t, kubeService)
	k := w.source("tierloom-node-agent", "n1")
	ctx, cancel := context.WithCancel(t.Context())
	synced, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- k.Run(ctx, func() { close(synced) }, func(cluster.Ref) {}) }()
	<-synced
	require.Len(t, k.Cache().Pods(""), 1, "its own pods alone")
	require.Equal(t, "p", k.Cache().Pods("")[0].Name)
	_, ok := k.Cache().Service("a", "s")
	require.True(t, ok)
	cancel()
	require.NoError(t, <-ended)

	config, err := clientcmd.BuildConfigFromFlags("", w.server.Kubeconfig(t, systemNamespace, "tierloom-node-agent"))
	require.NoError(t, err)
	client := kubernetes.NewForConfigOrDie(config)
	_, err = client.CoreV1().Pods("a").Patch(t.Context(), "p", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	_, err = client.CoreV1().Secrets("a").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
}
