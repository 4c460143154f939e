// Package loopback gives tests addresses to listen on.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Address returns host:port of this machine where nobody listens, and nobody
// but the caller will. The host is any of 127.0.0.0/8 (RFC 1122, 3.2.1.3), not
// 127.0.0.1: there the kernel may give a port that is free to another program's
// connection before the caller listens on it, or between two times that it does.
func Address(t testing.TB) string {
	t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
