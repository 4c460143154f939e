package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/examples/internal/switchdb"
	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/kube"
	"github.com/tierloom/tierloom/lb/lbovs"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovsdb"
)

// Config is what an [Agent] works with.
type Config struct {
	Node                 string
	RunDir               string // Open vSwitch's run directory
	Bridge, DatapathType string
	Uplink               string // the trunk vNIC
	Socket               string // where the CNI plugin asks
	Source               cluster.Source
	Log                  *slog.Logger
	Health               *proc.Health
}

// An Agent runs until its context ends. Make one with [New].
type Agent struct {
	cfg    Config
	log    *slog.Logger
	objs   *cluster.Cache
	layout lbovs.Layout
	kick   chan struct{} // holds a token when there is something to do
	db     *switchdb.DB

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, at each change of the cluster
	synced  bool
	switch_ *session // nil while there is no connection
}

// New returns an agent.
func New(cfg Config) *Agent {
	return &Agent{
		cfg: cfg, log: cfg.Log, objs: cfg.Source.Cache(), layout: lbovs.DefaultLayout(),
		kick: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, through any outage of switch and cluster.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	handler := cni.Handler{Add: a.add, Del: a.del, Check: a.check, Status: a.status, GC: a.gc}
	server, err := cni.NewServer(handler, cni.ServerConfig{Log: a.log})
	if err != nil {
		return err
	}
	listener, err := cni.Listen(a.cfg.Socket)
	if err != nil {
		return err
	}
	if a.db, err = switchdb.New(a.cfg.RunDir); err != nil {
		return errors.Join(err, listener.Close())
	}
	a.cfg.Health.Set("switch", errors.New("not connected yet"))
	var wg sync.WaitGroup
	wg.Go(func() { a.db.Run(ctx) })
	wg.Go(func() { cancel(server.Serve(ctx, listener)) })
	wg.Go(func() { cancel(a.cfg.Source.Run(ctx, a.clusterSynced, a.clusterChanged)) })
	proc.Backoff(ctx, a.connect, func(err error) {
		a.cfg.Health.Set("switch", err)
		a.log.Warn("switch session", "err", err)
	})
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (a *Agent) clusterSynced() {
	a.mu.Lock()
	a.synced = true
	a.mu.Unlock()
	a.wake()
}

func (a *Agent) clusterChanged(cluster.Ref) {
	a.mu.Lock()
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	a.wake()
}

// A session is one OpenFlow connection to the switch. That to its database may
// be another meanwhile.
type session struct {
	*Agent
	vs     *ovsdb.VSwitch
	bridge *ovs.Bridge
	uplink uint32      // its ofport
	moved  atomic.Bool // the database was away: it may be another

	roundMu sync.Mutex // orders rounds, and protects uplink and what follows
	audit   bool       // the next one looks at every flow and group there is
	state   []lb.Frontend
}

// connect keeps the switch right until something breaks.
func (a *Agent) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &session{Agent: a}
	var err error
	if s.vs, err = a.db.Switch(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	of, err := openflow.Dial(ctx, "unix", filepath.Join(a.cfg.RunDir, a.cfg.Bridge+".mgmt"), openflow.Config{})
	if err != nil {
		return err
	}
	defer of.Close()
	s.bridge = ovs.NewBridge(of, ovs.Share{
		Cookie: ovs.MakeCookie(a.layout.Owner, 0, 0), Mask: ovs.OwnerMask, GroupMin: a.layout.GroupMin, GroupMax: a.layout.GroupMax,
	})
	if err := s.sweep(ctx); err != nil {
		return err
	}
	s.back()
	defer a.use(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() { cancel(a.db.Watch(ctx, a.wake, s.lost, s.back)) })
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-of.Done():
			cancel(of.Wait())
		}
	})
	a.wake()
	return s.loop(ctx)
}

// lost tells of the database's outage: no pod is attached until it is over.
// The flows stay as they are.
func (s *session) lost(why error) {
	s.use(nil)
	s.cfg.Health.Set("switch", why)
	s.log.Warn("database of the switch", "err", why)
}

func (s *session) back() {
	s.moved.Store(true)
	s.use(s)
	s.cfg.Health.Set("switch", nil)
}

func (a *Agent) use(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.switch_ = s
	close(a.changed)
	a.changed = make(chan struct{})
}

// retryAfter bounds how long a failed round waits when nothing else happens.
const retryAfter = 500 * time.Millisecond

// auditEvery is how often the switch is read, to repair what others did to it.
// On a new connection the first time is after firstAudit, and the time between
// grows: a switch that was slow may do only then what a lost one had sent.
const (
	auditEvery = 5 * time.Minute
	firstAudit = time.Second
)

