package ncp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// portID names the segment port of a pod; portID("") is the prefix of all.
func (c *Controller) portID(uid string) string { return c.cfg.Cluster + "-pod-" + uid }

// pod returns the segment port of a pod. It waits for the pod's node and
// namespace; afterwards, once the host realizes the port, it writes the CIF.
func (c *Controller) pod(ctx context.Context, ref cluster.Ref) (desired, error) {
	p, ok := c.objs.Pod(ref.Namespace, ref.Name)
	if !ok || cluster.IsFinished(p) || cluster.IsHostNetwork(p) || p.Spec.NodeName == "" {
		return desired{}, nil
	}
	d := desired{uid: string(p.UID)}
	if _, ok := c.objs.Namespace(p.Namespace); !ok {
		return d, waitError{condition("NamespaceMissing", "pod %s/%s: no namespace %q", p.Namespace, p.Name, p.Namespace)}
	}
	if _, ok := c.objs.Node(p.Spec.NodeName); !ok {
		return d, waitError{condition("NodeUnknown", "pod %s/%s: spec.nodeName: no node %q", p.Namespace, p.Name, p.Spec.NodeName)}
	}
	w := c.snapshot()
	parent, err := w.one(model.KindSegmentPort, fmt.Sprintf("parent port of node %q (tag %s)", p.Spec.NodeName, c.cfg.Scopes.NodeName),
		func(o intent.Object) bool { return model.HasTag(o.Tags, c.cfg.Scopes.NodeName, p.Spec.NodeName) })
	if err != nil {
		return d, waitError{fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)}
	}
	segment, err := c.segmentOf(w, p.Namespace)
	if err != nil {
		return d, waitError{fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)}
	}
	port, err := c.allocatePort(ctx, p, segment, parent.ID)
	if err != nil {
		return d, fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	o, err := c.object(ref, model.KindSegmentPort, port.ID, p.Namespace+"/"+p.Name, port, c.podTags(p)...)
	if err != nil {
		return d, err
	}
	d.objects = []intent.Object{o}
	d.after = func(ctx context.Context) error { return c.publish(ctx, ref, p, segment, port) }
	return d, nil
}

// segmentOf returns the segment of a namespace as the manager has it.
func (c *Controller) segmentOf(w world, namespace string) (model.Segment, error) {
	for _, o := range w.byKey[cluster.Ref{Kind: cluster.KindNamespace, Name: namespace}] {
		if o.ResourceType == model.KindSegment {
			return model.Decode[model.Segment](o)
		}
	}
	return model.Segment{}, condition("SegmentPending", "namespace %q has no segment yet", namespace)
}

// allocatePort leases the pod's address, MAC and VLAN id. Every lease is
// durable and the same again when asked again.
func (c *Controller) allocatePort(ctx context.Context, p *corev1.Pod, segment model.Segment, parent string) (model.Port, error) {
	owner := c.owner("pod", string(p.UID))
	port := model.Port{NamedPorts: namedPorts(p)}
	port.ID, port.Segment = c.portID(string(p.UID)), segment.ID
	values := map[string]string{}
	for _, a := range []api.Allocation{
		{Kind: api.Address, Pool: "segment/" + segment.ID},
		{Kind: api.MAC},
		{Kind: api.VLAN, Pool: parent},
	} {
		a.Owner = owner
		got, err := c.cfg.Manager.Allocate(ctx, a)
		if err != nil {
			return port, err
		}
		values[a.Kind] = got.Value
	}
	ip, err := netip.ParseAddr(values[api.Address])
	if err != nil {
		return port, fmt.Errorf("address from manager: %w", err)
	}
	vlan, err := strconv.ParseUint(values[api.VLAN], 10, 12)
	if err != nil {
		return port, fmt.Errorf("vlan from manager: %w", err)
	}
	port.Attachment = topology.Attachment{Type: topology.AttachmentChild, Parent: parent, VLAN: uint16(vlan)}
	port.Addresses = []topology.AddressBinding{{IP: ip, MAC: values[api.MAC]}}
	return port, nil
}

