package ovsdb

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// A Dialer opens a connection to a server. Any will do; Endpoint makes those
// that ovsdb-server(1) listens for.
type Dialer func(ctx context.Context) (net.Conn, error)

// Endpoint reads a remote as ovsdb(7) writes it, "unix:PATH", "tcp:HOST:PORT"
// or "ssl:HOST:PORT"; without a port it is 6640. For ssl the config says whom
// to trust and holds the client's certificate; ServerName, if "", is the host.
func Endpoint(remote string, config *tls.Config) (Dialer, error) {
	kind, addr, _ := strings.Cut(remote, ":")
	if addr == "" {
		return nil, fmt.Errorf("ovsdb: remote %q: want unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT", remote)
	}
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	network := "tcp"
	switch kind {
	case "unix":
		network = "unix"
	case "tcp":
		addr = withPort(addr)
	case "ssl":
		if config == nil {
			return nil, fmt.Errorf("ovsdb: remote %q: no TLS configuration", remote)
		}
		addr = withPort(addr)
		d = &tls.Dialer{Config: config}
	default:
		return nil, fmt.Errorf("ovsdb: remote %q: unknown kind %q", remote, kind)
	}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, addr) }, nil
}

// withPort adds the port that IANA gave OVSDB to a host without one.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), "6640")
}

// Connect makes a Client of what the Dialer opens. The context bounds the
// connecting only.
func Connect(ctx context.Context, dial Dialer, cfg Config) (*Client, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("ovsdb: %w: %w", ErrDisconnected, err)
	}
	return New(conn, cfg), nil
}

// Dial connects to a server: network "unix" and a socket's path, or "tcp" and
// host:port. The context bounds the connecting only.
func Dial(ctx context.Context, network, addr string, cfg Config) (*Client, error) {
	return Connect(ctx, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}, cfg)
}
