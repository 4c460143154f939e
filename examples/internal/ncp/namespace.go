package ncp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// Annotations of a namespace, and the tags of pools they select by. Prefixes
// are those of the default scopes.
const (
	annotationNoSNAT     = "ncp/no_snat"
	annotationStaticSNAT = "ncp/static_snat_ip"
)

// namespaceTag is the label that Kubernetes gives every namespace.
const namespaceTag = "kubernetes.io/metadata.name"

// namespace returns the network of a namespace. One that is gone keeps its
// network until the last port has left it.
func (c *Controller) namespace(ctx context.Context, ref cluster.Ref) (desired, error) {
	ns, ok := c.objs.Namespace(ref.Name)
	w := c.snapshot()
	if !ok {
		return desired{}, w.waitForPorts(ref)
	}
	d := desired{uid: string(ns.UID)}
	if err := w.waitForOthers(ref, c.owner("ns", d.uid)); err != nil {
		return d, err
	}
	tier0, err := w.one(model.KindTier0, "tier-0", func(intent.Object) bool { return true })
	if err != nil {
		return d, waitError{err}
	}
	noSNAT, err := flag(ns, annotationNoSNAT)
	if err != nil {
		return d, waitError{err}
	}
	// While a static address is not to be had, an address that the namespace
	// already has is better than none: the mapping fails and changes nothing.
	net, err := c.mapper(ns, noSNAT).Namespace(ctx, topology.Namespace{
		Cluster: c.cfg.Cluster, Name: ns.Name, UID: d.uid, Tier0: tier0.ID, NoSNAT: noSNAT,
		Bits: c.cfg.SubnetPrefix, Owner: c.owner("ns", d.uid),
	})
	if err != nil {
		return d, err
	}
	tags := append([]intent.Tag{
		{Scope: c.cfg.Scopes.Project, Tag: ns.Name}, {Scope: c.cfg.Scopes.ProjectUID, Tag: d.uid},
		{Scope: c.cfg.Scopes.Owner, Tag: c.owner("ns", d.uid)},
	}, c.labelTags("namespace "+ns.Name, namespaceLabels(ns))...)
	add := func(kind, id, name string, v any) {
		o, e := c.object(ref, kind, id, name, v, tags...)
		d.objects, err = append(d.objects, o), errors.Join(err, e)
	}
	add(model.KindTier1, net.Tier1.ID, net.Tier1.DisplayName, net.Tier1)
	add(model.KindSegment, net.Segment.ID, net.Segment.DisplayName, net.Segment)
	for _, r := range net.NATRules {
		add(model.KindNATRule, r.ID, r.DisplayName, r)
	}
	baseline, e := c.namespaceBaseline(ref)
	d.objects = append(d.objects, baseline...)
	return d, errors.Join(err, e)
}

