package openflow

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// A request waits for the message that answers its last transaction id.
type request struct {
	first, last uint32             // transaction ids
	about       func(i int) string // what the ith of them is about, for errors
	answers     [][]byte           // bodies of the replies
	failed      *Error             // the first refusal
	result      chan error         // gets one value
}

type header struct {
	version, typ uint8
	xid          uint32
}

// readMessage reads one message and returns its body, whose size the header's
// 16 bits bound.
func readMessage(br *bufio.Reader) (header, []byte, error) {
	var raw [headerLen]byte
	if _, err := io.ReadFull(br, raw[:]); err != nil {
		return header{}, nil, err
	}
	h := header{raw[0], raw[1], be.Uint32(raw[4:])}
	n := int(be.Uint16(raw[2:]))
	if n < headerLen {
		return h, nil, malformed("message of length %d", n)
	}
	body := make([]byte, n-headerLen)
	if _, err := io.ReadFull(br, body); err != nil {
		return h, nil, err
	}
	return h, body, nil
}

// read takes messages until the connection ends.
func (c *Conn) read(br *bufio.Reader) {
	for {
		h, body, err := readMessage(br)
		if err == nil {
			c.heard.Store(true)
			err = c.dispatch(h, body)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// write sends what the requests hand over until the connection ends, and asks
// a silent switch for a sign of life.
func (c *Conn) write() {
	var tick <-chan time.Time
	if c.cfg.EchoInterval > 0 {
		t := time.NewTicker(c.cfg.EchoInterval)
		defer t.Stop()
		tick = t.C
	}
	ask := end(begin(nil, typeEchoRequest, 0), 0)
	silent := 0
	for {
		var b []byte
		select {
		case <-c.quit:
			return
		case b = <-c.out:
		case b = <-c.echo:
		case <-tick:
			if silent++; c.heard.Swap(false) {
				silent = 0
			}
			if silent > 3 {
				c.fail(fmt.Errorf("%w for %v", ErrSilent, 3*c.cfg.EchoInterval))
				return
			}
			if silent > 0 {
				b = ask
			}
		}
		for part := range slices.Chunk(b, maxLen) {
			_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
			if _, err := c.nc.Write(part); err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// dispatch hands a message to the request that it answers. Others, such as
// port status, are passed over.
func (c *Conn) dispatch(h header, body []byte) error {
	if h.version != version {
		return malformed("message of wire version %d", h.version)
	}
	if h.typ == typeEchoRequest {
		select {
		case c.echo <- end(append(begin(nil, typeEchoReply, h.xid), body...), 0):
		default: // a flood; the switch is not listening either
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pending, func(r *request) bool { return h.xid-r.first <= r.last-r.first })
	if i < 0 {
		return nil
	}
	r, b := c.pending[i], reader{b: body}
	switch h.typ {
	case typeError:
		e := &Error{Type: b.u16(), Code: b.u16(), About: r.about(int(h.xid - r.first))}
		if b.bad {
			return malformed("error message of %d bytes", len(body))
		}
		if r.failed == nil {
			r.failed = e
		}
		if h.xid == r.last {
			c.finishLocked(r, nil)
		}
	case typeMultipartReply:
		b.skip(2)
		flags := b.u16()
		b.skip(4)
		if b.bad {
			return malformed("multipart reply of %d bytes", len(body))
		}
		r.answers = append(r.answers, b.b)
		if flags&multipartMore == 0 {
			c.finishLocked(r, nil)
		}
	case typeFeaturesReply:
		r.answers = append(r.answers, body)
		c.finishLocked(r, nil)
	case typeBarrierReply:
		c.finishLocked(r, nil)
	}
	return nil
}

// finishLocked ends a request; a refusal that came before wins over err.
func (c *Conn) finishLocked(r *request, err error) {
	c.forgetLocked(r)
	if r.failed != nil {
		err = r.failed
	}
	select {
	case r.result <- err:
	default: // it has its result
	}
}

func (c *Conn) forgetLocked(r *request) {
	c.pending = slices.DeleteFunc(c.pending, func(o *request) bool { return o == r })
}

// fail ends the connection and every request.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("openflow: %w: %w", ErrClosed, err)
	close(c.quit)
	_ = c.nc.Close()
	for _, r := range slices.Clone(c.pending) {
		c.finishLocked(r, c.err)
	}
}

// do sends the messages that encode makes with n transaction ids from xid on,
// and waits for the answer to the last. about says what the ith is about.
func (c *Conn) do(ctx context.Context, n int, about func(i int) string, encode func(xid uint32) ([]byte, error)) ([][]byte, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("openflow: %w", err)
	}
	c.mu.Lock()
	if c.xid+uint32(n) < c.xid { // no request wraps, none uses what unasked messages have: 0
		c.xid = 0
	}
	r := &request{first: c.xid + 1, last: c.xid + uint32(n), about: about, result: make(chan error, 1)}
	c.xid = r.last
	c.mu.Unlock()
	b, err := encode(r.first)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.pending = append(c.pending, r)
	c.mu.Unlock()
	select {
	case c.out <- b:
	case <-ctx.Done():
		return nil, c.abandon(ctx, r)
	case <-c.quit:
		return nil, <-r.result
	}
	select {
	case err := <-r.result:
		return r.answers, err
	case <-ctx.Done():
		return nil, c.abandon(ctx, r)
	}
}

// abandon gives a request up whose context has ended.
func (c *Conn) abandon(ctx context.Context, r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(r)
	return fmt.Errorf("openflow: %s: %w", r.about(0), context.Cause(ctx))
}
