package ovsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a Client. The zero value is good.
type Config struct {
	// MaxMessage bounds the bytes of one message received. Default 64 MiB.
	MaxMessage int
	// Probe is how long the server may be silent before it is sent an echo;
	// after the same time without an answer the connection is given up. Fewer
	// than 16 KiB of a message in that time are silence.
	// Default 5 s; negative turns it off.
	Probe time.Duration
	// WriteTimeout bounds the writing of one message. Default 30 s.
	WriteTimeout time.Duration
	// Logger hears of a connection's end. Nil is silent.
	Logger *slog.Logger
}

// Client is a connection to an OVSDB server. Make one with Dial or New, end it
// with Close. It may be used by several goroutines.
type Client struct {
	conn net.Conn
	cfg  Config
	log  *slog.Logger
	out  chan any      // messages for the writing goroutine
	dead chan struct{} // closed when the connection is given up
	done chan struct{} // closed when both goroutines have ended
	got  atomic.Int64  // bytes received

	mu       sync.Mutex // protects what follows
	err      error      // why the connection ended
	nextID   uint64
	calls    map[uint64]*call
	monitors map[string]func(method string, params scanner) error
	locks    map[string]*Lock
	heard    time.Time // when the last message came
	probed   bool      // an echo is under way since then
	received int64     // of got, at the last tick of the probe
}

// call is a request that waits for its reply.
type call struct {
	method string
	// onReply, if set, runs on the reading goroutine before later messages are
	// read, and must not keep what it is given.
	onReply func(scanner) error
	reply   chan reply // of capacity 1
}

type reply struct {
	result json.RawMessage
	err    error
}

// request, response and message are JSON-RPC 1.0.
type request struct {
	ID     any    `json:"id"` // nil: a notification
	Method string `json:"method"`
	Params []any  `json:"params"`
}

type response struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  any             `json:"error"`
}

// message is any of them, as parts of the bytes received.
type message struct {
	ID     json.RawMessage
	Method *string
	Params scanner
	Result scanner
	Error  json.RawMessage
}

// New makes a Client of a connection, such as one over TLS, and owns it from then on.
func New(conn net.Conn, cfg Config) *Client {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = 64 << 20
	}
	if cfg.Probe == 0 {
		cfg.Probe = 5 * time.Second
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = 30 * time.Second
	}
	c := &Client{
		conn: conn, cfg: cfg, log: cfg.Logger,
		out: make(chan any, 16), dead: make(chan struct{}), done: make(chan struct{}),
		calls:    map[uint64]*call{},
		monitors: map[string]func(string, scanner) error{},
		locks:    map[string]*Lock{},
		heard:    time.Now(),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var wg sync.WaitGroup
	wg.Go(c.readLoop)
	wg.Go(c.writeLoop)
	go func() {
		wg.Wait()
		close(c.done)
	}()
	return c
}

// Close ends the connection and returns once nothing of the Client runs.
// Calls under way fail with ErrDisconnected.
func (c *Client) Close() error {
	c.fail(fmt.Errorf("%w: closed", ErrDisconnected))
	<-c.done
	return nil
}

// Done is closed once the connection has ended, by Close or otherwise.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait returns once the connection has ended, with the reason: an
// ErrDisconnected that wraps what went wrong.
func (c *Client) Wait() error {
	<-c.done
	return c.Err()
}

