package ccp

import (
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// network is the topology that a set of intent objects describes.
type network struct {
	model    topology.Model
	segments map[string]model.Segment
	ports    map[string]model.Port
	// revisions of the ports, by id.
	revisions map[string]uint64
	servers   []intent.Object
	errs      []error
}

// readNetwork decodes the objects that topology is about.
func readNetwork(objs []intent.Object) network {
	n := network{segments: map[string]model.Segment{}, ports: map[string]model.Port{}, revisions: map[string]uint64{}}
	ifaces := map[string][]string{}
	for _, o := range objs {
		var err error
		switch o.ResourceType {
		case model.KindTier0:
			err = add(&n.model.Tier0s, o)
		case model.KindTier1:
			err = add(&n.model.Tier1s, o)
		case model.KindHost:
			err = add(&n.model.Hosts, o)
		case model.KindNATRule:
			err = add(&n.model.NATRules, o)
		case model.KindSegment:
			if err = add(&n.model.Segments, o); err == nil {
				n.segments[o.ID] = n.model.Segments[len(n.model.Segments)-1]
			}
		case model.KindSegmentPort:
			var p model.Port
			if p, err = model.Decode[model.Port](o); err == nil {
				n.model.Ports = append(n.model.Ports, p.Port)
				n.ports[o.ID], n.revisions[o.ID] = p, o.Revision
			}
		case model.KindHostAttachments:
			var a model.HostAttachments
			if a, err = model.Decode[model.HostAttachments](o); err == nil {
				ifaces[o.ID] = a.IfaceIDs
			}
		case model.KindVirtualServer:
			n.servers = append(n.servers, o)
		}
		if err != nil {
			n.errs = append(n.errs, err)
		}
	}
	n.model.PortHost = topology.Locate(n.model.Ports, ifaces)
	return n
}

func add[T any](list *[]T, o intent.Object) error {
	v, err := model.Decode[T](o)
	if err == nil {
		*list = append(*list, v)
	}
	return err
}

// objects returns a span as objects of the host's store.
func objects(s topology.Span) ([]intent.Object, error) {
	var out []intent.Object
	var errs []error
	put := func(kind, id string, v any) {
		o, err := model.Encode(kind, id, nil, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("span of host %q: %w", s.Host, err))
			return
		}
		out = append(out, o)
	}
	for _, e := range s.Segments {
		put(model.KindSpanSegment, e.ID, e)
	}
	for _, e := range s.Ports {
		put(model.KindSpanPort, e.ID, e)
	}
	for _, e := range s.Neighbors {
		put(model.KindSpanNeighbor, e.ID, e)
	}
	for _, e := range s.TEPs {
		put(model.KindSpanTEP, e.ID, e)
	}
	for _, e := range s.Edges {
		put(model.KindSpanEdge, e.ID, e)
	}
	for _, e := range s.NATRules {
		e.Tags = nil
		put(model.KindSpanNAT, e.ID, e)
	}
	return out, errors.Join(errs...)
}

// Span is the inverse of objects: what a host agent makes of its store.
func Span(host string, role topology.Role, objs []intent.Object) (topology.Span, error) {
	s := topology.Span{Host: host, Role: role}
	var errs []error
	for _, o := range objs {
		var err error
		switch o.ResourceType {
		case model.KindSpanSegment:
			err = add(&s.Segments, o)
		case model.KindSpanPort:
			err = add(&s.Ports, o)
		case model.KindSpanNeighbor:
			err = add(&s.Neighbors, o)
		case model.KindSpanTEP:
			err = add(&s.TEPs, o)
		case model.KindSpanEdge:
			err = add(&s.Edges, o)
		case model.KindSpanNAT:
			err = add(&s.NATRules, o)
		}
		errs = append(errs, err)
	}
	return s, errors.Join(errs...)
}
