package hostagent

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/overlay/overlayovs"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologyovs"
)

// cookieOwner marks every flow of the agent.
const cookieOwner = 0x74

// share is what the agent has of the bridge. It uses no groups.
var share = ovs.Share{Cookie: ovs.MakeCookie(cookieOwner, 0, 0), Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 0}

// Features in cookies: which stage compiler a flow comes from.
const (
	featureOverlay = iota + 1
	featureTopology
	featurePolicy
)

// apply makes the switch, and the outside of an edge, do what the span says.
func (s *session) apply(ctx context.Context, objs []intent.Object, ifaces map[string]uint32) error {
	span, err := ccp.Span(s.cfg.Host, s.cfg.Role, objs)
	if err != nil {
		return err
	}
	var here []topology.SpanPort
	for _, p := range span.Ports {
		if _, ok := ifaces[p.Iface]; ok && p.VNI != 0 {
			here = append(here, p)
		}
	}
	keys, stale, err := s.keys(ctx, here)
	if err != nil {
		return err
	}
	p, err := newPlan(span, here, objs, keys, ifaces)
	if err != nil {
		return err
	}
	if err := s.write(ctx, p); err != nil {
		return err
	}
	if err := s.release(ctx); err != nil {
		return err
	}
	s.prime(ctx, span)
	if err := s.forget(ctx, stale); err != nil {
		return err
	}
	if s.cfg.Outside != nil {
		return s.cfg.Outside.Apply(ctx, span, objs)
	}
	return nil
}

// A plan is what the flows of a bridge are made from.
type plan struct {
	span         topology.Span
	here         []topology.SpanPort // those plugged in
	keys, ifaces map[string]uint32   // by port, and ofport by iface id
	program      *policy.Program
	guarded      []policyovs.Port
}

func newPlan(span topology.Span, here []topology.SpanPort, objs []intent.Object, keys, ifaces map[string]uint32) (plan, error) {
	p := plan{span: span, here: here, keys: keys, ifaces: ifaces}
	var err error
	if p.program, err = ccp.Program(objs); err != nil {
		return plan{}, err
	}
	for _, port := range here {
		mac, err := ovs.ParseMAC(port.MAC)
		if err != nil {
			return plan{}, fmt.Errorf("port %q: %w", port.ID, err)
		}
		p.guarded = append(p.guarded, policyovs.Port{ID: port.ID, Key: keys[port.ID], MAC: mac, IPs: port.IPs})
	}
	return p, nil
}

// write makes the switch have the flows of a plan.
func (s *session) write(ctx context.Context, p plan) error {
	e := s.policy
	if s.firewall == nil {
		var err error
		if s.firewall, err = s.resumeFirewall(ctx); err != nil {
			return err
		}
	}
	e.set(p)
	changed, err := s.put(ctx, p)
	if err == nil && changed && e.unknown {
		// Rules may have come that deny what was allowed by those that were there.
		e.advance()
		e.set(p)
		_, err = s.put(ctx, p)
	}
	if err != nil {
		e.program, e.unknown = nil, true
		return err
	}
	e.program, e.unknown = p.program, false
	s.setInForce(inForce{s.of, e.layout, p.program, e.agent})
	return nil
}

// put compiles all stages and writes what differs.
func (s *session) put(ctx context.Context, p plan) (changed bool, err error) {
	stages, err := s.stages(p)
	if err != nil {
		return false, err
	}
	for _, g := range stages {
		if err := g.hand(s.bridge); err != nil {
			return false, err
		}
	}
	s.firewall.handed = true
	return s.sync(ctx)
}

// sync makes the switch follow, and once in a while looks for what others did to it.
func (s *session) sync(ctx context.Context) (changed bool, err error) {
	run := s.bridge.Sync
	if s.audit {
		run = s.bridge.Audit
	}
	report, err := run(ctx)
	if err != nil {
		return false, err
	}
	s.audit = false
	for _, r := range report.Repairs {
		s.log.Warn("flow repaired", "what", r.String())
	}
	if report.Changed() {
		s.log.Info("flows written", "added", report.Added, "modified", report.Modified, "deleted", report.Deleted)
	}
	return report.Changed(), nil
}

// A stage is what one compiler makes of the span; it owns its flows.
type stage struct {
	name  string
	flows []ovs.Flow // all of them, or if changed is set those that are new
	// changed says that gone are no more, and others stay.
	changed bool
	gone    []ovs.Flow
}

func (g stage) hand(b *ovs.Bridge) error {
	if g.changed {
		return b.Update(g.name, g.flows, g.gone)
	}
	return b.Set(g.name, g.flows, nil)
}

// stages compiles the whole pipeline of the bridge.
func (s *session) stages(p plan) ([]stage, error) {
	lo, lt := overlayovs.DefaultLayout(), topologyovs.DefaultLayout()
	lo.Owner, lt.Owner = cookieOwner, cookieOwner
	lo.Feature, lt.Feature = featureOverlay, featureTopology

	tunnel := overlayovs.Input{Tunnel: s.tunnel}
	if s.downlink != 0 {
		for _, e := range p.span.Edges {
			tunnel.Downlink = &overlayovs.Downlink{OFPort: s.downlink, TransitVNI: e.TransitVNI}
		}
	}
	for _, port := range p.here {
		tunnel.Ports = append(tunnel.Ports, overlayovs.Port{
			ID: port.ID, Key: p.keys[port.ID], OFPort: p.ifaces[port.Iface], VLAN: port.Attachment.VLAN, VNI: port.VNI,
		})
	}
	in, err := topologyovs.InputOf(p.span, p.keys)
	if err != nil {
		return nil, err
	}
	a, errA := overlayovs.Flows(tunnel, lo)
	b, errB := topologyovs.Flows(in, lt)
	c, errC := s.firewall.follow(p.program, p.guarded, s.policy.layout.Generation)
	return []stage{{name: "overlay", flows: a}, {name: "topology", flows: b}, c}, errors.Join(errA, errB, errC)
}
