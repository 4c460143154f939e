package draw

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// A Graph is a topology ready to be drawn.
type Graph struct {
	tier0s []*tier0 // last the one without id, if anything is not connected
	hosts  []*host  // last the one without id, if a node is on no host
	nodes  []*node
}

type tier0 struct {
	id, name string
	edge     *host
	vips     []string
	gateways []*gateway
}

// A gateway is a tier-1, or, without id, what is connected to no tier-1.
type gateway struct {
	id, name, snat string
	segments       []*segment
}

type segment struct {
	id, name string
	subnets  []netip.Prefix
	vni      uint32
	pods     []*pod
}

type pod struct {
	id, name, ip string
	vlan         uint16
	node         *node
}

// A node is a parent port, or an independent port that is its own place.
type node struct {
	id, name string
	host     *host
	pods     int
	color    int
}

type host struct {
	id, name, tep string
	edge          bool
	nodes         []*node
}

// kinds are the decoded objects that a drawing is made of, each by id.
type kinds struct {
	tier0    []model.Tier0
	tier1    []model.Tier1
	segments []model.Segment
	nat      []model.NATRule
	ports    []model.Port
	hosts    []model.Host
	vips     []model.VirtualServer
	ifaces   map[string]string // iface-id to host
	names    map[intent.Key]string
	tags     map[intent.Key][]intent.Tag
}

// Build returns the drawing of the objects; kinds that it does not draw are
// skipped. An error names the first object, by kind and id, that is malformed.
func Build(objs []intent.Object) (*Graph, error) {
	k, err := decode(objs)
	if err != nil {
		return nil, err
	}
	g := &Graph{}
	hosts := g.placeHosts(k)
	segments := g.routers(k, hosts)
	g.workloads(k, hosts, segments)
	return g, nil
}

