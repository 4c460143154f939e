package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// KubeConfig says how a [Kube] reaches its API server.
type KubeConfig struct {
	Client kubernetes.Interface
	// Dynamic reads our own kinds; nil, or a cluster without their
	// CustomResourceDefinitions, has none.
	Dynamic dynamic.Interface
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

// OpenKube returns a source over the API server that a kubeconfig names.
func OpenKube(kubeconfig string, log *slog.Logger) (*Kube, error) {
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
	return NewKube(KubeConfig{Client: client, Dynamic: dyn, Log: log}), nil
}

// Cache implements [Source].
func (k *Kube) Cache() *Cache { return k.cache }

// Our own kinds (deploy/crds.yaml).
var (
	groupResource  = schema.GroupVersionResource{Group: "tierloom.io", Version: "v1alpha1", Resource: "groups"}
	policyResource = schema.GroupVersionResource{Group: "tierloom.io", Version: "v1alpha1", Resource: "securitypolicies"}
)

// Run implements [Source]. Losing the API server is not an error: informers
// list again when it is back.
func (k *Kube) Run(ctx context.Context, synced func(), changed func(Ref)) error {
	factory := informers.NewSharedInformerFactory(k.cfg.Client, 0)
	watched := map[string]cache.SharedIndexInformer{
		KindNamespace:     factory.Core().V1().Namespaces().Informer(),
		KindNode:          factory.Core().V1().Nodes().Informer(),
		KindPod:           factory.Core().V1().Pods().Informer(),
		KindService:       factory.Core().V1().Services().Informer(),
		KindEndpointSlice: factory.Discovery().V1().EndpointSlices().Informer(),
		KindNetworkPolicy: factory.Networking().V1().NetworkPolicies().Informer(),
	}
	var own dynamicinformer.DynamicSharedInformerFactory
	if k.hasOwnKinds() {
		own = dynamicinformer.NewDynamicSharedInformerFactory(k.cfg.Dynamic, 0)
		watched[KindGroup] = own.ForResource(groupResource).Informer()
		watched[KindSecurityPolicy] = own.ForResource(policyResource).Informer()
	} else {
		k.log.Info("no administrator's kinds: their CustomResourceDefinitions are not installed")
	}
	var handled []cache.InformerSynced
	for kind, informer := range watched {
		reg, err := informer.AddEventHandler(k.handler(ctx, kind))
		if err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
		handled = append(handled, reg.HasSynced)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if own != nil {
		own.Start(ctx.Done())
		defer own.Shutdown()
	}
	return k.deliver(ctx, handled, synced, changed)
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

// hasOwnKinds asks the API server for our kinds.
func (k *Kube) hasOwnKinds() bool {
	if k.cfg.Dynamic == nil {
		return false
	}
	_, err := k.cfg.Client.Discovery().ServerResourcesForGroupVersion(groupResource.GroupVersion().String())
	return err == nil
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
			k.log.Error("object", "kind", kind, "err", err)
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
	var obj metav1.Object = &Group{}
	if kind == KindSecurityPolicy {
		obj = &SecurityPolicy{}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, obj, true); err != nil {
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
	case KindGroup:
		_, err = k.cfg.Dynamic.Resource(groupResource).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	case KindSecurityPolicy:
		_, err = k.cfg.Dynamic.Resource(policyResource).Patch(ctx, ref.Name, types.MergePatchType, raw, opts, subresources...)
	default:
		return fmt.Errorf("annotate %s: %w", ref, errors.ErrUnsupported)
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
