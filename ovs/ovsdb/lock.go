package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// ErrLockTaken says that this Client holds the lock, or waits for it, already.
var ErrLockTaken = errors.New("lock is asked for already")

// Lock is an advisory lock of the server (RFC 7047, section 4.1.8) that a
// Client holds. Get one with Client.Lock or Client.Steal. A transaction that
// begins with Assert of its name fails with CodeNotOwner once it is lost.
type Lock struct {
	client *Client
	name   string
	held   chan struct{} // closed when the server gives it
	done   chan struct{} // closed when it is lost

	mu     sync.Mutex // protects isHeld, isDone
	isHeld bool
	isDone bool
}

// Name is what the server knows the lock by.
func (l *Lock) Name() string { return l.name }

// Done is closed once the lock is held no more: unlocked, stolen, or gone with
// the connection.
func (l *Lock) Done() <-chan struct{} { return l.done }

func (l *Lock) gain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isHeld {
		l.isHeld = true
		close(l.held)
	}
}

func (l *Lock) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isDone {
		l.isDone = true
		close(l.done)
	}
}

// Lock asks for a lock and returns once this Client holds it. The name is an
// <id> of RFC 7047, section 3.1: letters, digits and underscores. When the
// context ends first, the Client is taken off the queue.
func (c *Client) Lock(ctx context.Context, name string) (*Lock, error) {
	return c.lock(ctx, "lock", name)
}

// Steal takes a lock at once, from whoever holds it.
func (c *Client) Steal(ctx context.Context, name string) (*Lock, error) {
	return c.lock(ctx, "steal", name)
}

func (c *Client) lock(ctx context.Context, method, name string) (*Lock, error) {
	l := &Lock{client: c, name: name, held: make(chan struct{}), done: make(chan struct{})}
	c.mu.Lock()
	if c.locks[name] != nil {
		c.mu.Unlock()
		return nil, wrap(ErrLockTaken, method, name)
	}
	c.locks[name] = l
	c.mu.Unlock()
	_, err := c.call(ctx, method, []any{name}, func(result scanner) error {
		var r struct{ Locked *bool }
		if err := json.Unmarshal(result.rest(), &r); err != nil || r.Locked == nil {
			return malformed("%s: result %.100s", method, result.rest())
		}
		if *r.Locked {
			l.gain()
		}
		return nil
	})
	if err == nil {
		select {
		case <-l.held:
			return l, nil
		case <-c.dead:
			err = c.Err()
		case <-ctx.Done():
			err = fmt.Errorf("ovsdb: %s: %w", method, context.Cause(ctx))
		}
	}
	c.mu.Lock()
	delete(c.locks, name)
	c.mu.Unlock()
	l.lose()
	if ctx.Err() != nil { // the server may have it queued, or given
		c.tell(request{ID: "unlock", Method: "unlock", Params: []any{name}})
	}
	return nil, err
}

// Unlock gives the lock back. One that was stolen is unlocked too: until then
// the server keeps the Client in the lock's queue.
func (l *Lock) Unlock(ctx context.Context) error {
	c := l.client
	l.lose()
	c.mu.Lock()
	mine := c.locks[l.name] == l
	c.mu.Unlock()
	if !mine {
		return nil
	}
	_, err := c.call(ctx, "unlock", []any{l.name}, nil)
	c.mu.Lock()
	if c.locks[l.name] == l {
		delete(c.locks, l.name)
	}
	c.mu.Unlock()
	return err
}

// lockNotification takes "locked" and "stolen" (RFC 7047, sections 4.1.9, 4.1.10).
func (c *Client) lockNotification(method string, params json.RawMessage) error {
	var names []string
	if err := json.Unmarshal(params, &names); err != nil || len(names) != 1 {
		return malformed("%s: params %.100s", method, params)
	}
	c.mu.Lock()
	l := c.locks[names[0]]
	c.mu.Unlock()
	switch {
	case l == nil: // it may have been unlocked meanwhile
	case method == "locked":
		l.gain()
	default:
		l.lose()
	}
	return nil
}