// namespaceLabels are a namespace's labels with the one that names it.
func namespaceLabels(ns *corev1.Namespace) map[string]string {
	labels := maps.Clone(ns.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[namespaceTag] = ns.Name
	return labels
}

func flag(ns *corev1.Namespace, annotation string) (bool, error) {
	v, ok := ns.Annotations[annotation]
	if !ok {
		return false, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, condition("AnnotationInvalid", "namespace %q: annotation %s: %q is neither true nor false", ns.Name, annotation, v)
	}
	return on, nil
}

// waitForPorts returns an error while ports are in the network of a namespace
// that is gone.
func (w world) waitForPorts(ref cluster.Ref) error { return w.waitForOthers(ref, "") }

// waitForOthers returns an error while ports are in networks that were made
// for the namespace's name and are not keep's.
func (w world) waitForOthers(ref cluster.Ref, keep string) error {
	for _, o := range w.byKey[ref] {
		if o.ResourceType != model.KindSegment || model.HasTag(o.Tags, w.scopes.Owner, keep) {
			continue
		}
		n := 0
		for _, p := range w.objects {
			if p.ResourceType != model.KindSegmentPort {
				continue
			}
			if port, err := model.Decode[model.Port](p); err == nil && port.Segment == o.ID {
				n++
			}
		}
		if n > 0 {
			return waitError{condition("PortsRemain", "namespace %q: segment %s still has %d ports", ref.Name, o.ID, n)}
		}
	}
	return nil
}

// mapper takes what a namespace is made of from the manager's pools.
func (c *Controller) mapper(ns *corev1.Namespace, noSNAT bool) topology.Mapper {
	w := c.snapshot()
	return topology.Mapper{
		Subnets: topology.SubnetsFunc(func(ctx context.Context, owner string, bits int) (netip.Prefix, error) {
			return c.subnet(ctx, w, owner, bits, noSNAT)
		}),
		SNAT: topology.AddressesFunc(func(ctx context.Context, owner string) (netip.Addr, error) {
			return c.snatAddress(ctx, w, owner, ns.Annotations[annotationStaticSNAT])
		}),
		VNIs: topology.IDsFunc(func(ctx context.Context, owner string) (uint32, error) {
			a, err := c.cfg.Manager.Allocate(ctx, api.Allocation{Kind: api.VNI, Owner: owner})
			if err != nil {
				return 0, err
			}
			n, err := strconv.ParseUint(a.Value, 10, 24)
			return uint32(n), err
		}),
	}
}

// subnet takes a subnet from the first block, by id, that has one left.
// Blocks tagged no_snat serve the namespaces without SNAT, and only these.
func (c *Controller) subnet(ctx context.Context, w world, owner string, bits int, noSNAT bool) (netip.Prefix, error) {
	blocks := w.find(model.KindBlock, func(o intent.Object) bool {
		_, routed := model.TagValue(o.Tags, c.cfg.Scopes.NoSNAT)
		return routed == noSNAT
	})
	if len(blocks) == 0 {
		kind := "without"
		if noSNAT {
			kind = "with"
		}
		return netip.Prefix{}, condition("IpAddressBlockMissing", "no IpAddressBlock of cluster %q %s tag %s", c.cfg.Cluster, kind, c.cfg.Scopes.NoSNAT)
	}
	value, err := c.fromPools(ctx, blocks, api.Allocation{Kind: api.Subnet, Owner: owner, PrefixLength: bits})
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.ParsePrefix(value)
}

// snatAddress takes the address of a namespace, the static one if it asks for one.
func (c *Controller) snatAddress(ctx context.Context, w world, owner, static string) (netip.Addr, error) {
	pools := w.find(model.KindPool, func(o intent.Object) bool {
		_, external := model.TagValue(o.Tags, c.cfg.Scopes.External)
		return !external
	})
	if len(pools) == 0 {
		return netip.Addr{}, condition("IpAddressPoolMissing", "no IpAddressPool of cluster %q for SNAT", c.cfg.Cluster)
	}
	value, err := c.fromPools(ctx, pools, api.Allocation{Kind: api.Address, Owner: owner, Value: static})
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(value)
}

// fromPools asks each pool in turn. What the owner already has in one comes
// first, so that a pool added in front moves nobody.
func (c *Controller) fromPools(ctx context.Context, pools []intent.Object, a api.Allocation) (string, error) {
	if len(pools) > 1 {
		held, err := c.cfg.Manager.Allocations(ctx, a.Owner)
		if err != nil {
			return "", err
		}
		has := func(o intent.Object) bool {
			return slices.ContainsFunc(held, func(h api.Allocation) bool { return h.Kind == a.Kind && h.Pool == o.ID && h.Owner == a.Owner })
		}
		pools = slices.Clone(pools)
		slices.SortStableFunc(pools, func(x, y intent.Object) int {
			switch {
			case has(x) == has(y):
				return strings.Compare(x.ID, y.ID)
			case has(x):
				return -1
			}
			return 1
		})
	}
	var refusals []error
	for _, p := range pools {
		a.Pool = p.ID
		got, err := c.cfg.Manager.Allocate(ctx, a)
		if err == nil {
			return got.Value, nil
		}
		if !api.IsReason(err, api.ReasonExhausted) && !api.IsReason(err, api.ReasonOutOfRange) {
			return "", err
		}
		refusals = append(refusals, err)
	}
	if len(refusals) == 1 {
		return "", refusals[0]
	}
	return "", fmt.Errorf("no pool could: %w", errors.Join(refusals...))
}
