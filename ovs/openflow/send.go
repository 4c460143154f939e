package openflow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// send writes b, which it needs no longer when it returns without an error.
// When the context ends within, the rest follows: half a message would end the
// connection.
func (c *Conn) send(ctx context.Context, b []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.quit:
		return c.reason()
	}
	c.stamp(b)
	calm := c.interruptWrite(ctx)
	rest, err := c.write(b)
	calm()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err = context.Cause(ctx); len(rest) < len(b) && c.finish(rest) {
			return err
		}
	case err != nil:
		c.fail(err)
		err = c.reason()
	}
	<-c.writing
	return err
}

// interruptWrite has a write end with the context, until calm.
func (c *Conn) interruptWrite(ctx context.Context) (calm func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.nc.SetWriteDeadline(past)
		close(interrupted)
	})
	return func() {
		if !stop() { // nobody else is to be interrupted
			<-interrupted
			_ = c.nc.SetWriteDeadline(time.Time{})
		}
	}
}

// stamp gives messages, which are encoded as those of 1.5, the version agreed on.
func (c *Conn) stamp(b []byte) {
	if c.version == OpenFlow15 {
		return
	}
	for len(b) >= headerLen {
		b[0] = byte(c.version)
		b = b[be.Uint16(b[2:]):]
	}
}

// write returns what is left of b when it fails. There is no deadline to set,
// since a timer for each message costs more than the message: watch looks at
// whether it goes on.
func (c *Conn) write(b []byte) ([]byte, error) {
	for len(b) > 0 {
		c.writes.Add(1)
		n, err := c.nc.Write(b[:min(len(b), maxLen)])
		c.writes.Add(1)
		if b = b[n:]; err != nil {
			return b, err
		}
	}
	return nil, nil
}

// finish writes the rest of a message in the background, and then lets others
// write; false if the connection has ended.
func (c *Conn) finish(rest []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.wg.Go(func() {
		if _, err := c.write(rest); err != nil {
			c.fail(err)
		}
		<-c.writing
	})
	return true
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// aside sends a message that nobody waits for. When many wait to be sent it is
// dropped: the switch is not listening.
func (c *Conn) aside(b []byte) {
	select {
	case c.asides <- b:
	default:
	}
}

// keep sends what is aside until the connection ends.
func (c *Conn) keep() {
	for {
		select {
		case <-c.quit:
			return
		case b := <-c.asides:
			if c.send(context.Background(), b) != nil {
				return
			}
		}
	}
}

// watch asks a silent switch for a sign of life, and ends the connection when
// there is none, or when the switch does not read, until it has ended.
func (c *Conn) watch() {
	const looks = 4
	stall := time.NewTicker(max(c.cfg.Timeout/looks, 1))
	defer stall.Stop()
	stuck, seen := 0, uint64(0)
	var tick <-chan time.Time
	if c.cfg.EchoInterval > 0 {
		t := time.NewTicker(c.cfg.EchoInterval)
		defer t.Stop()
		tick = t.C
	}
	silent := 0
	for {
		select {
		case <-c.quit:
			return
		case <-stall.C:
			now := c.writes.Load()
			if stuck++; now%2 == 0 || now != seen {
				stuck = 0
			}
			if seen = now; stuck >= looks {
				c.fail(fmt.Errorf("%w: it does not read for %v", ErrSilent, c.cfg.Timeout))
			}
		case <-tick:
			if silent++; c.heard.Swap(false) {
				silent = 0
			}
			if silent > 3 {
				c.fail(fmt.Errorf("%w for %v", ErrSilent, 3*c.cfg.EchoInterval))
			} else if silent > 0 {
				c.aside(end(begin(nil, typeEchoRequest, 0), 0))
			}
		}
	}
}
