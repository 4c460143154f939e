package cni

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// DefaultSocket is where the agent listens unless told otherwise.
const DefaultSocket = "/run/tierloom/cni.sock"

// ClientConfig holds the options of a Client. The zero value is good.
type ClientConfig struct {
	// MaxMessage bounds a message in bytes; 0 means 4 MiB.
	MaxMessage int
	// DialTimeout bounds the connection attempt; 0 means 5 s.
	DialTimeout time.Duration
}

// Client sends requests to an agent, one connection for each. It must be made
// by NewClient.
type Client struct {
	socket string
	cfg    ClientConfig
}

// NewClient returns a client of the agent that listens on socket.
func NewClient(socket string, cfg ClientConfig) *Client {
	cfg.MaxMessage = orDefault(cfg.MaxMessage, defaultMaxMessage)
	cfg.DialTimeout = orDefault(cfg.DialTimeout, 5*time.Second)
	return &Client{socket: socket, cfg: cfg}
}

// Do sends one request and waits for its reply or the end of ctx, which also
// cancels the handler in the agent. The result is nil where the agent had
// none to give. Errors are the agent's *Error, or wrap ErrUnavailable,
// ErrProtocol, ErrTooLarge or the error of ctx.
func (c *Client) Do(ctx context.Context, req *Request) (*Result, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	res, err := c.do(ctx, req)
	var said *Error
	switch {
	case err == nil || errors.As(err, &said):
		return res, err
	case ctx.Err() != nil:
		err = ctx.Err()
	case !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrTooLarge):
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil, fmt.Errorf("cni: %s via %s: %w", req.Command, c.socket, err)
}

func (c *Client) do(ctx context.Context, req *Request) (*Result, error) {
	d := net.Dialer{Timeout: c.cfg.DialTimeout}
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	// A refused peer may be answered before it has sent all: a failed write
	// is only reported if there is nothing to read either.
	werr := writeLine(conn, call{Protocol: protocolVersion, Request: req}, c.cfg.MaxMessage)
	if errors.Is(werr, ErrTooLarge) {
		return nil, werr
	}
	line, err := readLine(bufio.NewReader(conn), c.cfg.MaxMessage)
	if err != nil {
		return nil, errors.Join(werr, err)
	}
	return decodeReply(line)
}
