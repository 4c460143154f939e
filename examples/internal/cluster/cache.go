package cluster

import (
	"cmp"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Cache holds a cluster's objects by [Ref]. Objects are shared and must not
// be changed. It is safe for concurrent use.
type Cache struct {
	mu sync.RWMutex
	// kinds maps kind, then namespace, then name.
	kinds map[string]map[string]map[string]metav1.Object
}

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{kinds: map[string]map[string]map[string]metav1.Object{}} }

// Set stores the object under ref.
func (c *Cache) Set(ref Ref, o metav1.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spaces := c.kinds[ref.Kind]
	if spaces == nil {
		spaces = map[string]map[string]metav1.Object{}
		c.kinds[ref.Kind] = spaces
	}
	if spaces[ref.Namespace] == nil {
		spaces[ref.Namespace] = map[string]metav1.Object{}
	}
	spaces[ref.Namespace][ref.Name] = o
}

// Delete removes what is stored under ref.
func (c *Cache) Delete(ref Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kinds[ref.Kind][ref.Namespace], ref.Name)
}

// Refs returns every name in the cache, in no order that means anything.
func (c *Cache) Refs() []Ref {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var refs []Ref
	for kind, spaces := range c.kinds {
		for ns, names := range spaces {
			for name := range names {
				refs = append(refs, Ref{kind, ns, name})
			}
		}
	}
	return refs
}

func find[T metav1.Object](c *Cache, kind, namespace, name string) (T, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	o, ok := c.kinds[kind][namespace][name].(T)
	return o, ok
}

// list returns the objects of a kind in a namespace, or in all for "", by
// namespace and name.
func list[T metav1.Object](c *Cache, kind, namespace string) []T {
	c.mu.RLock()
	var out []T
	for ns, names := range c.kinds[kind] {
		if namespace != "" && ns != namespace {
			continue
		}
		for _, o := range names {
			if t, ok := o.(T); ok {
				out = append(out, t)
			}
		}
	}
	c.mu.RUnlock()
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Namespace finds a namespace.
func (c *Cache) Namespace(name string) (*corev1.Namespace, bool) {
	return find[*corev1.Namespace](c, KindNamespace, "", name)
}

// Node finds a node.
func (c *Cache) Node(name string) (*corev1.Node, bool) {
	return find[*corev1.Node](c, KindNode, "", name)
}

// Pod finds a pod.
func (c *Cache) Pod(namespace, name string) (*corev1.Pod, bool) {
	return find[*corev1.Pod](c, KindPod, namespace, name)
}

// Service finds a service.
func (c *Cache) Service(namespace, name string) (*corev1.Service, bool) {
	return find[*corev1.Service](c, KindService, namespace, name)
}

// NetworkPolicy finds a network policy.
func (c *Cache) NetworkPolicy(namespace, name string) (*networkingv1.NetworkPolicy, bool) {
	return find[*networkingv1.NetworkPolicy](c, KindNetworkPolicy, namespace, name)
}

// ClusterNetworkPolicy finds a cluster-wide network policy.
func (c *Cache) ClusterNetworkPolicy(name string) (*ClusterNetworkPolicy, bool) {
	return find[*ClusterNetworkPolicy](c, KindClusterNetworkPolicy, "", name)
}

// Group finds an administrator's group.
func (c *Cache) Group(name string) (*Group, bool) { return find[*Group](c, KindGroup, "", name) }

// SecurityPolicy finds an administrator's section.
func (c *Cache) SecurityPolicy(name string) (*SecurityPolicy, bool) {
	return find[*SecurityPolicy](c, KindSecurityPolicy, "", name)
}

// Pods lists the pods of a namespace, or of all for "".
func (c *Cache) Pods(namespace string) []*corev1.Pod { return list[*corev1.Pod](c, KindPod, namespace) }

// Services lists the services of a namespace, or of all for "".
func (c *Cache) Services(namespace string) []*corev1.Service {
	return list[*corev1.Service](c, KindService, namespace)
}

// EndpointSlices lists the slices of a service.
func (c *Cache) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return slices.DeleteFunc(list[*discoveryv1.EndpointSlice](c, KindEndpointSlice, namespace), func(s *discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelServiceName] != service
	})
}
