package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// readBuffer holds the longest message, so that one is in memory only once
// and only when its bytes have come.
const readBuffer = maxLen + 1

// past is a deadline that interrupts.
var past = time.Unix(1, 0)

// pause is how long the background leaves the reading to callers.
const pause = 5 * time.Millisecond

type header struct {
	version, typ uint8
	xid          uint32
}

// readMessage reads one message. The body is valid until the next is read.
// What has come of a message is kept when the read is interrupted.
func readMessage(br *bufio.Reader) (header, []byte, error) {
	raw, err := peek(br, headerLen)
	if err != nil {
		return header{}, nil, err
	}
	h := header{raw[0], raw[1], be.Uint32(raw[4:])}
	n := int(be.Uint16(raw[2:]))
	if n < headerLen {
		return h, nil, malformed("message of length %d", n)
	}
	if raw, err = peek(br, n); err != nil {
		return h, nil, err
	}
	_, _ = br.Discard(n)
	return h, raw[headerLen:n:n], nil
}

func peek(br *bufio.Reader, n int) ([]byte, error) {
	raw, err := br.Peek(n)
	if errors.Is(err, io.EOF) && len(raw) > 0 {
		err = fmt.Errorf("%w: %d bytes of a message", io.ErrUnexpectedEOF, len(raw))
	}
	return raw, err
}

// readOne reads a message and hands it on. Who calls it has the turn.
func (c *Conn) readOne() error {
	h, body, err := readMessage(c.br)
	if err != nil {
		return err
	}
	c.heard.Store(true)
	return c.dispatch(h, body)
}

// listen reads while no caller does: what nobody asked for comes at any time.
// A caller that waits for an answer reads itself, since to be woken by another
// goroutine takes longer than most requests take the switch.
func (c *Conn) listen() {
	c.turn <- struct{}{}
	for {
		c.background.Store(true)
		_ = c.nc.SetReadDeadline(time.Time{})
		var err error
		for err == nil {
			err = c.readOne()
		}
		c.background.Store(false)
		<-c.turn
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail(err)
			return
		}
		if !c.rest() {
			return
		}
	}
}

// rest returns with the turn when callers have left the reading alone for a
// while, or false when the connection has ended.
func (c *Conn) rest() bool {
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		seen := c.leads.Load()
		select {
		case <-t.C:
		case <-c.quit:
			return false
		}
		if c.leads.Load() != seen {
			continue
		}
		select {
		case c.turn <- struct{}{}:
			return true
		default: // a caller waits long
		}
	}
}

// interrupt makes who reads look up. When that is too late it disturbs only
// the next one to read, who goes on.
func (c *Conn) interrupt() { _ = c.nc.SetReadDeadline(past) }

// await returns when the request has parts or an end, or when the context has.
func (c *Conn) await(ctx context.Context, r *request) error {
	if c.background.Load() {
		c.interrupt()
	}
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case c.turn <- struct{}{}:
	}
	c.leads.Add(1)
	defer func() { <-c.turn }()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.interrupt)
		defer stop()
	}
	return c.lead(ctx, r)
}

// lead reads until the request has what it waits for.
func (c *Conn) lead(ctx context.Context, r *request) error {
	var err error
	for {
		select {
		case <-r.ready:
			return nil
		default:
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.nc.SetReadDeadline(time.Time{}) // before the look at the context, which interrupts
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		} else if err != nil {
			c.fail(err) // which makes the request ready
			continue
		}
		err = c.readOne()
	}
}
