package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Database is what a Client and a Session have in common.
type Database interface {
	// Transact is as Client.Transact.
	Transact(ctx context.Context, db string, ops ...Operation) ([]Result, error)
	// Monitor is as Client.Monitor.
	Monitor(ctx context.Context, db string, tables ...TableMonitor) (*Cache, error)
}

// SessionConfig of a Session. The zero value is good.
type SessionConfig struct {
	Config
	// Backoff is how long to wait after a first failure; the time doubles with
	// each that follows, up to MaxBackoff, and is shortened by up to a half at
	// random. Defaults 100 ms and 8 s.
	Backoff, MaxBackoff time.Duration
	// DialTimeout bounds the connecting. Default 10 s.
	DialTimeout time.Duration
	// Setup, if set, is called with each new connection before anything else
	// uses it, to check the schema with TableOf, say. Its error ends the
	// connection, which is then tried again.
	Setup func(ctx context.Context, c *Client) error
}

// Session is a connection that comes back. While there is none, every call and
// every read of its Caches is ErrDisconnected; a new connection first brings
// the Caches to what the server has, from the last transaction they know where
// the server remembers it. Make one with NewSession; it works while Run runs.
// It may be used by several goroutines.
type Session struct {
	dial Dialer
	cfg  SessionConfig
	turn chan struct{} // of capacity 1: holds a token while Caches are attached

	mu      sync.Mutex // protects what follows
	client  *Client    // nil while there is no connection
	err     error      // why there is none
	caches  []*Cache
	changed chan struct{} // closed and replaced when the client is
}

// NewSession makes a Session. It connects only once Run is called.
func NewSession(dial Dialer, cfg SessionConfig) *Session {
	if cfg.Backoff <= 0 {
		cfg.Backoff = 100 * time.Millisecond
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = 8 * time.Second
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	return &Session{dial: dial, cfg: cfg, turn: make(chan struct{}, 1),
		err: errors.New("ovsdb: session does not run"), changed: make(chan struct{})}
}

// Run keeps the Session connected until ctx is done, and returns why with
// nothing left running. It must not be called twice at once.
func (s *Session) Run(ctx context.Context) error {
	delay := s.cfg.Backoff
	for {
		start := time.Now()
		err := s.once(ctx)
		s.set(nil, err)
		if ctx.Err() != nil {
			return fmt.Errorf("ovsdb: session: %w", context.Cause(ctx))
		}
		if time.Since(start) > s.cfg.MaxBackoff {
			delay = s.cfg.Backoff
		}
		timer := time.NewTimer(delay/2 + rand.N(delay/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		delay = min(2*delay, s.cfg.MaxBackoff)
	}
}

// once connects, and returns when the connection has ended.
func (s *Session) once(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	c, err := Connect(dialing, s.dial, s.cfg.Config)
	cancel()
	if err != nil {
		return err
	}
	defer c.Close()
	if s.cfg.Setup != nil {
		if err := s.cfg.Setup(ctx, c); err != nil {
			return err
		}
	}
	if err := s.resume(ctx, c); err != nil {
		return err
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.Err()
}

// resume attaches the Caches to a connection, and opens it to callers.
func (s *Session) resume(ctx context.Context, c *Client) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	caches := s.caches
	s.mu.Unlock()
	open := caches[:0:0]
	for _, k := range caches {
		if k.isClosed() {
			continue
		}
		if err := k.attach(ctx, c); err != nil {
			return err
		}
		open = append(open, k)
	}
	s.mu.Lock()
	s.caches = open
	s.mu.Unlock()
	s.set(c, nil)
	return nil
}

func (s *Session) set(c *Client, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.err = c, err
	close(s.changed)
	s.changed = make(chan struct{})
}

// Client returns the connection there is now. It must not be closed.
func (s *Session) Client() (*Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clientLocked()
}

func (s *Session) clientLocked() (*Client, error) {
	if s.client == nil {
		if errors.Is(s.err, ErrDisconnected) {
			return nil, s.err
		}
		return nil, fmt.Errorf("ovsdb: %w: %w", ErrDisconnected, s.err)
	}
	return s.client, s.client.Err()
}

// Ready returns once there is a connection and every Cache follows it. When
// ctx ends first, the error also says why there is none.
func (s *Session) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		_, err := s.clientLocked()
		changed := s.changed
		s.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// Transact is as Client.Transact. It is not tried again by itself: after
// ErrDisconnected the transaction may have happened or not.
func (s *Session) Transact(ctx context.Context, db string, ops ...Operation) ([]Result, error) {
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	return c.Transact(ctx, db, ops...)
}

// Monitor is as Client.Monitor; the Cache lives until its Close.
func (s *Session) Monitor(ctx context.Context, db string, tables ...TableMonitor) (*Cache, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("ovsdb: monitor: %w", context.Cause(ctx))
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	k, err := c.Monitor(ctx, db, tables...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caches = append(s.caches, k)
	return k, nil
}

func (k *Cache) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}
