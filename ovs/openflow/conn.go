package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// Config tunes a [Conn]. The zero value is good.
type Config struct {
	// WriteTimeout bounds how long the switch may leave what is sent unread.
	// Zero means 30 seconds.
	WriteTimeout time.Duration
	// EchoInterval is how long the switch may be silent before it is asked
	// for a sign of life; after three such intervals the connection is
	// closed. Zero means 10 seconds, negative never.
	EchoInterval time.Duration
}

// A Conn is a connection to a bridge. Make one with [Dial] or [New]. All its
// methods may be called at once. It implements ovs.Switch.
type Conn struct {
	nc  net.Conn
	cfg Config

	out   chan []byte   // to the writer
	echo  chan []byte   // replies to echo requests; what does not fit is dropped
	quit  chan struct{} // closed by fail
	done  chan struct{} // closed when reader and writer have ended
	heard atomic.Bool   // a message came since the last tick

	mu      sync.Mutex // protects what follows
	xid     uint32     // the last one used
	bundle  uint32
	pending []*request
	err     error // why the connection ended
}

var _ ovs.Switch = (*Conn)(nil)

// ErrSilent says that the switch did not answer for too long.
var ErrSilent = errors.New("switch is silent")

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
	if cfg.EchoInterval == 0 {
		cfg.EchoInterval = 10 * time.Second
	}
	c := &Conn{
		nc: nc, cfg: cfg,
		out: make(chan []byte), echo: make(chan []byte, 16),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	// The deadline of the past also ends a handshake that begins after it.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	br := bufio.NewReaderSize(nc, 64<<10)
	err := c.handshake(br)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("openflow: handshake: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.read(br) })
	wg.Go(c.write)
	go func() {
		wg.Wait()
		close(c.done)
	}()
	return c, nil
}

// handshake exchanges hellos (section 6.3.1). The version bitmap says 1.5.
func (c *Conn) handshake(br *bufio.Reader) error {
	b := begin(nil, typeHello, 0)
	b = be.AppendUint32(append(b, 0, 1, 0, 8), 1<<version)
	if _, err := c.nc.Write(end(b, 0)); err != nil {
		return err
	}
	h, body, err := readMessage(br)
	switch {
	case err != nil:
		return err
	case h.typ == typeError:
		return errors.New("the switch does not speak OpenFlow 1.5 (is it in the bridge's protocols?)")
	case h.typ != typeHello:
		return malformed("message of type %d before hello", h.typ)
	}
	theirs, err := readVersions(h, body)
	if err == nil && theirs&(1<<version) == 0 {
		err = fmt.Errorf("the switch speaks wire versions %#b, which lacks bit %d: OpenFlow 1.5 must be in the bridge's protocols", theirs, version)
	}
	return err
}

// readVersions returns a bit for each wire version that a hello offers. One
// without a bitmap offers all up to its header's.
func readVersions(h header, body []byte) (uint32, error) {
	r := reader{b: body}
	for len(r.b) > 0 {
		typ, n := r.u16(), int(r.u16())
		element := r.sub(n - 4)
		r.skip(min((8-n%8)%8, len(r.b)))
		if r.bad {
			return 0, malformed("element of hello of length %d", n)
		}
		if typ == 1 {
			return element.u32(), nil
		}
	}
	return uint32(1)<<(min(h.version, 30)+1) - 1, nil
}

// Close ends the connection and waits for its goroutines.
func (c *Conn) Close() error {
	c.fail(errors.New("by us"))
	<-c.done
	return nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Wait returns when the connection has ended, with the reason, an [ErrClosed].
func (c *Conn) Wait() error {
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
