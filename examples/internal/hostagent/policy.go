package hostagent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// policyLayout is where the flows of the policy go on the host's bridge.
func policyLayout(logDrops bool) policyovs.Layout {
	l := policyovs.DefaultLayout()
	l.Owner, l.Feature = cookieOwner, featurePolicy
	l.LogDrops = logDrops
	return l
}

// events bounds how many packets wait for the agent.
const events = 1024

// An enforcement is what a session has of the policy beside its flows.
type enforcement struct {
	layout policyovs.Layout
	agent  *policyovs.Agent
	events *openflow.Subscription
	ports  atomic.Pointer[map[netip.Addr]string] // ids by address
	// program and ports that the switch has; nil if that is not known.
	program *policy.Program
	// unknown says that the switch has flows of another session, or that it
	// is not known which ones.
	unknown bool
}

// enforce makes the switch ready for flows that hand packets to the agent.
func (s *session) enforce(ctx context.Context) error {
	e := &enforcement{layout: policyLayout(s.cfg.LogDrops)}
	if err := policyovs.EnsureMeters(ctx, s.of, e.layout); err != nil {
		return err
	}
	flows, err := s.of.Flows(ctx, e.layout.StageCookie(), ^uint64(0))
	if err != nil {
		return err
	}
	e.layout.Generation, e.unknown = policyovs.GenerationOf(flows, e.layout)
	if !e.unknown {
		e.layout.Generation, e.program = s.before()
	}
	e.agent = policyovs.NewAgent(s.of, e.layout, policyovs.AgentConfig{Log: s.log, PortAt: func(a netip.Addr) string {
		if ports := e.ports.Load(); ports != nil {
			return (*ports)[a]
		}
		return ""
	}})
	if e.events, err = s.of.Subscribe(ctx, events); err != nil {
		return err
	}
	s.policy = e
	return nil
}

// set prepares for the switch to get a plan's program.
func (e *enforcement) set(p plan) {
	names := map[netip.Addr]string{}
	for _, n := range p.span.Neighbors {
		for _, a := range n.IPs {
			names[a] = n.ID
		}
	}
	for _, port := range p.guarded {
		for _, a := range port.IPs {
			names[a] = port.ID
		}
	}
	e.ports.Store(&names)
	if e.program != nil && policyovs.Narrows(e.program, policy.Diff(e.program, p.program)) {
		e.advance()
	}
	e.agent.Set(p.program, p.guarded, e.layout.Generation)
}

// advance begins the next generation of connections.
func (e *enforcement) advance() { e.layout.Generation = (e.layout.Generation + 1) % (1 << 31) }

// A PolicyStatus is what an agent tells of the policy at its host.
type PolicyStatus struct {
	Rules  []policyovs.Hits     `json:"rules"`
	Agent  policyovs.AgentStats `json:"agent"`
	Excess policyovs.Excess     `json:"excess"` // packets that the switch held back
}

// errNotEnforced says that the agent has no switch, or no program yet.
var errNotEnforced = errors.New("no policy is in force yet")

// PolicyStatus asks the switch for the counters of the rules.
func (a *Agent) PolicyStatus(ctx context.Context) (PolicyStatus, error) {
	a.mu.Lock()
	f := a.inForce
	a.mu.Unlock()
	if f.of == nil {
		return PolicyStatus{}, errNotEnforced
	}
	stats, err := f.of.FlowStats(ctx, share.Cookie, share.Mask)
	if err != nil {
		return PolicyStatus{}, err
	}
	excess, err := policyovs.MeterExcess(ctx, f.of, f.layout)
	return PolicyStatus{Rules: policyovs.Counters(f.program, f.layout, stats), Agent: f.agent.Stats(), Excess: excess}, err
}

// before returns the generation and program of the last session, for a switch
// without flows: its connection tracking may have outlived them. To a new agent
// no connection is of its generation.
func (a *Agent) before() (uint32, *policy.Program) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.inForce; f.program != nil {
		return f.layout.Generation, f.program
	}
	return uint32(time.Now().Unix()) % (1 << 31), nil
}

// inForce is what the switch has, as far as PolicyStatus and the next session
// are concerned.
type inForce struct {
	of      *openflow.Conn // nil: none at present
	layout  policyovs.Layout
	program *policy.Program
	agent   *policyovs.Agent
}

func (a *Agent) setInForce(f inForce) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inForce = f
}

// disconnected notes that there is no switch to ask.
func (a *Agent) disconnected() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inForce.of = nil
}

// ServePolicy answers with the [PolicyStatus].
func (a *Agent) ServePolicy(w http.ResponseWriter, r *http.Request) {
	s, err := a.PolicyStatus(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}
