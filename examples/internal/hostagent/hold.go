package hostagent

import (
	"context"
	"fmt"
	"time"
)

// A hold has a switch that starts look at no packet before it has its flows
// (flow-restore-wait of ovs-vswitchd.conf.db(5)). It is armed while the agent
// runs, for it has to be there before the switch starts; the agent lifts it
// once the flows are there, or after Config.RestoreLimit. One that is left by an
// agent that was killed lasts until the next agent.
type hold struct {
	since time.Time // when the flows may have been lost
	armed bool      // the switch has its flows, and is to wait for them when it starts
	over  bool      // it has waited long enough
}

func (a *Agent) holdLeft() time.Duration { return time.Until(a.hold.since.Add(a.cfg.RestoreLimit)) }

// holdEnds notes that the switch may have lost its flows.
func (s *session) holdEnds() {
	if s.hold.armed {
		s.hold = hold{since: time.Now()}
	}
}

// release lets a switch that has just got its flows look at packets, and has
// it wait for them when it starts the next time.
func (s *session) release(ctx context.Context) error {
	if s.hold.armed {
		return nil
	}
	if err := s.lift(ctx); err != nil {
		return err
	}
	if err := s.vs.SetFlowRestoreWait(ctx, true); err != nil {
		return fmt.Errorf("hold the switch when it starts: %w", err)
	}
	s.hold.armed = true
	return nil
}

// lift returns when the switch does not wait.
func (s *session) lift(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := s.vs.SetFlowRestoreWait(ctx, false)
	if err == nil {
		err = s.vs.Sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("release the switch: %w", err)
	}
	return nil
}

// overdue lifts a hold that has lasted too long. In fail mode secure the
// bridge then drops what it has no flows for.
func (s *session) overdue(ctx context.Context) error {
	if s.hold.armed || s.hold.over || s.holdLeft() > 0 {
		return nil
	}
	s.log.Warn("no flows yet: a switch that waits for them is released", "after", s.cfg.RestoreLimit)
	err := s.lift(ctx)
	s.hold.over = err == nil
	return err
}

// disarm takes the hold away when the agent ends: nobody would lift it.
func (a *Agent) disarm(ctx context.Context) {
	if a.vs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := a.vs.SetFlowRestoreWait(ctx, false); err != nil {
		a.log.Warn("flow-restore-wait stays", "err", err)
	}
}