// Err returns why the connection ended, or nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail gives the connection up, once: calls under way and Caches learn why.
func (c *Client) fail(err error) {
	if !errors.Is(err, ErrDisconnected) {
		err = fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("ovsdb: %w", err)
	for _, call := range c.calls {
		call.reply <- reply{err: c.err}
	}
	clear(c.calls)
	for _, l := range c.locks {
		l.lose()
	}
	close(c.dead)
	_ = c.conn.Close()
	c.log.Info("connection ended", "remote", c.conn.RemoteAddr(), "error", err)
}

func (c *Client) readLoop() {
	f := &framer{r: counter{c}, max: c.cfg.MaxMessage}
	for {
		text, err := f.read()
		if err == nil {
			err = c.receive(text)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *Client) writeLoop() {
	var tick <-chan time.Time
	if c.cfg.Probe > 0 {
		ticker := time.NewTicker(c.cfg.Probe)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		var msg any
		select {
		case <-c.dead:
			return
		case msg = <-c.out:
		case <-tick:
			probe, err := c.probe()
			if err != nil {
				c.fail(err)
				return
			}
			if !probe {
				continue
			}
			msg = request{ID: "echo", Method: "echo", Params: []any{}}
		}
		data, err := encodeJSON(msg)
		if err == nil {
			_ = c.conn.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
			_, err = c.conn.Write(data)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// counter reads a Client's connection and counts.
type counter struct{ c *Client }

func (r counter) Read(p []byte) (int, error) {
	n, err := r.c.conn.Read(p)
	r.c.got.Add(int64(n))
	return n, err
}

// minProgress is how many bytes of an unfinished message between two probes
// count as a sign of life: a large reply may take its time, but not for ever.
const minProgress = 16 << 10

// probe reports whether an echo is due, and fails when one was not answered.
func (c *Client) probe() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got.Load()
	if got-c.received >= minProgress {
		c.heard = time.Now()
	}
	c.received = got
	silent := time.Since(c.heard)
	switch {
	case silent < c.cfg.Probe:
		return false, nil
	case c.probed && silent >= 2*c.cfg.Probe:
		return false, fmt.Errorf("server is silent for %v", silent.Round(time.Millisecond))
	case c.probed:
		return false, nil
	}
	c.probed = true
	return true, nil
}

// parseMessage takes a message apart. Members that JSON-RPC does not have are
// passed over.
func parseMessage(s scanner) (m message, err error) {
	err = s.object(func(name []byte) error {
		part, err := s.skip()
		switch string(name) {
		case "id":
			m.ID = part.rest()
		case "method":
			if !part.isNull() && err == nil {
				m.Method = new(string)
				if json.Unmarshal(part.rest(), m.Method) != nil {
					return malformed("method is no string")
				}
			}
		case "params":
			m.Params = part
		case "result":
			m.Result = part
		case "error":
			m.Error = part.rest()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	return m, err
}

// receive handles one message, whose bytes it must not keep. Its error ends the connection.
func (c *Client) receive(text scanner) error {
	m, err := parseMessage(text)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.heard, c.probed = time.Now(), false
	c.mu.Unlock()
	if m.Method == nil {
		return c.receiveReply(m)
	}
	switch *m.Method {
	case "echo":
		if !isNull(m.ID) {
			c.enqueue(response{ID: bytes.Clone(m.ID), Result: bytes.Clone(m.Params.rest())})
		}
	case "update", "update2", "update3":
		params, err := m.Params.split()
		if err != nil || len(params) < 2 {
			return malformed("%s: params %.100s", *m.Method, m.Params.rest())
		}
		c.mu.Lock()
		handle := c.monitors[compact(params[0].rest())]
		c.mu.Unlock()
		if handle != nil { // updates may overtake monitor_cancel
			return handle(*m.Method, m.Params)
		}
	case "locked", "stolen":
		return c.lockNotification(*m.Method, m.Params.rest())
	default:
		if !isNull(m.ID) {
			c.enqueue(response{ID: bytes.Clone(m.ID), Error: "unknown method"})
		}
	}
	return nil
}

func (c *Client) receiveReply(m message) error {
	var id uint64
	if err := json.Unmarshal(m.ID, &id); err != nil {
		return nil // the answer to a probe
	}
	c.mu.Lock()
	call := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if call == nil {
		return nil // its caller gave up
	}
	var r reply
	switch {
	case !isNull(m.Error):
		r.err = replyError(call.method, m.Error)
	case call.onReply != nil:
		r.err = call.onReply(m.Result)
	default:
		r.result = bytes.Clone(m.Result.rest())
	}
	call.reply <- r
	if errors.Is(r.err, ErrMalformed) {
		return r.err
	}
	return nil
}

// replyError reads the error of a response: an object, or a string of an older server.
func replyError(method string, data json.RawMessage) error {
	e := &Error{Method: method, Op: -1}
	var object struct{ Error, Details string }
	if json.Unmarshal(data, &object) == nil && object.Error != "" {
		e.Code, e.Details = object.Error, object.Details
	} else if json.Unmarshal(data, &e.Code) != nil {
		e.Code = string(data)
	}
	return e
}

// enqueue hands a message to the writing goroutine, unless the connection ends first.
func (c *Client) enqueue(msg any) {
	select {
	case c.out <- msg:
	case <-c.dead:
	}
}

// tell sends a message as a courtesy: it is never waited for, and lost when
// too many others wait.
func (c *Client) tell(msg any) {
	select {
	case c.out <- msg:
	default:
	}
}

// call sends a request and waits for its reply. With onReply set, that runs on
// the reading goroutine before any later message is handled.
func (c *Client) call(ctx context.Context, method string, params []any, onReply func(scanner) error) (json.RawMessage, error) {
	// Encode here: a value that cannot be encoded is the caller's fault, not the connection's.
	encoded, err := encodeJSON(params)
	if err != nil {
		return nil, fmt.Errorf("ovsdb: %s: %w", method, err)
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.nextID++
	id := c.nextID
	call := &call{method: method, onReply: onReply, reply: make(chan reply, 1)}
	c.calls[id] = call
	c.mu.Unlock()

	req := struct {
		ID     uint64          `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}{id, method, encoded}
	select {
	case c.out <- req:
	case <-c.dead:
	case <-ctx.Done():
		c.forget(id)
		return nil, fmt.Errorf("ovsdb: %s: %w", method, context.Cause(ctx))
	}
	select {
	case r := <-call.reply:
		return r.result, r.err
	case <-ctx.Done():
	}
	if c.forget(id) && method == "transact" {
		c.tell(request{Method: "cancel", Params: []any{id}}) // RFC 7047, section 4.1.4
	}
	return nil, fmt.Errorf("ovsdb: %s: %w", method, context.Cause(ctx))
}

// forget drops a call; it reports whether its reply was still due.
func (c *Client) forget(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.calls[id]
	delete(c.calls, id)
	return ok
}

func isNull(data json.RawMessage) bool { return len(data) == 0 || string(data) == "null" }
