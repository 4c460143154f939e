package ncp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// object returns intent made for ref, with the tags that say so.
func (c *Controller) object(ref cluster.Ref, kind, id, name string, v any, tags ...intent.Tag) (intent.Object, error) {
	tags = append(slices.Clone(tags),
		intent.Tag{Scope: c.cfg.Scopes.Cluster, Tag: c.cfg.Cluster},
		intent.Tag{Scope: c.cfg.Scopes.CreatedFor, Tag: keyString(ref)})
	o, err := model.Encode(kind, id, model.SortTags(tags), v)
	o.DisplayName = name
	return o, err
}

// kindOrder is the order in which kinds are written, so that a reader sees
// what an object refers to before the object; they are deleted in reverse.
var kindOrder = []string{
	model.KindTier1, model.KindSegment, model.KindNATRule, model.KindClusterNode, model.KindSegmentPort,
	model.KindGroup, model.KindSection, model.KindVirtualServer,
}

// apply makes the intent made for ref equal to want, in one batch.
func (c *Controller) apply(ctx context.Context, ref cluster.Ref, want []intent.Object) error {
	changes := plan(want, c.snapshot().byKey[ref])
	if len(changes) == 0 {
		return nil
	}
	if _, err := c.cfg.Manager.Intent.Apply(ctx, changes); err != nil {
		return fmt.Errorf("write intent for %s: %w", ref, err)
	}
	c.log.Info("intent written", "object", ref.String(), "changes", len(changes))
	return nil
}

// plan returns the changes that turn have into want.
func plan(want, have []intent.Object) []intent.Change {
	rank := func(o intent.Object) int { return slices.Index(kindOrder, o.ResourceType) }
	old := map[intent.Key]intent.Object{}
	for _, o := range have {
		old[o.Key()] = o
	}
	var changes []intent.Change
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b intent.Object) int { return rank(a) - rank(b) })
	for _, o := range want {
		if before, ok := old[o.Key()]; !ok || !before.Equal(o) {
			changes = append(changes, intent.Put(o))
		}
		delete(old, o.Key())
	}
	gone := slices.Clone(have)
	slices.SortStableFunc(gone, func(a, b intent.Object) int { return rank(b) - rank(a) })
	for _, o := range gone {
		if _, ok := old[o.Key()]; ok {
			changes = append(changes, intent.Delete(o.ResourceType, o.ID))
		}
	}
	return changes
}

// owner names who holds leases: this cluster, a role, and a UID.
func (c *Controller) owner(role, uid string) string {
	return c.cfg.Cluster + "/" + role + "/" + uid
}

// ownerOf returns the lease owner that stands for an object of the cluster.
func (c *Controller) ownerOf(ref cluster.Ref) (string, bool) {
	switch ref.Kind {
	case cluster.KindPod:
		if p, ok := c.objs.Pod(ref.Namespace, ref.Name); ok && !cluster.IsFinished(p) {
			return c.owner("pod", string(p.UID)), true
		}
	case cluster.KindNamespace:
		if n, ok := c.objs.Namespace(ref.Name); ok {
			return c.owner("ns", string(n.UID)), true
		}
	case cluster.KindService:
		if s, ok := c.objs.Service(ref.Namespace, ref.Name); ok && isLoadBalancer(s) {
			return c.owner("svc", string(s.UID)), true
		}
	}
	return "", false
}

// collectLeases releases what our cluster leased to owners that nothing
// stands for. Leases are read before the living: an owner that appears in
// between keeps what it was just given.
func (c *Controller) collectLeases(ctx context.Context) error {
	leases, err := c.cfg.Manager.Allocations(ctx, c.cfg.Cluster+"/")
	if err != nil {
		return err
	}
	live := c.liveOwners()
	for _, l := range leases {
		if live[leaseOwner(l)] {
			continue
		}
		if err := c.cfg.Manager.Release(ctx, l); err != nil {
			return fmt.Errorf("release %s of %s: %w", l.Value, l.Owner, err)
		}
		c.log.Info("lease released", "kind", l.Kind, "pool", l.Pool, "value", l.Value, "owner", l.Owner)
	}
	return nil
}

// leaseOwner returns the object that holds a lease. An owner may hold several
// leases of a kind under names of its own: "cluster/ns/uid" or "cluster/ns/uid/snat".
func leaseOwner(a api.Allocation) string {
	f := strings.SplitN(a.Owner, "/", 4)
	return strings.Join(f[:min(3, len(f))], "/")
}
