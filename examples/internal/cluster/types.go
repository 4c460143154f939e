package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// APIVersion is that of our own kinds, [Group] and [SecurityPolicy].
const APIVersion = "tierloom.io/v1alpha1"

// Kinds of object that a source knows.
const (
	KindNamespace            = "Namespace"
	KindNode                 = "Node"
	KindPod                  = "Pod"
	KindService              = "Service"
	KindEndpointSlice        = "EndpointSlice"
	KindNetworkPolicy        = "NetworkPolicy"
	KindClusterNetworkPolicy = netpol.ClusterKind
	KindGroup                = "Group"
	KindSecurityPolicy       = "SecurityPolicy"
)

// A Ref names an object. Namespace is empty for cluster-wide kinds.
type Ref struct {
	Kind, Namespace, Name string
}

// String returns "Pod development/web-1", or "Node n1".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// A Group is an administrator's group of ports.
type Group struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec has no id: the group's is derived from its name.
	Spec policy.Group `json:"spec"`
}

// A SecurityPolicy is an administrator's section of rules. It refers to
// groups by the names of [Group] objects.
type SecurityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              policy.Section `json:"spec"`
}

// A ClusterNetworkPolicy is a cluster-wide policy as its API server has it.
type ClusterNetworkPolicy struct {
	netpol.ClusterNetworkPolicy `json:",inline"`
	// Unknown says which fields are not known here, where the server's
	// definition is a newer one. A rule that is left without a peer fails closed.
	Unknown string `json:"-"`
}

// DeepCopyObject implements [runtime.Object].
func (g *Group) DeepCopyObject() runtime.Object {
	c := *g
	g.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// DeepCopyObject implements [runtime.Object].
func (p *SecurityPolicy) DeepCopyObject() runtime.Object {
	c := *p
	p.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// A Source delivers a cluster's objects.
type Source interface {
	// Run fills the cache and keeps it so until ctx is done. It calls synced
	// once, after the first full list, and changed after each change to the
	// cache; neither is called concurrently with itself.
	Run(ctx context.Context, synced func(), changed func(Ref)) error
	// Cache is what is known so far.
	Cache() *Cache
}

// A Reporter takes back what NCP has to say about an object.
type Reporter interface {
	// Annotate sets annotations of the object if it still has the UID; an
	// empty value removes. It is a no-op where nothing would change.
	Annotate(ctx context.Context, ref Ref, uid string, annotations map[string]string) error
	// Event tells the object's owner of a condition: a CamelCase reason and a sentence.
	Event(ctx context.Context, ref Ref, uid, reason, message string) error
	// LoadBalancer sets status.loadBalancer of a service to one address, or to none.
	LoadBalancer(ctx context.Context, ref Ref, uid, address string) error
}

// IsHostNetwork reports whether a pod shares its node's network and so has no port.
func IsHostNetwork(p *corev1.Pod) bool { return p.Spec.HostNetwork }

// IsFinished reports whether a pod has ended for good and holds no address.
func IsFinished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