// namedPorts are those of the pod's containers, and of init containers that stay.
func namedPorts(p *corev1.Pod) []model.NamedPort {
	var out []model.NamedPort
	add := func(ctr corev1.Container) {
		for _, cp := range ctr.Ports {
			if cp.Name != "" {
				out = append(out, model.NamedPort{Name: cp.Name, Protocol: protocolNumber(cp.Protocol), Port: uint16(cp.ContainerPort)})
			}
		}
	}
	for _, ctr := range p.Spec.Containers {
		add(ctr)
	}
	for _, ctr := range p.Spec.InitContainers {
		if r := ctr.RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
			add(ctr)
		}
	}
	return out
}

// protocolNumber returns the IANA number; Kubernetes' default is TCP.
func protocolNumber(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return 17
	case corev1.ProtocolSCTP:
		return 132
	}
	return 6
}

// podTags are the pod's labels, and what finds the port again.
func (c *Controller) podTags(p *corev1.Pod) []intent.Tag {
	tags := []intent.Tag{
		{Scope: c.cfg.Scopes.Project, Tag: p.Namespace},
		{Scope: c.cfg.Scopes.Pod, Tag: p.Name},
		{Scope: c.cfg.Scopes.NodeName, Tag: p.Spec.NodeName},
		{Scope: c.cfg.Scopes.Owner, Tag: c.owner("pod", string(p.UID))},
	}
	return append(tags, c.labelTags("pod "+p.Namespace+"/"+p.Name, p.Labels)...)
}

// labelTags turns labels of an object into tags. A label under our own prefix
// is left out: it could make the object pass for another's; so are labels that
// there is no room for.
func (c *Controller) labelTags(of string, labels map[string]string) []intent.Tag {
	prefix, _, _ := strings.Cut(c.cfg.Scopes.Cluster, "/")
	free := maps.Clone(labels)
	for k := range labels {
		if strings.HasPrefix(k, prefix+"/") {
			c.log.Warn("label is reserved and makes no tag", "of", of, "label", k)
			delete(free, k)
		}
	}
	limits := policy.TagLimits{}
	if c.cfg.MaxTags > 0 {
		limits.Tags = c.cfg.MaxTags - leastTags
	}
	list, over := limits.Apply(nil, free)
	for _, o := range over {
		c.log.Warn("label makes no tag", "of", of, "label", o.String(), "max_tags", c.cfg.MaxTags)
	}
	tags := make([]intent.Tag, len(list))
	for i, t := range list {
		tags[i] = intent.Tag(t)
	}
	return tags
}

// publish writes the CIF of a pod whose port a host has realized. Before
// that it does nothing: the host's acknowledgement queues the pod again.
func (c *Controller) publish(ctx context.Context, ref cluster.Ref, p *corev1.Pod, segment model.Segment, port model.Port) error {
	realized, ok := c.snapshot().realized[port.ID]
	if !ok {
		return nil
	}
	if realized.Error != "" {
		return condition("PortNotRealized", "host %s: %s", realized.Host, realized.Error)
	}
	cif := cluster.CIF{
		UID: string(p.UID), MAC: port.Addresses[0].MAC, VLAN: port.Attachment.VLAN, MTU: c.cfg.MTU, Generation: realized.Revision,
	}
	for _, a := range port.Addresses {
		for _, s := range segment.Subnets {
			if s.Gateway.Contains(a.IP) {
				cif.Addresses = append(cif.Addresses, netip.PrefixFrom(a.IP, s.Gateway.Bits()))
				cif.Gateways = append(cif.Gateways, s.Gateway.Addr())
			}
		}
	}
	if old, ok, err := cluster.ParseCIF(p); err == nil && ok {
		cif.Generation = old.Generation // what the agent waits for is the first realization
	}
	return c.cfg.Reporter.Annotate(ctx, ref, cif.UID, map[string]string{cluster.AnnotationCIF: cif.Annotation()})
}
