package policyovs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/policy"
)

// A Switch is what an Agent asks for; an *openflow.Conn is one.
type Switch interface {
	PacketOut(ctx context.Context, inPort uint32, frame []byte, actions ...ovs.Action) error
	FlushCT(ctx context.Context, f openflow.CTFilter) error
}

// An Agent does what flows cannot, with the packets that they hand over:
//
//   - It answers rejected packets, see [Reject]. At the port where a packet leaves,
//     the answer goes back there; from the port that it would have reached, the
//     answer goes the way of any packet, behind the egress rules.
//   - It writes a line to the log for packets that a rule logs.
//   - It looks at replies of connections of another generation. If the rules of
//     now would let the connection begin, or what denies it is of a section that
//     keeps connections, the connection becomes one of this generation; otherwise
//     it is removed from connection tracking. See [Layout.Generation].
//
// Without an Agent rejected packets are dropped, nothing is logged, and replies
// of connections of another generation pass.
//
// An Agent may be used by many goroutines.
type Agent struct {
	sw     Switch
	l      Layout
	log    *slog.Logger
	portAt func(netip.Addr) string
	counts counts

	mu    sync.Mutex // protects what follows
	world *world
}

// AgentConfig is optional.
type AgentConfig struct {
	// Log gets a record for each packet logged, and for what an Agent could not
	// do; nil is silent.
	Log *slog.Logger
	// PortAt names the port with an address, for the end of a packet that is not
	// on the bridge; "" is none.
	PortAt func(netip.Addr) string
}

// AgentStats count packets that were handed to an Agent.
type AgentStats struct {
	Answered   uint64 // resets and ICMP errors sent
	Unanswered uint64 // rejected, but not to be answered
	Logged     uint64
	Kept       uint64 // replies of connections that go on
	Ended      uint64 // replies of connections that were removed
	Lost       uint64 // came faster than they were taken
	Failed     uint64
}

type counts struct {
	answered, unanswered, logged, kept, ended, lost, failed atomic.Uint64
}

// NewAgent returns an agent for the flows of a layout. It knows no rules before Set.
func NewAgent(sw Switch, l Layout, cfg AgentConfig) *Agent {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PortAt == nil {
		cfg.PortAt = func(netip.Addr) string { return "" }
	}
	return &Agent{sw: sw, l: l, log: cfg.Log, portAt: cfg.PortAt, world: newWorld(l, &policy.Program{}, nil)}
}

// Set says what is in force from now on, or will be in a moment: the program and
// ports that flows are made from, and their generation. The program must not be
// changed any more.
func (a *Agent) Set(p *policy.Program, ports []Port, generation uint32) {
	l := a.l
	l.Generation = generation
	w := newWorld(l, p, ports)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.world = w
}

func (a *Agent) now() *world {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.world
}

// Stats returns what the agent has done so far.
func (a *Agent) Stats() AgentStats {
	c := &a.counts
	return AgentStats{c.answered.Load(), c.unanswered.Load(), c.logged.Load(), c.kept.Load(), c.ended.Load(), c.lost.Load(), c.failed.Load()}
}

// Run handles what a subscription brings until that ends, and returns why. What
// cannot be done is logged and counted.
func (a *Agent) Run(ctx context.Context, s *openflow.Subscription) error {
	for {
		e, err := s.Next(ctx)
		switch {
		case errors.Is(err, openflow.ErrMalformed):
			a.failed(err)
			continue
		case err != nil:
			return fmt.Errorf("policyovs: agent: %w", err)
		}
		switch e := e.(type) {
		case openflow.Lost:
			a.counts.lost.Add(uint64(e.PacketIns))
		case openflow.PacketIn:
			if err := a.Handle(ctx, e); err != nil && ctx.Err() == nil {
				a.failed(err)
			}
		}
	}
}

func (a *Agent) failed(err error) {
	a.counts.failed.Add(1)
	a.log.Debug("packet from the switch", "err", err)
}

// A copied is a packet from a flow of ours, at the port that decides about it.
type copied struct {
	openflow.PacketIn
	dir      policy.Direction
	key      uint32 // of the port
	source   uint32 // key of the port it came from, 0 if that is elsewhere
	verdict  uint32
	number   uint32 // of the rule
	metadata uint64
}

// read tells a packet that is for the agent, and what the registers say of it.
func (a *Agent) read(p openflow.PacketIn) (copied, bool) {
	c := copied{PacketIn: p}
	uint := func(f ovs.Field) uint64 {
		m, _ := p.Metadata.Field(f)
		return m.Uint()
	}
	reg := func(n int) uint32 { return uint32(uint(ovs.FieldReg0 + ovs.Field(n))) }
	c.source, c.verdict, c.number = reg(a.l.Source), reg(a.l.Scratch)&verdictMask, reg(a.l.Rule)
	c.metadata = uint(ovs.FieldMetadata)
	switch p.Table {
	case a.l.EgressSets, a.l.EgressVerdict:
		c.dir, c.key = policy.Egress, c.source
	case a.l.IngressSets, a.l.IngressVerdict:
		c.dir, c.key = policy.Ingress, reg(a.l.Dest)
	default:
		return c, false
	}
	return c, p.Cookie == a.l.cookie(FeatureStage, "") && c.key != 0
}

// Handle does what a packet from the switch asks for; it ignores one that is of
// none of the layout's flows.
func (a *Agent) Handle(ctx context.Context, p openflow.PacketIn) error {
	c, ok := a.read(p)
	if !ok {
		return nil
	}
	f, err := parseFrame(p.Frame)
	if err != nil {
		return err
	}
	w := a.now()
	if string(p.UserData) == copyReply {
		return a.examine(ctx, w, c, &f)
	}
	if c.verdict&verdictLog != 0 {
		a.write(ctx, w, c, &f)
	}
	if c.verdict&verdictReject != 0 {
		return a.answer(ctx, c)
	}
	return nil
}

// answer tells the sender of a rejected packet.
func (a *Agent) answer(ctx context.Context, c copied) error {
	frame, err := Reject(c.Frame)
	if errors.Is(err, ErrNoAnswer) {
		a.counts.unanswered.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	actions := []ovs.Action{ovs.SetField(ovs.Reg(a.l.Dest, c.key)), ovs.Resubmit(a.l.Output)}
	if c.dir == policy.Ingress {
		actions = []ovs.Action{
			ovs.SetField(ovs.Reg(a.l.Source, c.key)), ovs.SetField(ovs.Reg(a.l.Zone, c.key)),
			ovs.SetField(ovs.Metadata(c.metadata)), ovs.Resubmit(a.l.L2),
		}
	}
	if err := a.sw.PacketOut(ctx, ovs.PortController, frame, actions...); err != nil {
		return fmt.Errorf("policyovs: answer: %w", err)
	}
	a.counts.answered.Add(1)
	return nil
}
