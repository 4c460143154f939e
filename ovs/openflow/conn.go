package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// Config tunes a [Conn]. The zero value is good.
type Config struct {
	// WriteTimeout bounds how long the switch may leave what is sent unread.
	// Zero means 30 seconds.
	WriteTimeout time.Duration
}

// A Conn is a connection to a bridge. Make one with [Dial] or [New]. All its
// methods may be called at once. It implements ovs.Switch.
type Conn struct {
	nc  net.Conn
	cfg Config

	writeMu sync.Mutex // orders messages on nc

	mu      sync.Mutex // protects what follows
	xid     uint32
	bundle  uint32
	pending map[uint32]*request // by every xid that the request uses
	err     error               // why the connection ended

	done chan struct{} // closed when the reader has ended
}

// A request waits for the message that answers its last xid.
type request struct {
	about   map[uint32]string // what each xid is about, for errors
	answers [][]byte          // bodies of multipart replies
	failed  *Error            // the first refusal
	result  chan error        // gets one value
}

// Dial connects to a bridge: network "unix" with the path of its management
// socket, or "tcp". The context bounds the connection and the handshake.
func Dial(ctx context.Context, network, addr string, cfg Config) (*Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("openflow: %w", err)
	}
	return New(ctx, nc, cfg)
}

// New makes a connection of nc, which it owns from then on, and agrees on the
// version: the peer must speak OpenFlow 1.5.
func New(ctx context.Context, nc net.Conn, cfg Config) (*Conn, error) {
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 30 * time.Second
	}
	c := &Conn{nc: nc, cfg: cfg, pending: map[uint32]*request{}, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	br := bufio.NewReaderSize(nc, 64<<10)
	err := c.handshake(br)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("openflow: handshake: %w", err)
	}
	go c.read(br)
	return c, nil
}

