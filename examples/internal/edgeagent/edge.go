// Package edgeagent is what an edge does beyond its switch: it joins the
// tier-0's transit network to the kernel of its own network namespace, routes
// pod subnets to the switch, translates addresses with nftables, and balances
// the addresses of LoadBalancer services.
//
// Everything it does is a function of the span; what the kernel holds is read
// back and only what differs is written, so that a restart changes nothing.
package edgeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbnft"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologynft"
)

// An Edge implements hostagent.Outside. The zero value is not usable.
type Edge struct {
	// Uplink is the interface towards the physical router.
	Uplink string
	Log    *slog.Logger
	routes *router
}

// New returns an edge whose uplink is the named interface.
func New(uplink string, log *slog.Logger) *Edge { return &Edge{Uplink: uplink, Log: log} }

const downlink = "tl-t0"

// nextHop stands for the distributed router on the transit link. It never
// answers for itself: its MAC is a permanent neighbour entry.
var nextHop = netip.MustParseAddr("169.254.64.1")

// Downlink implements hostagent.Outside.
func (e *Edge) Downlink() string { return downlink }

// Apply implements hostagent.Outside.
func (e *Edge) Apply(ctx context.Context, span topology.Span, objs []intent.Object) error {
	if len(span.Edges) > 1 {
		return fmt.Errorf("edge %q: serves %d tier-0 gateways (%s and more): want one an edge", span.Host, len(span.Edges), span.Edges[0].ID)
	}
	var subnets []netip.Prefix
	for _, s := range span.Segments {
		for _, g := range s.Gateways {
			subnets = append(subnets, g.Masked())
		}
	}
	if err := e.link(span, subnets); err != nil {
		return fmt.Errorf("edge %q: %w", span.Host, err)
	}
	// Balance before the NAT table's forward filter would see an address it
	// does not know; each is one transaction, written only if it differs, and
	// what is wrong with one does not hold up the other.
	return errors.Join(e.balance(ctx, objs), e.translate(ctx, span.NATRules))
}

// balance makes the kernel balance what the virtual servers say.
func (e *Edge) balance(ctx context.Context, objs []intent.Object) error {
	frontends, faults := frontends(objs)
	rules, err := lbnft.Compile(frontends, lbnft.Config{InputIface: e.Uplink})
	if err == nil {
		err = rules.Apply(ctx)
	}
	return errors.Join(faults, err)
}

// translate makes the kernel translate addresses by the rules.
func (e *Edge) translate(ctx context.Context, nat []topology.NATRule) error {
	rules, err := topologynft.Compile(nat, topologynft.Config{Uplink: e.Uplink})
	if err != nil {
		return err
	}
	return rules.Apply(ctx)
}

// link sets the downlink up and routes the subnets to it. Without a tier-0 to
// serve there is nothing to route.
func (e *Edge) link(span topology.Span, subnets []netip.Prefix) error {
	if len(span.Edges) == 0 {
		subnets = nil
	}
	if e.routes == nil {
		r, err := newRouter(downlink)
		if err != nil {
			return err
		}
		e.routes = r
	}
	if len(span.Edges) == 1 {
		mac, err := net.ParseMAC(span.Edges[0].ServiceRouterMAC)
		if err != nil {
			return err
		}
		router, err := net.ParseMAC(span.Edges[0].RouterMAC)
		if err != nil {
			return err
		}
		if err := e.routes.up(mac, nextHop, router); err != nil {
			return err
		}
	}
	if err := forwarding(); err != nil {
		return err
	}
	slices.SortFunc(subnets, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	added, removed, err := e.routes.sync(slices.Compact(subnets), nextHop)
	if added+removed > 0 {
		e.Log.Info("routes written", "added", added, "removed", removed)
	}
	return err
}

// forwarding lets the kernel of this namespace route, and accept what arrives
// by another way than the answer would leave.
func forwarding() error {
	for name, want := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/" + downlink + "/rp_filter": "0",
	} {
		file := "/proc/sys/" + name
		have, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(have)) == want {
			continue
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// frontends returns what the virtual servers of the span balance: of those
// that can be read, with an error for each other.
func frontends(objs []intent.Object) ([]lb.Frontend, error) {
	var out []lb.Frontend
	var errs []error
	for _, o := range objs {
		if o.ResourceType != model.KindSpanVirtualServer {
			continue
		}
		v, err := model.Decode[model.VirtualServer](o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, p := range v.Ports {
			f := lb.Frontend{Key: lb.Key{Addr: v.Address, Proto: p.Protocol, Port: p.Port}, Kind: lb.ExternalIP, Service: o.ID}
			for _, m := range p.Members {
				f.Backends = append(f.Backends, lb.Backend{Addr: m.Addr(), Port: m.Port()})
			}
			out = append(out, f)
		}
	}
	return out, errors.Join(errs...)
}