func (s *session) loop(ctx context.Context) error {
	every := firstAudit
	again := time.NewTimer(every)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.kick:
		case <-again.C:
			s.roundMu.Lock()
			s.audit = true
			s.roundMu.Unlock()
			every = min(4*every, auditEvery)
			again.Reset(every)
		}
		if err := s.round(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.log.Warn("round", "err", err)
			if !errors.Is(err, ovsdb.ErrDisconnected) { // it is told when it is back
				time.AfterFunc(retryAfter, s.wake)
			}
		}
	}
}

func (s *session) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := s.vs.EnsureBridge(ctx, ovsdb.BridgeSpec{
		Name: s.cfg.Bridge, DatapathType: s.cfg.DatapathType, FailMode: "secure", Protocols: []string{"OpenFlow13", "OpenFlow15"},
	})
	if err != nil {
		return err
	}
	s.uplink, err = s.vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: s.cfg.Bridge, Name: s.cfg.Uplink})
	return err
}

// sweep removes ports of pods whose interface is gone with its sandbox.
func (s *session) sweep(ctx context.Context) error {
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if p.ExternalIDs[idContainer] == "" || p.Error == "" && p.OFPort != 0 {
			continue
		}
		s.log.Info("port swept", "port", p.Name, "pod", p.ExternalIDs[idPod], "why", p.Error)
		if err := s.vs.DeletePort(ctx, s.cfg.Bridge, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// round brings the switch up to date, once. Before the cluster has been listed
// it does nothing: flows for services stay as they are.
func (s *session) round(ctx context.Context) error {
	s.roundMu.Lock()
	defer s.roundMu.Unlock()
	s.mu.Lock()
	synced := s.synced
	s.mu.Unlock()
	if !synced {
		return nil
	}
	if s.moved.Swap(false) {
		if err := s.prepare(ctx); err != nil {
			s.moved.Store(true)
			return err
		}
	}
	pods, err := s.attached(ctx)
	if err != nil {
		return err
	}
	state, err := s.frontends()
	if err != nil {
		s.log.Warn("services", "err", err) // what is valid is there
	}
	flows, groups, err := lbovs.Flows(state, pods, lbovs.Uplink{OFPort: s.uplink}, s.layout)
	if err != nil {
		return err
	}
	if err := s.bridge.Set("services", flows, groups); err != nil {
		return err
	}
	run := s.bridge.Sync
	if s.audit {
		run = s.bridge.Audit
	}
	report, err := run(ctx)
	if err != nil {
		return err
	}
	s.audit = false
	for _, r := range report.Repairs {
		s.log.Warn("repaired", "what", r.String())
	}
	if report.Changed() {
		s.log.Info("switch written", "flows", report.Added+report.Modified, "deleted", report.Deleted,
			"groups", report.GroupsAdded+report.GroupsModified, "pods", len(pods), "frontends", len(state))
	}
	s.state = state
	return nil
}

// attached returns the pods that have a port.
func (s *session) attached(ctx context.Context) ([]lbovs.Pod, error) {
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return nil, err
	}
	var out []lbovs.Pod
	for _, p := range ports {
		if p.ExternalIDs[idContainer] == "" || p.OFPort == 0 || p.Error != "" {
			continue
		}
		mac, err := ovs.ParseMAC(p.ExternalIDs[idMAC])
		if err != nil {
			return nil, fmt.Errorf("port %s: external_ids %s: %w", p.Name, idMAC, err)
		}
		pod := lbovs.Pod{ID: p.ExternalIDs[idPod], OFPort: p.OFPort, VLAN: p.Tag, MAC: mac}
		for f := range strings.FieldsSeq(p.ExternalIDs[idIPs]) {
			ip, err := netip.ParseAddr(f)
			if err != nil {
				return nil, fmt.Errorf("port %s: external_ids %s: %w", p.Name, idIPs, err)
			}
			pod.IPs = append(pod.IPs, ip)
		}
		out = append(out, pod)
	}
	return out, nil
}

// frontends is the load balancing that the cluster's services ask for.
func (s *session) frontends() ([]lb.Frontend, error) {
	table := lb.NewTable(lb.Config{Node: s.cfg.Node})
	var errs []error
	for _, svc := range s.objs.Services("") {
		v, err := kube.ServiceFrom(svc)
		if err == nil {
			err = table.SetService(v)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		endpoints, err := kube.EndpointsFrom(s.objs.EndpointSlices(svc.Namespace, svc.Name))
		errs = append(errs, err, table.SetEndpoints(v.ID, endpoints))
	}
	return table.State(), errors.Join(errs...)
}
