package cluster_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/tierloom/tierloom/examples/internal/cluster"
)

func TestKube(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u1"}}
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, pod,
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", UID: "u2"}})
	k := cluster.NewKube(cluster.KubeConfig{Client: client})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	synced, refs, ended := make(chan struct{}), make(chan cluster.Ref, 100), make(chan error, 1)
	go func() { ended <- k.Run(ctx, func() { close(synced) }, func(r cluster.Ref) { refs <- r }) }()
	<-synced
	_, ok := k.Cache().Pod("a", "p")
	require.True(t, ok)
	eventually := func(cond func() bool) { t.Helper(); require.Eventually(t, cond, 30*time.Second, 5*time.Millisecond) }

	podRef := cluster.Ref{Kind: cluster.KindPod, Namespace: "a", Name: "p"}
	require.NoError(t, k.Annotate(ctx, podRef, "u1", map[string]string{"ncp/cif": "x"}))
	eventually(func() bool { p, _ := k.Cache().Pod("a", "p"); return p.Annotations["ncp/cif"] == "x" })
	writes := func() (n int) { // informers may still be about to watch
		for _, a := range client.Actions() {
			if !slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()) {
				n++
			}
		}
		return n
	}
	before := writes()
	require.NoError(t, k.Annotate(ctx, podRef, "u1", map[string]string{"ncp/cif": "x", "ncp/error": ""}))
	require.Equal(t, before, writes(), "nothing to change, nothing sent")
	require.NoError(t, k.Annotate(ctx, podRef, "u1", map[string]string{"ncp/cif": ""}))
	eventually(func() bool { p, _ := k.Cache().Pod("a", "p"); return len(p.Annotations) == 0 })

	svc := cluster.Ref{Kind: cluster.KindService, Namespace: "a", Name: "s"}
	require.NoError(t, k.LoadBalancer(ctx, svc, "u2", "203.0.113.7"))
	eventually(func() bool {
		s, _ := k.Cache().Service("a", "s")
		return len(s.Status.LoadBalancer.Ingress) == 1 && s.Status.LoadBalancer.Ingress[0].IP == "203.0.113.7"
	})
	for range 2 {
		require.NoError(t, k.Event(ctx, podRef, "u1", "NodeUnknown", "no node"))
	}
	events, err := client.CoreV1().Events("a").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, events.Items, 1)

	require.NoError(t, client.CoreV1().Pods("a").Delete(ctx, "p", metav1.DeleteOptions{}))
	eventually(func() bool { _, ok := k.Cache().Pod("a", "p"); return !ok })
	require.NoError(t, k.Annotate(ctx, podRef, "u1", map[string]string{"ncp/error": "late"}), "gone is no error")
	cancel()
	require.NoError(t, <-ended)
}