// handshake exchanges hellos (section 6.3.1). The version bitmap says 1.5.
func (c *Conn) handshake(br *bufio.Reader) error {
	b := begin(nil, typeHello, 0)
	b = be.AppendUint32(append(b, 0, 1, 0, 8), 1<<version)
	if _, err := c.nc.Write(end(b, 0)); err != nil {
		return err
	}
	h, _, err := readMessage(br)
	switch {
	case err != nil:
		return err
	case h.typ == typeError:
		return errors.New("the switch does not speak OpenFlow 1.5 (is it in the bridge's protocols?)")
	case h.typ != typeHello:
		return malformed("message of type %d before hello", h.typ)
	case h.version < version:
		return fmt.Errorf("the switch speaks wire version %d, want %d: OpenFlow 1.5 must be in the bridge's protocols", h.version, version)
	}
	return nil
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
	defer close(c.done)
	for {
		h, body, err := readMessage(br)
		if err == nil {
			err = c.dispatch(h, body)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *Conn) dispatch(h header, body []byte) error {
	if h.typ == typeEchoRequest {
		// Answered aside, so that a switch that does not read cannot stop us reading.
		reply := end(append(begin(nil, typeEchoReply, h.xid), body...), 0)
		go func() { _ = c.write(reply) }()
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pending[h.xid]
	if r == nil {
		return nil // what nobody asked for: port status and the like
	}
	switch h.typ {
	case typeError:
		b := reader{b: body}
		e := &Error{Type: b.u16(), Code: b.u16(), About: r.about[h.xid]}
		if r.failed == nil {
			r.failed = e
		}
		if b.bad {
			return malformed("error message of %d bytes", len(body))
		}
		if r.isLast(h.xid) {
			c.finishLocked(r, nil)
		}
	case typeMultipartReply:
		b := reader{b: body}
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
	case typeBarrierReply:
		c.finishLocked(r, nil)
	}
	return nil
}

// isLast reports whether xid is the highest of the request's: the one whose
// answer ends it.
func (r *request) isLast(xid uint32) bool {
	for x := range r.about {
		if int32(x-xid) > 0 {
			return false
		}
	}
	return true
}

// finishLocked ends a request; a refusal that came before wins over err.
func (c *Conn) finishLocked(r *request, err error) {
	for xid := range r.about {
		delete(c.pending, xid)
	}
	if r.failed != nil {
		err = r.failed
	}
	select {
	case r.result <- err:
	default: // it was given up
	}
}

// fail ends the connection and every request.
func (c *Conn) fail(err error) {
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("openflow: %w: %w", ErrClosed, err)
	}
	for _, r := range c.pending {
		c.finishLocked(r, c.err)
	}
}

// Close ends the connection and waits for its goroutine.
func (c *Conn) Close() error {
	c.fail(errors.New("by us"))
	<-c.done
	return nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Wait returns when the connection has ended, with the reason.
func (c *Conn) Wait() error {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Conn) write(b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	_, err := c.nc.Write(b)
	if err != nil {
		c.fail(err)
	}
	return err
}

// newRequest reserves n transaction ids in a row and returns the first.
func (c *Conn) newRequest(n int) (*request, uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, 0, c.err
	}
	r := &request{about: make(map[uint32]string, n), result: make(chan error, 1)}
	first := c.xid + 1
	c.xid += uint32(n)
	return r, first, nil
}

// do sends b and waits for the request's result.
func (c *Conn) do(ctx context.Context, r *request, b []byte) error {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	for xid := range r.about {
		c.pending[xid] = r
	}
	c.mu.Unlock()
	if err := c.write(b); err != nil {
		return <-r.result
	}
	select {
	case err := <-r.result:
		return err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		for xid := range r.about {
			delete(c.pending, xid)
		}
		return fmt.Errorf("openflow: %w", context.Cause(ctx))
	}
}

// Apply makes the changes in one atomic, ordered bundle and returns when they
// are in force. With an [*Error], which names the flow or group, the switch
// has none of them. When the context ends first it is unknown whether it has.
func (c *Conn) Apply(ctx context.Context, ch ovs.Changes) error {
	n := ch.Len()
	if n == 0 {
		return nil
	}
	r, xid, err := c.newRequest(n + 3)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.bundle++
	w := bundleWriter{id: c.bundle, xid: xid, about: r.about}
	c.mu.Unlock()
	w.control(bundleOpen, "bundle open")
	if err := w.changes(ch); err != nil {
		return err
	}
	w.control(bundleCommit, "bundle commit")
	r.about[w.xid] = "barrier"
	w.b = end(begin(w.b, typeBarrierRequest, w.xid), len(w.b))
	return c.do(ctx, r, w.b)
}

// A bundleWriter lays the messages of a bundle out (section 7.3.9).
type bundleWriter struct {
	b       []byte
	id, xid uint32
	about   map[uint32]string
}

const bundleFlags = bundleAtomic | bundleOrdered

func (w *bundleWriter) control(typ uint16, what string) {
	start := len(w.b)
	w.about[w.xid] = what
	w.b = be.AppendUint32(begin(w.b, typeBundleControl, w.xid), w.id)
	w.b = end(be.AppendUint16(be.AppendUint16(w.b, typ), bundleFlags), start)
	w.xid++
}

// add wraps the message that msg appends.
func (w *bundleWriter) add(what string, msg func(b []byte, xid uint32) ([]byte, error)) error {
	start := len(w.b)
	w.about[w.xid] = what
	w.b = be.AppendUint32(begin(w.b, typeBundleAdd, w.xid), w.id)
	w.b = be.AppendUint16(append(w.b, 0, 0), bundleFlags)
	var err error
	if w.b, err = msg(w.b, w.xid); err != nil {
		return err
	}
	if len(w.b)-start > maxLen {
		return fmt.Errorf("openflow: %s: does not fit a message", what)
	}
	w.b = end(w.b, start)
	w.xid++
	return nil
}

func (w *bundleWriter) changes(ch ovs.Changes) error {
	group := func(verb string, command uint16, g ovs.Group) error {
		return w.add(verb+" "+g.String(), func(b []byte, xid uint32) ([]byte, error) { return appendGroupMod(b, xid, command, g) })
	}
	flow := func(verb string, command uint8, f ovs.Flow) error {
		return w.add(verb+" "+f.String(), func(b []byte, xid uint32) ([]byte, error) { return appendFlowMod(b, xid, command, f) })
	}
	for _, g := range ch.GroupAdd {
		if err := group("add-group", groupAdd, g); err != nil {
			return err
		}
	}
	for _, g := range ch.GroupModify {
		if err := group("mod-group", groupModify, g); err != nil {
			return err
		}
	}
	for _, f := range ch.FlowAdd {
		if err := flow("add-flow", flowAdd, f); err != nil {
			return err
		}
	}
	for _, f := range ch.FlowDelete {
		if err := flow("del-flow", flowDeleteStrict, f); err != nil {
			return err
		}
	}
	for _, id := range ch.GroupDelete {
		if err := group("del-group", groupDelete, ovs.Group{ID: id}); err != nil {
			return err
		}
	}
	return nil
}

// Flows implements ovs.Switch.
func (c *Conn) Flows(ctx context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	stats, err := c.FlowStats(ctx, cookie, mask)
	flows := make([]ovs.Flow, len(stats))
	for i, s := range stats {
		flows[i] = s.Flow
	}
	return flows, err
}

// FlowStats returns the flows whose cookie equals cookie in the bits of mask,
// with their counters.
func (c *Conn) FlowStats(ctx context.Context, cookie, mask uint64) ([]FlowStat, error) {
	return multipart(ctx, c, "dump-flows", func(xid uint32) []byte { return appendFlowRequest(nil, xid, cookie, mask) }, readFlowStats)
}

// Groups implements ovs.Switch.
func (c *Conn) Groups(ctx context.Context) ([]ovs.Group, error) {
	return multipart(ctx, c, "dump-groups", func(xid uint32) []byte { return appendGroupRequest(nil, xid) }, readGroups)
}

func multipart[T any](ctx context.Context, c *Conn, what string, ask func(xid uint32) []byte, read func([]byte) ([]T, error)) ([]T, error) {
	r, xid, err := c.newRequest(1)
	if err != nil {
		return nil, err
	}
	r.about[xid] = what
	if err := c.do(ctx, r, ask(xid)); err != nil {
		return nil, err
	}
	var out []T
	for _, a := range r.answers {
		part, err := read(a)
		if err != nil {
			return nil, fmt.Errorf("openflow: %s: %w", what, err)
		}
		out = append(out, part...)
	}
	return out, nil
}

// nxtFlushZone is NXT_CT_FLUSH_ZONE.
const nxtFlushZone = 29

// FlushCTZone removes all connections of a conntrack zone.
func (c *Conn) FlushCTZone(ctx context.Context, zone uint16) error {
	r, xid, err := c.newRequest(2)
	if err != nil {
		return err
	}
	r.about[xid], r.about[xid+1] = fmt.Sprintf("flush of ct zone %d", zone), "barrier"
	b := be.AppendUint32(be.AppendUint32(begin(nil, typeExperimenter, xid), nicira), nxtFlushZone)
	b = end(be.AppendUint16(zeros(b, 6), zone), 0)
	b = end(begin(b, typeBarrierRequest, xid+1), len(b))
	return c.do(ctx, r, b)
}

// PacketOut sends a frame through actions, as if it came in by inPort
// (section 7.3.6).
func (c *Conn) PacketOut(ctx context.Context, inPort uint32, frame []byte, actions ...ovs.Action) error {
	r, xid, err := c.newRequest(2)
	if err != nil {
		return err
	}
	r.about[xid], r.about[xid+1] = "packet-out", "barrier"
	list, err := appendActions(nil, actions)
	if err != nil {
		return err
	}
	b := be.AppendUint32(begin(nil, typePacketOut, xid), noBuffer)
	b = append(be.AppendUint16(b, uint16(len(list))), 0, 0)
	b = appendMatch(b, ovs.NewMatch(ovs.InPort(inPort)))
	b = append(append(b, list...), frame...)
	if len(b) > maxLen {
		return fmt.Errorf("openflow: packet-out: %d bytes, a message holds %d", len(b), maxLen)
	}
	b = end(b, 0)
	b = end(begin(b, typeBarrierRequest, xid+1), len(b))
	return c.do(ctx, r, b)
}
