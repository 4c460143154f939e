package ncp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/reconcile"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A Controller keeps the manager's intent equal to what a cluster's objects
// ask for. Make one with [New], then Run it once.
type Controller struct {
	cfg  Config
	log  *slog.Logger
	objs *cluster.Cache
	loop *reconcile.Loop[cluster.Ref]

	// collect holds one token when leases should be looked over.
	collect chan struct{}

	mu      sync.Mutex
	world   world           // the manager's state as last seen; replaced whole
	ready   map[string]bool // which of the three inputs have delivered
	started chan struct{}   // closed when all inputs have delivered
}

// New returns a controller, or every fault of its configuration.
func New(cfg Config) (*Controller, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("ncp: %w", err)
	}
	c := &Controller{
		cfg: cfg, log: cfg.Log, objs: cfg.Source.Cache(),
		collect: make(chan struct{}, 1),
		ready:   map[string]bool{}, started: make(chan struct{}),
		world: newWorld(nil, nil, cfg),
	}
	c.loop = reconcile.New(c.reconcile, reconcile.Config{Workers: 4})
	return c, nil
}

// inputs that must have delivered once before anything is written.
const (
	inputCluster  = "cluster"
	inputIntent   = "manager"
	inputRealized = "realized"
)

// Run works until ctx is done. Losing the cluster or the manager is not an
// error: it waits for them to return.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var sourceErr error
	wg.Go(func() {
		if sourceErr = c.cfg.Source.Run(ctx, func() { c.markReady(inputCluster) }, c.objectChanged); sourceErr != nil {
			cancel()
		}
	})
	wg.Go(func() {
		_ = intent.Mirror(ctx, c.cfg.Manager.Intent, intent.Query{}, func(s intent.Snapshot) { c.intentChanged(s) })
	})
	wg.Go(func() {
		_ = intent.Mirror(ctx, c.cfg.Manager.Realized, intent.Query{}, func(s intent.Snapshot) { c.realizedChanged(s) })
	})
	wg.Go(func() { c.collectLoop(ctx) })
	err := c.runLoop(ctx)
	wg.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, sourceErr)
}

func (c *Controller) runLoop(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.started:
	}
	c.log.Info("inputs complete, reconciling")
	c.enqueueAll()
	c.wakeCollector()
	return c.loop.Run(ctx)
}

// Healthy returns nil once all inputs have delivered.
func (c *Controller) Healthy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range []string{inputCluster, inputIntent, inputRealized} {
		if !c.ready[in] {
			return fmt.Errorf("waiting for %s", in)
		}
	}
	return nil
}

func (c *Controller) markReady(input string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.markReadyLocked(input)
}

func (c *Controller) markReadyLocked(input string) {
	if c.ready[input] {
		return
	}
	c.ready[input] = true
	if len(c.ready) == 3 {
		close(c.started)
	}
}

// objectChanged queues what depends on an object of the cluster.
func (c *Controller) objectChanged(ref cluster.Ref) {
	switch ref.Kind {
	case cluster.KindEndpointSlice:
		c.enqueueKind(ref)
	case cluster.KindNode:
		c.loop.Enqueue(ref)
		c.enqueueKind(ref)
	case cluster.KindNamespace:
		c.loop.Enqueue(ref)
		for _, p := range c.objs.Pods(ref.Name) {
			c.loop.Enqueue(cluster.Ref{Kind: cluster.KindPod, Namespace: p.Namespace, Name: p.Name})
		}
	default:
		c.loop.Enqueue(ref)
	}
	if ref.Kind == cluster.KindPod || ref.Kind == cluster.KindNamespace || ref.Kind == cluster.KindService {
		c.wakeCollector()
	}
}

// enqueueKind queues the objects that a slice or a node is about.
func (c *Controller) enqueueKind(ref cluster.Ref) {
	if ref.Kind == cluster.KindEndpointSlice {
		for _, s := range c.objs.Services(ref.Namespace) {
			c.loop.Enqueue(cluster.Ref{Kind: cluster.KindService, Namespace: s.Namespace, Name: s.Name})
		}
		return
	}
	for _, p := range c.objs.Pods("") {
		if p.Spec.NodeName == ref.Name {
			c.loop.Enqueue(cluster.Ref{Kind: cluster.KindPod, Namespace: p.Namespace, Name: p.Name})
		}
	}
}

// enqueueAll queues every object of the cluster and every key that intent of
// our cluster was made for.
func (c *Controller) enqueueAll() {
	for _, ref := range c.objs.Refs() {
		c.objectChanged(ref)
	}
	for ref := range c.snapshot().byKey {
		c.loop.Enqueue(ref)
	}
	c.loop.Enqueue(baselineRef)
}

