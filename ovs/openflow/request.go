package openflow

import (
	"context"
	"fmt"
	"slices"
)

// A request waits for the answers to messages with consecutive transaction
// ids. The Conn's mutex protects its fields.
type request struct {
	first, last uint32
	sent        uint32             // how many of them; there is no answer to others
	about       func(i int) string // what the ith of them is about, for errors
	expect      expect
	parts       [][]byte // what came and was not taken
	size        int      // of all that came
	failed      *Error   // the first refusal
	done        bool
	err         error
	ready       chan struct{} // holds a token when parts or done are news
}

// An expect judges a reply to the ith of n messages: what it carries, and
// whether it is the last. A reply that nobody could expect is malformed.
type expect func(i, n int, typ uint8, body []byte) (part []byte, last bool, err error)

// reply expects one message of a type with at least min bytes, to the last.
func reply(want uint8, min int) expect {
	return func(i, n int, typ uint8, body []byte) ([]byte, bool, error) {
		if typ != want || i != n-1 {
			return nil, false, unexpected(i, n, typ)
		}
		if len(body) < min {
			return nil, false, malformed("message of type %d with %d bytes, want %d", typ, len(body), min)
		}
		return body, true, nil
	}
}

// multipart expects the parts of one kind of statistics (section 7.3.5).
func multipart(want uint16) expect {
	return func(i, n int, typ uint8, body []byte) ([]byte, bool, error) {
		if typ != typeMultipartReply {
			return nil, false, unexpected(i, n, typ)
		}
		r := reader{b: body}
		kind, flags := r.u16(), r.u16()
		r.skip(4)
		if r.bad || kind != want {
			return nil, false, malformed("multipart reply of kind %d and %d bytes to kind %d", kind, len(body), want)
		}
		return r.b, flags&multipartMore == 0, nil
	}
}

func unexpected(i, n int, typ uint8) error {
	return malformed("message of type %d as answer to message %d of %d", typ, i+1, n)
}

// dispatch hands a message to the subscribers, or to the request that it
// answers. Late answers to what was abandoned are passed over.
func (c *Conn) dispatch(h header, body []byte) error {
	if h.version != uint8(c.version) {
		if h.typ == typeError { // Open vSwitch 3.1 garbles one about a flow monitor
			return nil
		}
		return malformed("message of wire version %d", h.version)
	}
	if h.typ == typeEchoRequest {
		c.aside(end(append(begin(nil, typeEchoReply, h.xid), body...), 0))
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if typ, b, ok := asynchronous(h, body); ok {
		for _, s := range c.subscribers {
			s.put(typ, b)
		}
		return nil
	}
	i := slices.IndexFunc(c.pending, func(r *request) bool { return h.xid-r.first <= r.last-r.first })
	if i < 0 {
		return nil
	}
	return c.answerLocked(c.pending[i], h, body)
}

// answerLocked gives a request a message, of which it keeps a copy.
func (c *Conn) answerLocked(r *request, h header, body []byte) error {
	i, n := int(h.xid-r.first), int(r.last-r.first)+1
	if i >= int(r.sent) {
		return malformed("message of type %d as answer to one that was not sent", h.typ)
	}
	if h.typ == typeError {
		e, err := readError(body)
		if err != nil {
			return err
		}
		if r.failed == nil {
			e.About = r.about(i)
			r.failed = e
		}
		if h.xid == r.last {
			c.finishLocked(r, nil)
		}
		return nil
	}
	part, last, err := r.expect(i, n, h.typ, body)
	if err != nil {
		return fmt.Errorf("%s: %w", r.about(i), err)
	}
	if r.size += headerLen + len(body); r.size > c.cfg.MaxReply {
		return fmt.Errorf("%s: %w", r.about(i), malformed("reply of more than %d bytes", c.cfg.MaxReply))
	}
	if len(part) > 0 {
		r.parts = append(r.parts, slices.Clone(part))
		r.news()
	}
	if last {
		c.finishLocked(r, nil)
	}
	return nil
}

func (r *request) news() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// finishLocked ends a request; a refusal that came before wins over err.
func (c *Conn) finishLocked(r *request, err error) {
	c.forgetLocked(r)
	if r.failed != nil {
		err = r.failed
	}
	r.done, r.err = true, err
	r.news()
}

func (c *Conn) forgetLocked(r *request) {
	c.pending = slices.DeleteFunc(c.pending, func(o *request) bool { return o == r })
}

// reserve makes a request of n messages, which has their transaction ids but
// no answers yet: enter it before the first is sent.
func (c *Conn) reserve(n int, about func(i int) string, e expect) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.xid+uint32(n) < c.xid { // no request wraps, none uses what unasked messages have: 0
		c.xid = 0
	}
	r := &request{first: c.xid + 1, last: c.xid + uint32(n), sent: uint32(n), about: about, expect: e, ready: make(chan struct{}, 1)}
	c.xid = r.last
	return r
}

func (c *Conn) enter(r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.pending = append(c.pending, r)
	}
	return c.err
}

// take returns the parts that have come, and whether there will be more.
func (c *Conn) take(r *request) (parts [][]byte, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, r.parts = r.parts, nil
	return parts, r.done, r.err
}

// wait hands each part of the answer to part, until the request has its end.
// A part that cannot be read ends it too, as does the context.
func (c *Conn) wait(ctx context.Context, r *request, part func(b []byte) error) error {
	for {
		if err := c.await(ctx, r); err != nil {
			return c.abandon(r, err)
		}
		parts, done, err := c.take(r)
		if done && err != nil {
			return err
		}
		for _, b := range parts {
			if part == nil {
				continue
			}
			if err := part(b); err != nil {
				return c.abandon(r, err)
			}
		}
		if done {
			return nil
		}
	}
}

// abandon gives a request up; what still answers it disturbs nobody.
func (c *Conn) abandon(r *request, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(r)
	if r.done && r.err != nil {
		return r.err
	}
	return fmt.Errorf("openflow: %s: %w", r.about(0), err)
}

// do sends the messages of a request and waits for its end.
func (c *Conn) do(ctx context.Context, r *request, b []byte, part func(b []byte) error) error {
	if err := context.Cause(ctx); err != nil {
		return c.abandon(r, err)
	}
	if err := c.enter(r); err != nil {
		return err
	}
	if err := c.send(ctx, b); err != nil {
		return c.abandon(r, err)
	}
	return c.wait(ctx, r, part)
}

// ask sends one message and hands the parts of its answer to part.
func (c *Conn) ask(ctx context.Context, what string, e expect, encode func(xid uint32) []byte, part func(b []byte) error) error {
	r := c.reserve(1, func(int) string { return what }, e)
	return c.do(ctx, r, encode(r.first), part)
}

// confirmed sends one message and a barrier, for messages that are answered
// only when they are refused.
func (c *Conn) confirmed(ctx context.Context, what string, encode func(xid uint32) ([]byte, error)) error {
	about := func(i int) string { return [...]string{what, "barrier"}[i] }
	r := c.reserve(2, about, reply(typeBarrierReply, 0))
	b, err := encode(r.first)
	if err != nil {
		return err
	}
	return c.do(ctx, r, end(begin(b, typeBarrierRequest, r.last), len(b)), nil)
}

// dump asks for statistics and reads them as their parts come.
func dump[T any](ctx context.Context, c *Conn, what string, kind uint16, encode func(xid uint32) []byte, read func([]byte) ([]T, error)) ([]T, error) {
	var out []T
	err := c.ask(ctx, what, multipart(kind), encode, func(b []byte) error {
		part, err := read(b)
		out = append(out, part...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
