package ncp

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/kube"
	"github.com/tierloom/tierloom/reconcile/intent"
)

func isLoadBalancer(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil
}

// service returns the virtual server of a service of type LoadBalancer. Other
// services are the node agents' alone.
func (c *Controller) service(ctx context.Context, ref cluster.Ref) (desired, error) {
	s, ok := c.objs.Service(ref.Namespace, ref.Name)
	if !ok {
		return desired{}, nil
	}
	d := desired{uid: string(s.UID)}
	if !isLoadBalancer(s) {
		d.after = func(ctx context.Context) error { return c.cfg.Reporter.LoadBalancer(ctx, ref, d.uid, "") }
		return d, nil
	}
	w := c.snapshot()
	tier0, err := w.one(model.KindTier0, "tier-0", func(intent.Object) bool { return true })
	if err != nil {
		return d, waitError{err}
	}
	pools := w.find(model.KindPool, func(o intent.Object) bool {
		_, external := model.TagValue(o.Tags, c.cfg.Scopes.External)
		return external
	})
	if len(pools) == 0 {
		return d, waitError{condition("IP_POOL_NOT_FOUND", "service %s/%s: no IpAddressPool of cluster %q with tag %s",
			ref.Namespace, ref.Name, c.cfg.Cluster, c.cfg.Scopes.External)}
	}
	owner := c.owner("svc", d.uid)
	value, err := c.fromPools(ctx, pools, api.Allocation{Kind: api.Address, Owner: owner, Value: s.Spec.LoadBalancerIP}) //nolint:staticcheck // still what users write
	if err != nil {
		return d, err
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return d, err
	}
	server, err := c.virtualServer(s, addr, tier0.ID)
	if err != nil {
		return d, err
	}
	o, err := c.object(ref, model.KindVirtualServer, c.cfg.Cluster+"-svc-"+d.uid, ref.Namespace+"/"+ref.Name, server,
		intent.Tag{Scope: c.cfg.Scopes.Project, Tag: ref.Namespace}, intent.Tag{Scope: c.cfg.Scopes.Owner, Tag: owner})
	if err != nil {
		return d, err
	}
	d.objects = []intent.Object{o}
	d.after = func(ctx context.Context) error { return c.cfg.Reporter.LoadBalancer(ctx, ref, d.uid, value) }
	return d, nil
}

// virtualServer works the members of each port out as an edge sees them.
func (c *Controller) virtualServer(s *corev1.Service, addr netip.Addr, gateway string) (model.VirtualServer, error) {
	v := model.VirtualServer{Address: addr, Gateway: gateway}
	svc, err := kube.ServiceFrom(s)
	if err != nil {
		return v, err
	}
	svc.External = []netip.Addr{addr}
	endpoints, err := kube.EndpointsFrom(c.objs.EndpointSlices(s.Namespace, s.Name))
	if err != nil {
		return v, err
	}
	table := lb.NewTable(lb.Config{Outside: true})
	if err := table.SetService(svc); err != nil {
		return v, err
	}
	if err := table.SetEndpoints(svc.ID, endpoints); err != nil {
		return v, err
	}
	for _, f := range table.State() {
		if f.Kind != lb.ExternalIP || f.Key.Addr != addr {
			continue
		}
		p := model.VirtualServerPort{Protocol: f.Key.Proto, Port: f.Key.Port, Members: []netip.AddrPort{}}
		for _, b := range f.Backends {
			p.Members = append(p.Members, netip.AddrPortFrom(b.Addr, b.Port))
		}
		v.Ports = append(v.Ports, p)
	}
	return v, nil
}