func decode(objs []intent.Object) (*kinds, error) {
	objs = slices.Clone(objs)
	slices.SortStableFunc(objs, func(a, b intent.Object) int { return a.Key().Compare(b.Key()) })
	k := &kinds{ifaces: map[string]string{}, names: map[intent.Key]string{}, tags: map[intent.Key][]intent.Tag{}}
	for _, o := range objs {
		k.names[o.Key()], k.tags[o.Key()] = cmp.Or(o.DisplayName, o.ID), o.Tags
		var err error
		switch o.ResourceType {
		case model.KindTier0:
			err = add(&k.tier0, o)
		case model.KindTier1:
			err = add(&k.tier1, o)
		case model.KindSegment:
			err = add(&k.segments, o)
		case model.KindNATRule:
			err = add(&k.nat, o)
		case model.KindSegmentPort:
			err = add(&k.ports, o)
		case model.KindHost:
			err = add(&k.hosts, o)
		case model.KindVirtualServer:
			err = add(&k.vips, o)
		case model.KindHostAttachments:
			var a model.HostAttachments
			a, err = model.Decode[model.HostAttachments](o)
			for _, id := range a.IfaceIDs {
				if _, taken := k.ifaces[id]; !taken {
					k.ifaces[id] = o.ID
				}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return k, nil
}

func add[T any](to *[]T, o intent.Object) error {
	v, err := model.Decode[T](o)
	*to = append(*to, v)
	return err
}

// name is what people call the object: its namespace's or pod's name if it
// has the tag, else its display name, else its id.
func (k *kinds) name(kind, id, scope string) string {
	key := intent.Key{ResourceType: kind, ID: id}
	v, _ := model.TagValue(k.tags[key], scope)
	return cmp.Or(v, k.names[key])
}

func (g *Graph) placeHosts(k *kinds) map[string]*host {
	byID := map[string]*host{}
	for _, h := range k.hosts {
		n := &host{id: h.ID, name: cmp.Or(h.DisplayName, h.ID), edge: h.Role == topology.RoleEdge}
		if h.TEP.IsValid() {
			n.tep = h.TEP.String()
		}
		byID[h.ID] = n
	}
	for _, id := range k.ifaces {
		if byID[id] == nil {
			byID[id] = &host{id: id, name: id}
		}
	}
	g.hosts = slices.SortedFunc(maps.Values(byID), func(a, b *host) int {
		if a.edge != b.edge {
			if b.edge {
				return -1
			}
			return 1
		}
		return strings.Compare(a.id, b.id)
	})
	return byID
}

// routers fills in tier-0s, tier-1s and segments, and returns the segments by id.
func (g *Graph) routers(k *kinds, hosts map[string]*host) map[string]*segment {
	scopes := model.DefaultScopes()
	routers, loose := map[string]*tier0{}, &tier0{name: "not connected"}
	for _, t := range k.tier0 {
		r := &tier0{id: t.ID, name: cmp.Or(t.DisplayName, t.ID), edge: hosts[t.Edge]}
		if t.Edge == "" {
			if i := slices.IndexFunc(g.hosts, func(h *host) bool { return h.edge }); i >= 0 {
				r.edge = g.hosts[i]
			}
		}
		for i, v := range k.vips {
			if v.Gateway == t.ID && v.Address.IsValid() && !slices.Contains(r.vips, v.Address.String()) {
				r.vips = append(r.vips, k.vips[i].Address.String())
			}
		}
		routers[t.ID], g.tier0s = r, append(g.tier0s, r)
	}
	gateways := map[string]*gateway{}
	for _, t := range k.tier1 {
		gw := &gateway{id: t.ID, name: k.name(model.KindTier1, t.ID, scopes.Project)}
		gateways[t.ID] = gw
		r := cmp.Or(routers[t.Tier0], loose)
		r.gateways = append(r.gateways, gw)
	}
	segments, direct := map[string]*segment{}, map[*tier0]*gateway{}
	for _, s := range k.segments {
		n := &segment{id: s.ID, name: cmp.Or(s.DisplayName, s.ID), vni: s.VNI}
		for _, sub := range s.Subnets {
			n.subnets = append(n.subnets, sub.Gateway)
		}
		gw := gateways[s.Tier1]
		if gw == nil {
			r := cmp.Or(routers[s.Tier1], loose)
			if direct[r] == nil {
				direct[r] = &gateway{}
				r.gateways = append(r.gateways, direct[r])
			}
			gw = direct[r]
		}
		segments[s.ID], gw.segments = n, append(gw.segments, n)
	}
	for _, t := range k.tier1 {
		gateways[t.ID].snat = k.snat(t, gateways[t.ID])
	}
	if len(loose.gateways) > 0 {
		g.tier0s = append(g.tier0s, loose)
	}
	return segments
}

// snat returns the address that the gateway's traffic leaves with, if any.
func (k *kinds) snat(t model.Tier1, gw *gateway) string {
	for _, r := range k.nat {
		if r.Action != topology.SNAT || !r.Translated.IsValid() {
			continue
		}
		if r.Gateway == t.ID {
			return r.Translated.String()
		}
		if r.Gateway != t.Tier0 || !r.Source.IsValid() {
			continue
		}
		for _, s := range gw.segments {
			for _, p := range s.subnets {
				if r.Source.Contains(p.Addr()) {
					return r.Translated.String()
				}
			}
		}
	}
	return ""
}

func (g *Graph) workloads(k *kinds, hosts map[string]*host, segments map[string]*segment) {
	scopes, nodes := model.DefaultScopes(), map[string]*node{}
	nowhere := &host{name: "not placed"}
	for _, p := range k.ports {
		if p.Attachment.Type == topology.AttachmentChild {
			continue
		}
		n := &node{id: p.ID, name: k.name(model.KindSegmentPort, p.ID, scopes.NodeName), color: len(g.nodes)}
		n.host = cmp.Or(hosts[k.ifaces[p.Attachment.ID]], nowhere)
		n.host.nodes = append(n.host.nodes, n)
		nodes[p.ID], g.nodes = n, append(g.nodes, n)
	}
	for _, p := range k.ports {
		s := segments[p.Segment]
		at := nodes[cmp.Or(p.Attachment.Parent, p.ID)]
		if at != nil && p.Attachment.Type == topology.AttachmentChild {
			at.pods++
		}
		if s == nil {
			continue
		}
		n := &pod{id: p.ID, name: k.name(model.KindSegmentPort, p.ID, scopes.Pod), vlan: p.Attachment.VLAN, node: at}
		var ips []string
		for _, ip := range p.IPs() {
			ips = append(ips, ip.String())
		}
		n.ip, s.pods = strings.Join(ips, ", "), append(s.pods, n)
	}
	for _, s := range segments {
		slices.SortStableFunc(s.pods, func(a, b *pod) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id)) })
	}
	if len(nowhere.nodes) > 0 {
		g.hosts = append(g.hosts, nowhere)
	}
}
