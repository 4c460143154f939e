package hostagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/examples/internal/switchdb"
	"github.com/tierloom/tierloom/overlay/overlayovs"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// Config is what an [Agent] works with.
type Config struct {
	// Host is the id of this host's HostTransportNode.
	Host string
	// Role is host unless said otherwise.
	Role topology.Role
	// RunDir is Open vSwitch's run directory.
	RunDir string
	// Bridge is made if missing, with DatapathType.
	Bridge, DatapathType string
	Manager              *api.Client
	// RestoreLimit bounds how long a switch that has started waits for its
	// flows: other bridges of the machine wait too. Default 30 s.
	RestoreLimit time.Duration
	// LogDrops logs all packets that the policy denies; else those that a rule says.
	LogDrops bool
	// Outside, if not nil, is what an edge does besides switching.
	Outside Outside
	Log     *slog.Logger
	Health  *proc.Health
}

// Outside is the part of an edge beyond its switch.
type Outside interface {
	// Downlink is the internal port that joins switch and kernel.
	Downlink() string
	// Apply makes the kernel do what the span says.
	Apply(ctx context.Context, span topology.Span, objs []intent.Object) error
}

// TunnelPort names the port that all GENEVE traffic uses.
const TunnelPort = "tl-geneve"

// An Agent runs until its context ends. Make one with [New].
type Agent struct {
	cfg  Config
	log  *slog.Logger
	kick chan struct{} // holds a token when there is something to do
	db   *switchdb.DB

	// Of the goroutine that Run is called in.
	vs   *ovsdb.VSwitch // nil before the first connection
	hold hold

	mu       sync.Mutex
	snapshot *intent.Snapshot // nil before the first
	objs     []intent.Object
	inForce  inForce
}

// New returns an agent.
func New(cfg Config) *Agent {
	if cfg.Role == "" {
		cfg.Role = topology.RoleHost
	}
	if cfg.RestoreLimit <= 0 {
		cfg.RestoreLimit = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Health == nil {
		cfg.Health = proc.NewHealth()
	}
	return &Agent{cfg: cfg, log: cfg.Log, kick: make(chan struct{}, 1)}
}

func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx is done, through any outage of switch and manager.
func (a *Agent) Run(ctx context.Context) error {
	a.cfg.Health.Set("manager", errors.New("no span yet"))
	a.cfg.Health.Set("switch", errors.New("not connected yet"))
	var err error
	if a.db, err = switchdb.New(a.cfg.RunDir); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	wg.Go(func() { a.db.Run(connected) })
	wg.Go(func() { a.follow(ctx) })
	a.hold.since = time.Now()
	proc.Backoff(ctx, a.session, func(err error) {
		a.cfg.Health.Set("switch", err)
		a.log.Warn("switch session", "err", err)
	})
	a.disarm(connected)
	return nil
}

// follow mirrors the span.
func (a *Agent) follow(ctx context.Context) {
	failed := func(err error) {
		a.cfg.Health.Set("manager", err)
		if err != nil {
			a.log.Warn("manager", "err", err)
		}
	}
	cfg := intent.MirrorConfig{OnError: failed, MinBackoff: 50 * time.Millisecond, MaxBackoff: time.Second}
	_ = intent.MirrorWith(ctx, a.cfg.Manager.Span(a.cfg.Host), intent.Query{}, cfg, func(s intent.Snapshot) {
		a.mu.Lock()
		a.snapshot, a.objs = &s, s.Objects()
		a.mu.Unlock()
		a.cfg.Health.Set("manager", nil)
		a.wake()
	})
}

// A session is one OpenFlow connection to the switch. That to its database may
// be another meanwhile.
type session struct {
	*Agent
	moved  atomic.Bool // the database was away: it may be another
	of     *openflow.Conn
	bridge *ovs.Bridge
	// firewall is nil before the first round.
	firewall *firewall
	audit    bool   // the next round looks at every flow there is
	tunnel   uint32 // its ofport
	// downlink is that of an edge.
	downlink uint32
	// reported are the iface ids that the manager was last told.
	reported []string
	told     bool
	primed   map[netip.Addr]time.Time // when each tunnel endpoint was last primed
	acked    api.Ack
	policy   *enforcement
}

// session connects to the switch and keeps it right until something breaks.
func (a *Agent) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &session{Agent: a, primed: map[netip.Addr]time.Time{}}
	vs, err := a.db.Switch(ctx)
	if err != nil {
		return err
	}
	a.vs = vs
	defer s.holdEnds()
	if err := s.overdue(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if s.of, err = openflow.Dial(ctx, "unix", filepath.Join(a.cfg.RunDir, a.cfg.Bridge+".mgmt"), openflow.Config{}); err != nil {
		return err
	}
	defer s.of.Close()
	if err := s.enforce(ctx); err != nil {
		return err
	}
	defer s.policy.events.Close()
	defer s.disconnected()
	s.bridge = ovs.NewBridge(s.of, share)
	a.cfg.Health.Set("switch", nil)

	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() { cancel(a.db.Watch(ctx, a.wake, s.lost, s.back)) })
	wg.Go(func() { cancel(s.policy.agent.Run(ctx, s.policy.events)) })
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.of.Done():
			cancel(s.of.Wait())
		}
	})
	a.wake()
	return s.loop(ctx)
}

