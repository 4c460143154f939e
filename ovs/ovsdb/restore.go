package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RestoreFlows has an ovs-vswitchd that starts wait, with the packets it
// forwards left to the flows of before, while fn brings the new flows
// (flow-restore-wait of ovs-vswitchd.conf.db(5)). The wait is lifted when fn
// returns, whatever it returns, and at the latest after the limit, which ends
// fn's context: a switch must not hang on a program that does. It is set
// before the daemon starts, or else has no effect. Where the wait could not be
// lifted, the error says so beside fn's own.
func (s *VSwitch) RestoreFlows(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	if limit <= 0 {
		return fmt.Errorf("ovsdb: restore flows: limit %v is not positive", limit)
	}
	if err := s.SetFlowRestoreWait(ctx, true); err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("flows are not restored after %v: %w", limit, context.DeadlineExceeded))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- fn(limited) }()
	var err error
	running := true
	select {
	case err = <-ended:
		running = false
	case <-limited.Done():
		err = fmt.Errorf("ovsdb: restore flows: %w", context.Cause(limited))
	}
	// The caller's end must not keep the wait in place.
	lifting, cancelLift := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelLift()
	if lift := s.SetFlowRestoreWait(lifting, false); lift != nil {
		err = errors.Join(err, fmt.Errorf("flow-restore-wait stays: %w", lift))
	}
	if running {
		err = errors.Join(err, <-ended)
	}
	return err
}

// SetFlowRestoreWait sets or lifts flow-restore-wait. It does not wait for
// ovs-vswitchd, which may not run yet.
func (s *VSwitch) SetFlowRestoreWait(ctx context.Context, wait bool) error {
	mutations := []Mutation{{"other_config", "delete", Set{"flow-restore-wait"}}}
	if wait {
		mutations = append(mutations, Mutation{"other_config", "insert", Map{"flow-restore-wait": "true"}})
	}
	mutations = append(mutations, Mutation{"next_cfg", "+=", 1})
	results, err := s.db.Transact(ctx, VSwitchDB, Mutate("Open_vSwitch", mutations))
	if err == nil && results[0].Count != 1 {
		err = fmt.Errorf("ovsdb: flow-restore-wait: table Open_vSwitch has %d rows", results[0].Count)
	}
	return err
}
