package cluster

import (
	"context"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/tierloom/tierloom/policy/netpol"
)

// An extension is an API that a cluster may have or not: kinds of a
// CustomResourceDefinition, all cluster-wide.
type extension struct {
	apiVersion string
	resources  map[string]string // by kind
}

// extensions are our own kinds (deploy/crds.yaml) and those of the network policy API.
var extensions = []extension{
	{APIVersion, map[string]string{KindGroup: "groups", KindSecurityPolicy: "securitypolicies"}},
	{netpol.ClusterAPIVersion, map[string]string{KindClusterNetworkPolicy: netpol.ClusterResource}},
}

func (x extension) resource(kind string) schema.GroupVersionResource {
	gv, _ := schema.ParseGroupVersion(x.apiVersion) // a constant
	return gv.WithResource(x.resources[kind])
}

func extensionResource(kind string) (schema.GroupVersionResource, bool) {
	for _, x := range extensions {
		if x.resources[kind] != "" {
			return x.resource(kind), true
		}
	}
	return schema.GroupVersionResource{}, false
}

// extensionsEvery is how often a cluster is asked for what it lacks.
const extensionsEvery = 5 * time.Second

// waitExtensions returns the informers of the extensions that the API server
// has, and goes on asking for the others. It waits until the server answers: an
// outage must not pass for a cluster without them, as what they made would be
// removed.
func (k *Kube) waitExtensions(ctx context.Context, wg *sync.WaitGroup) (map[string]cache.SharedIndexInformer, error) {
	served := map[string]cache.SharedIndexInformer{}
	for _, x := range extensions {
		var installed bool
		err := wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
			var err error
			if installed, err = k.serves(x); err != nil {
				k.log.Warn("API server", "err", err)
			}
			return err == nil, nil
		})
		if err != nil {
			return nil, err
		}
		if installed {
			maps.Copy(served, k.extensionKinds(x))
			continue
		}
		k.log.Info("CustomResourceDefinitions are not installed", "apiVersion", x.apiVersion)
		wg.Go(func() { k.addExtension(ctx, wg, x) })
	}
	return served, nil
}

// addExtension waits until an extension is installed, and watches it from then on.
func (k *Kube) addExtension(ctx context.Context, wg *sync.WaitGroup, x extension) {
	err := wait.PollUntilContextCancel(ctx, extensionsEvery, false, func(context.Context) (bool, error) {
		installed, err := k.serves(x)
		return installed && err == nil, nil
	})
	if err != nil {
		return
	}
	k.log.Info("CustomResourceDefinitions are installed now", "apiVersion", x.apiVersion)
	if _, err := k.start(ctx, wg, k.extensionKinds(x)); err != nil {
		k.log.Error("watch", "apiVersion", x.apiVersion, "err", err)
	}
}

func (k *Kube) extensionKinds(x extension) map[string]cache.SharedIndexInformer {
	f := dynamicinformer.NewDynamicSharedInformerFactory(k.cfg.Dynamic, 0)
	informers := map[string]cache.SharedIndexInformer{}
	for kind := range x.resources {
		informers[kind] = f.ForResource(x.resource(kind)).Informer()
	}
	return informers
}

// serves reports whether the API server has all kinds of an extension.
func (k *Kube) serves(x extension) (bool, error) {
	list, err := k.cfg.Client.Discovery().ServerResourcesForGroupVersion(x.apiVersion)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, want := range x.resources {
		has := false
		for _, r := range list.APIResources {
			has = has || r.Name == want
		}
		if !has {
			return false, nil
		}
	}
	return true, nil
}
