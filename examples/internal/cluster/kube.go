package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// KubeConfig says how a [Kube] reaches its API server.
type KubeConfig struct {
	Client kubernetes.Interface
	// Dynamic reads our own kinds; nil has none. Where a cluster lacks their
	// CustomResourceDefinitions, they are read once it has them.
	Dynamic dynamic.Interface
	// Node limits the source to what that node's agent needs: the pods bound
	// to it, and all services with their endpoints. Empty is everything.
	Node string
	// Log may be nil.
	Log *slog.Logger
}

// A Kube is a [Source] and [Reporter] over a Kubernetes API server. Make one
// with [NewKube] or [OpenKube].
type Kube struct {
	cfg   KubeConfig
	log   *slog.Logger
	cache *Cache
	// events carries changes from the informers' goroutines to Run's.
	events chan Ref
}

// NewKube returns a source over clients.
func NewKube(cfg KubeConfig) *Kube {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Kube{cfg: cfg, log: log, cache: NewCache(), events: make(chan Ref, 1024)}
}

// OpenKube returns a source over the API server that a kubeconfig names; node
// is [KubeConfig].Node.
func OpenKube(kubeconfig, node string, log *slog.Logger) (*Kube, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	dyn, err := dynamic.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return NewKube(KubeConfig{Client: client, Dynamic: dyn, Node: node, Log: log}), nil
}

// Cache implements [Source].
func (k *Kube) Cache() *Cache { return k.cache }

// Run implements [Source]. Losing the API server is not an error: informers
// list again when it is back.
func (k *Kube) Run(ctx context.Context, synced func(), changed func(Ref)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := k.nodeKinds()
	if k.cfg.Node == "" {
		maps.Copy(watched, k.clusterKinds())
		if k.cfg.Dynamic != nil {
			served, err := k.waitExtensions(ctx, &wg)
			if err != nil {
				return nil
			}
			maps.Copy(watched, served)
		}
	}
	handled, err := k.start(ctx, &wg, watched)
	if err != nil {
		return err
	}
	return k.deliver(ctx, handled, synced, changed)
}

// nodeKinds are the kinds that a node's agent needs, too.
func (k *Kube) nodeKinds() map[string]cache.SharedIndexInformer {
	all := informers.NewSharedInformerFactory(k.cfg.Client, 0)
	pods := informers.NewSharedInformerFactoryWithOptions(k.cfg.Client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		if k.cfg.Node != "" {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", k.cfg.Node).String()
		}
	}))
	return map[string]cache.SharedIndexInformer{
		KindPod:           pods.Core().V1().Pods().Informer(),
		KindService:       all.Core().V1().Services().Informer(),
		KindEndpointSlice: all.Discovery().V1().EndpointSlices().Informer(),
	}
}

func (k *Kube) clusterKinds() map[string]cache.SharedIndexInformer {
	f := informers.NewSharedInformerFactory(k.cfg.Client, 0)
	return map[string]cache.SharedIndexInformer{
		KindNamespace:     f.Core().V1().Namespaces().Informer(),
		KindNode:          f.Core().V1().Nodes().Informer(),
		KindNetworkPolicy: f.Networking().V1().NetworkPolicies().Informer(),
	}
}

// start runs the informers until ctx is done, and returns what tells when the
// handlers have seen the first lists.
func (k *Kube) start(ctx context.Context, wg *sync.WaitGroup, watched map[string]cache.SharedIndexInformer) ([]cache.InformerSynced, error) {
	var handled []cache.InformerSynced
	for kind, informer := range watched {
		reg, err := informer.AddEventHandler(k.handler(ctx, kind))
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", kind, err)
		}
		handled = append(handled, reg.HasSynced)
		wg.Go(func() { informer.RunWithContext(ctx) })
	}
	return handled, nil
}

// deliver passes changes on, and says so once the first lists are complete.
func (k *Kube) deliver(ctx context.Context, handled []cache.InformerSynced, synced func(), changed func(Ref)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for done := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case ref := <-k.events:
			changed(ref)
			continue
		case <-tick.C:
		}
		all := true
		for _, h := range handled {
			all = all && h()
		}
		if all && !done {
			done = true
			synced()
			tick.Stop()
		}
	}
}

func (k *Kube) handler(ctx context.Context, kind string) cache.ResourceEventHandlerFuncs {
	tell := func(ref Ref) {
		select {
		case k.events <- ref:
		case <-ctx.Done():
		}
	}
	set := func(o any) {
		obj, err := typed(kind, o)
		if err != nil {
			k.refuse(ctx, kind, o, err) // its last good version stays
			return
		}
		ref := Ref{kind, obj.GetNamespace(), obj.GetName()}
		k.cache.Set(ref, obj)
		tell(ref)
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, o any) { set(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			obj, ok := o.(metav1.Object)
			if !ok {
				return
			}
			ref := Ref{kind, obj.GetNamespace(), obj.GetName()}
			k.cache.Delete(ref)
			tell(ref)
		},
	}
}

