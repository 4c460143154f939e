package ccp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// A Plane keeps every host's span and the realized state. Make one with [New].
type Plane struct {
	realized *intent.Memory

	mu     sync.Mutex // protects what follows
	rules  *rules
	hosts  map[string]*host
	faults []error
}

// host is one host's span and what it has acknowledged.
type host struct {
	span *intent.Memory
	// waiting holds, by port, what the host has yet to acknowledge.
	waiting map[string]waiting
}

// waiting is a change of a port that a host must acknowledge.
type waiting struct {
	span    uint64 // revision of the span that holds it
	port    uint64 // intent revision of the port
	removed bool
}

// New returns a plane without hosts. Realized is the store that it keeps of
// what hosts have acknowledged.
func New(realized *intent.Memory) *Plane {
	return &Plane{realized: realized, rules: newRules(), hosts: map[string]*host{}}
}

// Span returns the store of a host's span, empty for a host that the intent
// does not know yet.
func (p *Plane) Span(id string) *intent.Memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hostLocked(id).span
}

func (p *Plane) hostLocked(id string) *host {
	h := p.hosts[id]
	if h == nil {
		h = &host{span: intent.NewMemory(), waiting: map[string]waiting{}}
		p.hosts[id] = h
	}
	return h
}

// Faults returns what was left out of the last update, and why.
func (p *Plane) Faults() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.faults...)
}

// Update makes every span what the intent says.
func (p *Plane) Update(ctx context.Context, objs []intent.Object) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := readNetwork(objs)
	p.faults = append(n.errs, p.rules.update(objs, n)...)
	if err := n.model.Validate(); err != nil {
		p.faults = append(p.faults, err)
	}
	var errs []error
	known := map[string]bool{}
	for _, s := range n.model.Spans() {
		known[s.Host] = true
		errs = append(errs, p.updateHostLocked(ctx, s, n))
	}
	for id, h := range p.hosts {
		if !known[id] {
			errs = append(errs, p.replaceLocked(ctx, h, nil, network{}, nil))
		}
	}
	return errors.Join(errs...)
}

func (p *Plane) updateHostLocked(ctx context.Context, s topology.Span, n network) error {
	want, err := objects(s)
	if err != nil {
		return err
	}
	if s.Role == topology.RoleEdge {
		for _, o := range n.servers {
			o.ResourceType, o.Tags, o.Revision = model.KindSpanVirtualServer, nil, 0
			want = append(want, o)
		}
	}
	rules, err := p.rules.objects(s.Ports)
	if err != nil {
		return fmt.Errorf("rules of host %q: %w", s.Host, err)
	}
	return p.replaceLocked(ctx, p.hostLocked(s.Host), append(want, rules...), n, s.Ports)
}

// replaceLocked makes a host's store hold want and notes what the host has to
// acknowledge.
func (p *Plane) replaceLocked(ctx context.Context, h *host, want []intent.Object, n network, ports []topology.SpanPort) error {
	have, _, err := h.span.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	gone := map[intent.Key]bool{}
	for _, o := range have {
		gone[o.Key()] = true
	}
	changes := make([]intent.Change, 0, len(want))
	for _, o := range want {
		delete(gone, o.Key())
		changes = append(changes, intent.Put(o))
	}
	for _, k := range slices.SortedFunc(maps.Keys(gone), intent.Key.Compare) {
		changes = append(changes, intent.Delete(k.ResourceType, k.ID))
	}
	revision, err := h.span.Apply(ctx, changes)
	if err != nil {
		return err
	}
	for k := range gone {
		if k.ResourceType == model.KindSpanPort {
			h.waiting[k.ID] = waiting{span: revision, removed: true}
		}
	}
	for _, sp := range ports {
		if sp.Attachment.Type == topology.AttachmentParent {
			continue
		}
		if w, ok := h.waiting[sp.ID]; ok && !w.removed && w.port == n.revisions[sp.ID] {
			continue
		}
		if p.isRealizedLocked(ctx, sp.ID, n.revisions[sp.ID]) {
			delete(h.waiting, sp.ID)
			continue
		}
		h.waiting[sp.ID] = waiting{span: revision, port: n.revisions[sp.ID]}
	}
	return nil
}

func (p *Plane) isRealizedLocked(ctx context.Context, port string, revision uint64) bool {
	o, err := intent.Lookup(ctx, p.realized, model.KindRealizedPort, port)
	if err != nil {
		return false
	}
	r, err := model.Decode[model.RealizedPort](o)
	return err == nil && r.Revision == revision && r.Error == ""
}

// Acknowledge takes what a host has realized. An acknowledgement of another
// epoch of the span is about a span that is no more, and is ignored.
func (p *Plane) Acknowledge(ctx context.Context, id string, ack api.Ack) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hostLocked(id)
	st, err := h.span.Status(ctx)
	if err != nil {
		return err
	}
	if st.Epoch != ack.Epoch {
		return nil
	}
	var changes []intent.Change
	for _, port := range slices.Sorted(maps.Keys(h.waiting)) {
		w := h.waiting[port]
		if w.span > ack.Revision {
			continue
		}
		if w.removed {
			if len(ack.Errors) > 0 {
				continue // the switch may still hold it
			}
			if !p.waitsElsewhereLocked(port, h) {
				changes = append(changes, intent.Delete(model.KindRealizedPort, port))
			}
			delete(h.waiting, port)
			continue
		}
		o, err := model.Encode(model.KindRealizedPort, port, nil, model.RealizedPort{Host: id, Revision: w.port, Error: ack.Errors[port]})
		if err != nil {
			return err
		}
		changes = append(changes, intent.Put(o))
		if ack.Errors[port] == "" {
			delete(h.waiting, port)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	_, err = p.realized.Apply(ctx, changes)
	return err
}

// waitsElsewhereLocked reports whether a port has moved to another host.
func (p *Plane) waitsElsewhereLocked(port string, not *host) bool {
	for _, h := range p.hosts {
		if h == not {
			continue
		}
		if _, ok := h.waiting[port]; ok {
			return true
		}
	}
	return false
}
