package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Config holds what a Loop may be told. The zero value is good.
type Config struct {
	Workers int           // keys worked on at once; 0: 1
	Backoff Backoff       // time between tries of a failing key
	Timeout time.Duration // limit of one call, by its context; 0: none
	Log     *slog.Logger  // gets a line per failure; nil is silent
}

// Backoff is how long a failing key waits: Initial, doubled with each failure up to Max, each time
// shortened by a random part of up to Jitter. The zero value is 100 ms, 1 min and a fifth.
type Backoff struct {
	Initial time.Duration
	Max     time.Duration
	Jitter  float64 // 0..1; 0: 0.2; negative: none
}

// Delay is the wait after so many failures in a row, from 1.
func (b Backoff) Delay(failures int) time.Duration {
	if b.Initial <= 0 {
		b.Initial = 100 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = time.Minute
	}
	if b.Jitter == 0 {
		b.Jitter = 0.2
	}
	d := b.Initial
	for range failures - 1 {
		if d >= b.Max/2 {
			d = b.Max
			break
		}
		d *= 2
	}
	d = min(d, b.Max)
	if b.Jitter > 0 {
		d -= time.Duration(min(b.Jitter, 1) * rand.Float64() * float64(d))
	}
	return d
}

// Loop calls a function for keys that were enqueued. Use New; it must not be copied.
type Loop[K comparable] struct {
	fn  func(context.Context, K) error
	cfg Config

	mu      sync.Mutex // protects all below, and the items
	wake    *sync.Cond // signalled when ready grows, broadcast when the context of Run ends
	ready   []K        // keys to work on, in order, each once
	items   map[K]*item
	busy    int           // keys that are ready, running or waiting for a retry
	idle    chan struct{} // closed while busy is 0
	running bool
}

// item is what the loop knows of a key; it is forgotten when there is nothing to know.
type item struct {
	queued   bool // in ready, or to be put there when the running call ends
	running  bool
	failures int // in a row
	err      error
	timer    *time.Timer // nil if none
	due      time.Time   // of timer
	retry    bool        // the timer is for a retry
	busy     bool        // counted in Loop.busy
}

// New makes a loop around fn. Nothing happens until Run.
func New[K comparable](fn func(context.Context, K) error, cfg Config) *Loop[K] {
	if cfg.Workers <= 0 {
		cfg.Workers = 1
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Loop[K]{fn: fn, cfg: cfg, items: map[K]*item{}, idle: make(chan struct{})}
	close(l.idle)
	l.wake = sync.NewCond(&l.mu)
	return l
}

// Enqueue asks for each key to be worked on soon. A key already waiting stays one; a key being
// worked on will be again afterwards; a key waiting after a failure does not wait longer. It never blocks.
func (l *Loop[K]) Enqueue(keys ...K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.enqueueLocked(k)
	}
}

// EnqueueAfter is Enqueue in a while; the sooner of several times for a key wins. Times pass only
// while the process lives: they are for looking again, not for remembering.
func (l *Loop[K]) EnqueueAfter(d time.Duration, keys ...K) {
	if d <= 0 {
		l.Enqueue(keys...)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.laterLocked(k, l.itemLocked(k), d, false)
	}
}

func (l *Loop[K]) itemLocked(k K) *item {
	it := l.items[k]
	if it == nil {
		it = &item{}
		l.items[k] = it
	}
	return it
}

func (l *Loop[K]) enqueueLocked(k K) {
	it := l.itemLocked(k)
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
	}
	if !it.queued {
		it.queued = true
		if !it.running {
			l.ready = append(l.ready, k)
			l.wake.Signal()
		}
	}
	l.settleLocked(k, it)
}

func (l *Loop[K]) laterLocked(k K, it *item, d time.Duration, retry bool) {
	due := time.Now().Add(d)
	if it.queued || it.timer != nil && !due.Before(it.due) {
		return
	}
	if it.timer != nil {
		it.timer.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if it.timer == timer {
			l.enqueueLocked(k)
		}
	})
	it.timer, it.due, it.retry = timer, due, retry || it.retry
	l.settleLocked(k, it)
}

// settleLocked counts the key as busy or not, and forgets it if nothing is left to know.
func (l *Loop[K]) settleLocked(k K, it *item) {
	if it.timer == nil {
		it.retry = false
	}
	busy := it.queued || it.running || it.retry
	if busy != it.busy {
		it.busy = busy
		if busy {
			if l.busy == 0 {
				l.idle = make(chan struct{})
			}
			l.busy++
		} else if l.busy--; l.busy == 0 {
			close(l.idle)
		}
	}
	if !busy && it.timer == nil {
		delete(l.items, k)
	}
}

// Run works until ctx ends, waits for the calls that are being made, and returns the error of ctx.
// Keys still waiting stay for another Run; two at once are an error.
func (l *Loop[K]) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.running {
		l.mu.Unlock()
		return errRunning
	}
	l.running = true
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wake.Broadcast()
	})
	defer stop()
	var wg sync.WaitGroup
	for range l.cfg.Workers {
		wg.Go(func() { l.work(ctx) })
	}
	wg.Wait()
	l.mu.Lock()
	l.running = false
	l.mu.Unlock()
	return ctx.Err()
}

func (l *Loop[K]) work(ctx context.Context) {
	for {
		k, ok := l.next(ctx)
		if !ok {
			return
		}
		l.finish(ctx, k, l.call(ctx, k))
	}
}

func (l *Loop[K]) next(ctx context.Context) (k K, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) == 0 && ctx.Err() == nil {
		l.wake.Wait()
	}
	if ctx.Err() != nil {
		return k, false
	}
	k = l.ready[0]
	l.ready = l.ready[1:]
	it := l.items[k]
	it.queued, it.running = false, true
	return k, true
}

// call calls the function and makes an error of its panic.
func (l *Loop[K]) call(ctx context.Context, k K) (err error) {
	if l.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.cfg.Timeout)
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return l.fn(ctx, k)
}

func (l *Loop[K]) finish(ctx context.Context, k K, err error) {
	l.mu.Lock()
	it := l.items[k]
	it.running = false
	it.err = err
	if err == nil {
		it.failures = 0
	} else {
		it.failures++
	}
	failures, delay := it.failures, time.Duration(0)
	switch {
	case it.queued: // enqueued meanwhile
		l.ready = append(l.ready, k)
		l.wake.Signal()
	case err != nil && ctx.Err() != nil: // cut off: first thing of the next Run
		it.queued = true
		l.ready = append(l.ready, k)
	case err != nil:
		delay = l.cfg.Backoff.Delay(failures)
		l.laterLocked(k, it, delay, true)
	}
	if it.timer != nil && err != nil {
		it.retry = true // an EnqueueAfter that comes sooner is the retry
	}
	l.settleLocked(k, it)
	l.mu.Unlock()
	if err != nil {
		l.cfg.Log.Warn("reconcile failed", "key", fmt.Sprint(k), "failures", failures, "again_in", delay, "error", err)
	}
}

// Idle waits until no key is waiting, being worked on or failing, or ctx ends. Keys that only wait for
// EnqueueAfter do not count.
func (l *Loop[K]) Idle(ctx context.Context) error {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failure is a key whose last call failed.
type Failure[K comparable] struct {
	Key      K
	Err      error
	Failures int // in a row
}

// Failing lists the keys whose last call failed, in no order.
func (l *Loop[K]) Failing() []Failure[K] {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Failure[K]
	for k, it := range l.items {
		if it.err != nil {
			list = append(list, Failure[K]{k, it.err, it.failures})
		}
	}
	return list
}