func (c *Controller) snapshot() world {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.world
}

func (c *Controller) intentChanged(s intent.Snapshot) {
	c.mu.Lock()
	old := c.world
	c.world = newWorld(s.Objects(), old.realized, c.cfg)
	now := c.world
	c.markReadyLocked(inputIntent)
	c.mu.Unlock()
	select {
	case <-c.started:
	default:
		return
	}
	if now.infraChanged(old) {
		c.enqueueAll()
		return
	}
	for _, ref := range now.changedKeys(old) {
		c.loop.Enqueue(ref)
		if ref.Kind == cluster.KindPod { // a namespace waits for its ports to go
			c.loop.Enqueue(cluster.Ref{Kind: cluster.KindNamespace, Name: ref.Namespace})
		}
		if ref.Kind == cluster.KindNamespace { // pods wait for their segment
			for _, p := range c.objs.Pods(ref.Name) {
				c.loop.Enqueue(cluster.Ref{Kind: cluster.KindPod, Namespace: p.Namespace, Name: p.Name})
			}
		}
	}
	c.wakeCollector()
}

func (c *Controller) realizedChanged(s intent.Snapshot) {
	c.mu.Lock()
	old := c.world.realized
	c.world.realized = realizedPorts(s.Objects())
	now := c.world
	c.markReadyLocked(inputRealized)
	c.mu.Unlock()
	for id, r := range now.realized {
		if old[id] != r {
			if ref, ok := now.keyOfPort[id]; ok {
				c.loop.Enqueue(ref)
			}
		}
	}
	c.wakeCollector()
}

// reconcile makes the intent of one object what it should be.
func (c *Controller) reconcile(ctx context.Context, ref cluster.Ref) error {
	d, err := c.desired(ctx, ref)
	if err != nil {
		c.report(ctx, ref, d.uid, err)
		var w waitError
		if errors.As(err, &w) {
			return nil // an event that ends the wait queues the key again
		}
		return err
	}
	if err := c.apply(ctx, ref, d.objects); err != nil {
		return err
	}
	if d.after != nil {
		if err := d.after(ctx); err != nil {
			c.report(ctx, ref, d.uid, err)
			return err
		}
	}
	if d.warning != nil {
		c.report(ctx, ref, d.uid, d.warning)
		return nil
	}
	c.clear(ctx, ref, d.uid)
	return nil
}

// waitError is a condition that ends with an event which queues the key.
type waitError struct{ error }

func (w waitError) Unwrap() error { return w.error }

// report tells the owner of ref what is wrong.
func (c *Controller) report(ctx context.Context, ref cluster.Ref, uid string, err error) {
	c.log.Warn("reconcile", "object", ref.String(), "err", err)
	if uid == "" || ctx.Err() != nil {
		return
	}
	reason := "NetworkNotReady"
	var refusal *api.Error
	if errors.As(err, &refusal) && refusal.Reason != "" {
		reason = refusal.Reason
	}
	var named *conditionError
	if errors.As(err, &named) {
		reason = named.reason
	}
	if e := c.cfg.Reporter.Annotate(ctx, ref, uid, map[string]string{cluster.AnnotationError: reason + ": " + err.Error()}); e != nil {
		c.log.Warn("annotate", "object", ref.String(), "err", e)
	}
	if e := c.cfg.Reporter.Event(ctx, ref, uid, reason, err.Error()); e != nil {
		c.log.Warn("event", "object", ref.String(), "err", e)
	}
}

func (c *Controller) clear(ctx context.Context, ref cluster.Ref, uid string) {
	if uid == "" {
		return
	}
	if err := c.cfg.Reporter.Annotate(ctx, ref, uid, map[string]string{cluster.AnnotationError: ""}); err != nil {
		c.log.Warn("annotate", "object", ref.String(), "err", err)
	}
}

// A conditionError is a fault with a reason of its own.
type conditionError struct {
	reason string
	err    error
}

func (e *conditionError) Error() string { return e.err.Error() }
func (e *conditionError) Unwrap() error { return e.err }

func condition(reason, format string, args ...any) error {
	return &conditionError{reason, fmt.Errorf(format, args...)}
}

func (c *Controller) wakeCollector() {
	select {
	case c.collect <- struct{}{}:
	default:
	}
}

// collectLoop releases leases that nothing holds any more.
func (c *Controller) collectLoop(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.started:
	}
	tick := time.NewTicker(c.cfg.Collect)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.collect:
		case <-tick.C:
		}
		if err := c.collectLeases(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("collect leases", "err", err)
		}
	}
}
