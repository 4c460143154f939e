package ovs

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// A Link is a connection to a switch; an *openflow.Conn is one.
type Link interface {
	Switch
	// Wait returns when the connection has ended, with the reason.
	Wait() error
	// Close ends the connection.
	Close() error
}

// KeepConfig tunes [Bridge.Keep]. The zero value is good.
type KeepConfig struct {
	// AuditEvery is how often the share is read and repaired. Zero means 5
	// minutes, negative never. On a new connection the first time is after a
	// second, the second after four more, and so on until it is AuditEvery: a
	// switch that was slow may do what a lost connection had sent after the new
	// one has read what it has.
	AuditEvery time.Duration
	// MinBackoff is the wait before a failed connection or sync is tried
	// again; it doubles each time, up to MaxBackoff, and is shortened at
	// random by up to a half. Zero means 50 milliseconds and 5 seconds.
	MinBackoff, MaxBackoff time.Duration
	// OnSync, if not nil, is told what each sync and audit changed or why
	// it failed, and why a connection could not be made or ended. It must
	// not call Keep; calls are never concurrent.
	OnSync func(Report, error)
}

// firstAudit is when a new connection is audited for the first time.
const firstAudit = time.Second

// ErrNoSwitch says that a [Bridge] has no connection to a switch.
var ErrNoSwitch = errors.New("no switch")

// Keep makes the switch follow the owners until ctx is done, and returns why
// it is. It connects with dial, which is given ten seconds, syncs at once and
// after each Set and Remove, audits now and then, and when the connection
// ends makes another and replays what is missing. Between two connections the
// bridge has no switch: a Sync is [ErrNoSwitch].
func (b *Bridge) Keep(ctx context.Context, dial func(context.Context) (Link, error), cfg KeepConfig) error {
	k := newKeeper(b, cfg)
	for {
		err := k.session(ctx, dial)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		k.cfg.OnSync(Report{}, err)
		k.pause(ctx, nil)
	}
}

type keeper struct {
	*Bridge
	cfg     KeepConfig
	backoff time.Duration // the next one
}

func newKeeper(b *Bridge, cfg KeepConfig) *keeper {
	if cfg.AuditEvery == 0 {
		cfg.AuditEvery = 5 * time.Minute
	}
	if cfg.MinBackoff <= 0 {
		cfg.MinBackoff = 50 * time.Millisecond
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = 5 * time.Second
	}
	if cfg.OnSync == nil {
		cfg.OnSync = func(Report, error) {}
	}
	return &keeper{Bridge: b, cfg: cfg, backoff: cfg.MinBackoff}
}

// session is one connection.
func (k *keeper) session(ctx context.Context, dial func(context.Context) (Link, error)) error {
	soon, cancelDial := context.WithTimeout(ctx, 10*time.Second)
	defer cancelDial()
	link, err := dial(soon)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer link.Close()
	wg.Go(func() { cancel(link.Wait()) })
	k.Use(link)
	defer k.Use(nil)
	every := min(firstAudit, k.cfg.AuditEvery)
	audit := time.NewTimer(every)
	defer audit.Stop()
	if k.cfg.AuditEvery < 0 {
		audit.Stop()
	}
	due := false
	for {
		report, err := k.run(ctx, due)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		k.cfg.OnSync(report, err)
		if err != nil {
			k.pause(ctx, k.wake) // what is set next may be right
			continue
		}
		due, k.backoff = false, k.cfg.MinBackoff
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.wake:
		case <-audit.C:
			due = true
			every = min(4*every, k.cfg.AuditEvery)
			audit.Reset(every)
		}
	}
}

// pause waits before the next try, at most until wake.
func (k *keeper) pause(ctx context.Context, wake <-chan struct{}) {
	t := time.NewTimer(k.backoff - rand.N(k.backoff/2+1))
	defer t.Stop()
	k.backoff = min(2*k.backoff, k.cfg.MaxBackoff)
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
}
