package ncp

import (
	"context"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// desired is the intent that an object asks for.
type desired struct {
	// uid of the object, empty when it is gone.
	uid     string
	objects []intent.Object
	// after is run when the intent is written; it may be nil.
	after func(context.Context) error
	// warning is what the owner is to know although the intent is written.
	warning error
}

// desired returns the intent for ref. An object that is gone wants none. A
// fault leaves the intent in force untouched.
func (c *Controller) desired(ctx context.Context, ref cluster.Ref) (desired, error) {
	switch ref.Kind {
	case cluster.KindNamespace:
		return c.namespace(ctx, ref)
	case cluster.KindPod:
		return c.pod(ctx, ref)
	case cluster.KindService:
		return c.service(ctx, ref)
	case cluster.KindNetworkPolicy:
		return c.networkPolicy(ref)
	case cluster.KindClusterNetworkPolicy:
		return c.clusterNetworkPolicy(ref)
	case cluster.KindNode:
		return c.node(ref)
	case baselineRef.Kind:
		return c.baseline()
	case cluster.KindGroup:
		return c.group(ref)
	case cluster.KindSecurityPolicy:
		return c.securityPolicy(ref)
	}
	return desired{}, nil
}
