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
	// Versions are those to offer; the latest that the switch speaks too is
	// taken. None means all: OpenFlow 1.3, 1.4 and 1.5.
	Versions []Version
	// Timeout bounds the handshake, and how long the switch may leave what is
	// sent unread (a quarter of it longer at most). Zero means 30 seconds.
	Timeout time.Duration
	// EchoInterval is how long the switch may be silent before it is asked
	// for a sign of life; after three such intervals without a whole message
	// the connection is closed. Zero means 10 seconds, negative never: then a
	// switch that stops in the middle of a message is waited for.
	EchoInterval time.Duration
	// MaxReply bounds the bytes that answer one request; a switch that sends
	// more loses the connection. Zero means 256 MiB, which is about a million
	// flows.
	MaxReply int
	// AtomicLimit is the most messages that [Conn.Apply] sends in one bundle.
	// Zero means 50,000.
	AtomicLimit int
}

func (cfg Config) withDefaults() Config {
	if len(cfg.Versions) == 0 {
		cfg.Versions = []Version{OpenFlow13, OpenFlow14, OpenFlow15}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.EchoInterval == 0 {
		cfg.EchoInterval = 10 * time.Second
	}
	if cfg.MaxReply <= 0 {
		cfg.MaxReply = 256 << 20
	}
	if cfg.AtomicLimit <= 0 {
		cfg.AtomicLimit = 50000
	}
	return cfg
}

// A Conn is a connection to a bridge. Make one with [Dial] or [New]. All its
// methods may be called at once. It implements ovs.Switch.
type Conn struct {
	nc      net.Conn
	cfg     Config
	version Version

	br         *bufio.Reader
	turn       chan struct{} // holds a token while somebody reads; protects br
	background atomic.Bool   // it is the background that reads
	leads      atomic.Uint64 // how often a caller began to read
	writing    chan struct{} // holds a token while somebody writes
	writes     atomic.Uint64 // begun and ended; odd while one is under way

	asides chan []byte   // messages for keep to send
	quit   chan struct{} // closed by fail
	done   chan struct{} // closed when all goroutines have ended
	heard  atomic.Bool   // a message came since the last tick
	wg     sync.WaitGroup

	mu          sync.Mutex // protects what follows
	xid         uint32     // the last one used
	bundle      uint32
	pending     []*request
	subscribers []*Subscription
	err         error // why the connection ended
}

var _ ovs.Switch = (*Conn)(nil)

// Dial connects to a bridge: network "unix" with the path of its management
// socket, or "tcp". The context bounds the connection and the handshake.
func Dial(ctx context.Context, network, addr string, cfg Config) (*Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("openflow: %w", err)
	}
	return New(ctx, nc, cfg)
}

// New makes a connection of nc, such as a tls.Conn, which it owns from then on,
// and agrees on a version. The connection must be able to go on after a read
// deadline. Over TLS, a context that ends in the middle of a write ends the
// connection: TLS cannot go on after a write deadline.
func New(ctx context.Context, nc net.Conn, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	c := &Conn{
		nc: nc, cfg: cfg, br: bufio.NewReaderSize(nc, readBuffer),
		turn: make(chan struct{}, 1), writing: make(chan struct{}, 1), asides: make(chan []byte, 16),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	_ = nc.SetDeadline(time.Now().Add(cfg.Timeout))
	// The deadline of the past also ends a handshake that begins after it.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(past) })
	err := c.handshake()
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("openflow: handshake: %w", err)
	}
	_ = nc.SetDeadline(time.Time{})
	c.wg.Go(c.listen)
	c.wg.Go(c.keep)
	c.wg.Go(c.watch)
	return c, nil
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

// fail ends the connection and every request. Done follows when the
// goroutines have noticed.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("openflow: %w: %w", ErrClosed, err)
	close(c.quit)
	_ = c.nc.Close()
	for len(c.pending) > 0 {
		c.finishLocked(c.pending[0], c.err)
	}
	go func() {
		c.wg.Wait()
		close(c.done)
	}()
}