// lost tells of the database's outage. The flows stay as they are.
func (s *session) lost(why error) {
	s.cfg.Health.Set("switch", why)
	s.log.Warn("database of the switch", "err", why)
}

func (s *session) back() {
	s.moved.Store(true)
	s.cfg.Health.Set("switch", nil)
}

// firstAudit is when the flows are read for the first time after the first
// round of a connection: a switch that was slow may do only then what a lost
// connection had sent. The time between audits then grows to primeEvery.
const firstAudit = time.Second

// retryAfter bounds how long a failed round waits when nothing else happens.
const retryAfter = 500 * time.Millisecond

func (s *session) loop(ctx context.Context) error {
	every := firstAudit
	again := time.NewTimer(every)
	defer again.Stop()
	limit := time.NewTimer(s.holdLeft())
	defer limit.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.kick:
		case <-again.C:
			s.audit = true
			every = min(4*every, primeEvery)
			again.Reset(every)
		case <-limit.C:
			if err := s.overdue(ctx); err != nil {
				return err
			}
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

// prepare makes the bridge and the tunnel port. Secure fail mode: without us
// the bridge forwards by the flows it has and nothing else.
func (s *session) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := s.vs.EnsureBridge(ctx, ovsdb.BridgeSpec{
		Name: s.cfg.Bridge, DatapathType: s.cfg.DatapathType, FailMode: "secure", Protocols: []string{"OpenFlow13", "OpenFlow15"},
	})
	if err != nil {
		return err
	}
	spec := overlayovs.TunnelPort(TunnelPort)
	s.tunnel, err = s.vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: s.cfg.Bridge, Name: spec.Name, Type: spec.Type, Options: spec.Options})
	if err != nil || s.cfg.Outside == nil {
		return err
	}
	s.downlink, err = s.vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: s.cfg.Bridge, Name: s.cfg.Outside.Downlink(), Type: "internal"})
	return err
}

// round brings manager and switch up to date, once.
func (s *session) round(ctx context.Context) error {
	if s.moved.Swap(false) {
		if err := s.prepare(ctx); err != nil {
			s.moved.Store(true)
			return err
		}
	}
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return err
	}
	ifaces := map[string]uint32{}
	for _, p := range ports {
		if id := p.ExternalIDs["iface-id"]; id != "" && p.OFPort != 0 {
			ifaces[id] = p.OFPort
		}
	}
	reportErr := s.report(ctx, ifaces)
	s.mu.Lock()
	snapshot, objs := s.snapshot, s.objs
	s.mu.Unlock()
	if snapshot == nil {
		return reportErr
	}
	if err := s.apply(ctx, objs, ifaces); err != nil {
		return errors.Join(reportErr, err, s.complain(ctx, *snapshot, objs, err))
	}
	ack := api.Ack{Epoch: snapshot.Epoch, Revision: snapshot.Revision}
	if ack.Epoch == s.acked.Epoch && ack.Revision == s.acked.Revision {
		return reportErr
	}
	if err := s.cfg.Manager.Acknowledge(ctx, s.cfg.Host, ack); err != nil {
		return errors.Join(reportErr, fmt.Errorf("acknowledge: %w", err))
	}
	s.acked = ack
	return reportErr
}

// report tells the manager which VIFs this host holds, when that changed.
func (s *session) report(ctx context.Context, ifaces map[string]uint32) error {
	ids := make([]string, 0, len(ifaces))
	for id := range ifaces {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if s.told && slices.Equal(ids, s.reported) || s.cfg.Role == topology.RoleEdge {
		return nil
	}
	o, err := model.Encode(model.KindHostAttachments, s.cfg.Host, nil, model.HostAttachments{IfaceIDs: ids})
	if err != nil {
		return err
	}
	if _, err := s.cfg.Manager.Intent.Apply(ctx, []intent.Change{intent.Put(o)}); err != nil {
		return fmt.Errorf("report attachments: %w", err)
	}
	s.reported, s.told = ids, true
	return nil
}

// complain tells the manager why the ports that wait for us are not realized.
func (s *session) complain(ctx context.Context, snapshot intent.Snapshot, objs []intent.Object, why error) error {
	if ctx.Err() != nil {
		return nil
	}
	ack := api.Ack{Epoch: snapshot.Epoch, Revision: snapshot.Revision, Errors: map[string]string{}}
	for _, o := range objs {
		if o.ResourceType == model.KindSpanPort {
			ack.Errors[o.ID] = why.Error()
		}
	}
	s.acked = api.Ack{}
	return s.cfg.Manager.Acknowledge(ctx, s.cfg.Host, ack)
}