// refuse tells the owner of an object that it cannot be used, once.
func (k *Kube) refuse(ctx context.Context, kind string, o any, fault error) {
	k.log.Error("object", "kind", kind, "err", fault)
	obj, ok := o.(metav1.Object)
	text := "Invalid: " + fault.Error()
	if !ok || obj.GetAnnotations()[AnnotationError] == text {
		return
	}
	ref := Ref{kind, obj.GetNamespace(), obj.GetName()}
	err := k.patch(ctx, ref, map[string]any{"metadata": map[string]any{
		"uid": string(obj.GetUID()), "annotations": map[string]any{AnnotationError: text},
	}})
	if err != nil {
		k.log.Warn("annotate", "object", ref.String(), "err", err)
	}
}

// typed returns what an informer hands over as the type that the cache holds.
func typed(kind string, o any) (metav1.Object, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		obj, ok := o.(metav1.Object)
		if !ok {
			return nil, fmt.Errorf("%T is not an object", o)
		}
		return obj, nil
	}
	obj, _, err := newObject(metav1.TypeMeta{APIVersion: u.GetAPIVersion(), Kind: kind})
	if err != nil {
		return nil, err
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, obj, true)
	if p, ok := obj.(*ClusterNetworkPolicy); ok && runtime.IsStrictDecodingError(err) {
		p.Unknown, err = err.Error(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, u.GetName(), err)
	}
	return obj, nil
}

// Annotate implements [Reporter]. The UID is a precondition of the patch.
func (k *Kube) Annotate(ctx context.Context, ref Ref, uid string, annotations map[string]string) error {
	have, ok := k.annotations(ref)
	values := map[string]any{}
	for name, v := range annotations {
		switch old, set := have[name]; {
		case ok && v == "" && !set, ok && v != "" && old == v:
		case v == "":
			values[name] = nil
		default:
			values[name] = v
		}
	}
	if len(values) == 0 {
		return nil
	}
	return k.patch(ctx, ref, map[string]any{"metadata": map[string]any{"uid": uid, "annotations": values}})
}

// annotations returns those of an object as the cache has it.
func (k *Kube) annotations(ref Ref) (map[string]string, bool) {
	o, ok := find[metav1.Object](k.cache, ref.Kind, ref.Namespace, ref.Name)
	if !ok {
		return nil, false
	}
	return o.GetAnnotations(), true
}

// patch changes the metadata of an object. One that is gone, or is another by
// now, is none of our business any more.
func (k *Kube) patch(ctx context.Context, ref Ref, change map[string]any, subresources ...string) error {
	raw, err := json.Marshal(change)
	if err != nil {
		return err
	}
	opts := metav1.PatchOptions{FieldManager: "tierloom-ncp"}
	core := k.cfg.Client.CoreV1()
	switch ref.Kind {
	case KindPod:
		_, err = core.Pods(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	case KindNamespace:
		_, err = core.Namespaces().Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	case KindService:
		_, err = core.Services(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	case KindNetworkPolicy:
		_, err = k.cfg.Client.NetworkingV1().NetworkPolicies(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	default:
		resource, ok := extensionResource(ref.Kind)
		if !ok {
			return fmt.Errorf("annotate %s: %w", ref, errors.ErrUnsupported)
		}
		_, err = k.cfg.Dynamic.Resource(resource).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Event implements [Reporter]. Repeats have the same name, and are counted.
func (k *Kube) Event(ctx context.Context, ref Ref, uid, reason, message string) error {
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := metav1.Now()
	name := fmt.Sprintf("%s.%s", ref.Name, eventHash(ref, uid, reason, message))
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(uid)},
		Reason:         reason, Message: message, Type: corev1.EventTypeWarning, Count: 1,
		Source: corev1.EventSource{Component: "tierloom-ncp"}, FirstTimestamp: now, LastTimestamp: now,
	}
	_, err := k.cfg.Client.CoreV1().Events(namespace).Create(ctx, e, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// LoadBalancer implements [Reporter].
func (k *Kube) LoadBalancer(ctx context.Context, ref Ref, uid, address string) error {
	s, ok := k.cache.Service(ref.Namespace, ref.Name)
	if !ok {
		return nil
	}
	have := s.Status.LoadBalancer.Ingress
	if address == "" && len(have) == 0 || len(have) == 1 && have[0].IP == address {
		return nil
	}
	var ingress []map[string]string
	if address != "" {
		ingress = append(ingress, map[string]string{"ip": address})
	}
	return k.patch(ctx, ref, map[string]any{
		"metadata": map[string]any{"uid": uid}, "status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}},
	}, "status")
}
