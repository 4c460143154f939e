package ovsdb

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// repeat writes a text over and over until the connection is closed, or more
// than a bound was taken, which fails the test.
func repeat(t *testing.T, conn net.Conn, first, again string, bound int) {
	if _, err := io.WriteString(conn, first); err != nil {
		return
	}
	block := []byte(strings.Repeat(again, 1+4096/len(again)))
	for sent := 0; ; sent += len(block) {
		if _, err := conn.Write(block); err != nil {
			return
		}
		if sent > bound {
			t.Errorf("the client took %d bytes of one message", sent)
			return
		}
	}
}

// A peer that sends without end is an error and a closed connection, and never
// holds more memory than a message may have.
func TestHostileStreams(t *testing.T) {
	const limit = 1 << 20
	for _, tc := range []struct {
		name, first, again string
		want               error
	}{
		{"endless string", `{"id":"`, "x", ErrTooLarge},
		{"endless escapes", `{"id":"`, `\"`, ErrTooLarge},
		{"endless array", `{"id":1,"result":[`, "1,", ErrTooLarge},
		{"endless number", `{"id":`, "1", ErrTooLarge},
		{"endless space in a message", `{`, " ", ErrTooLarge},
		{"endless objects", `{"id":1,"result":[`, "{},", ErrTooLarge},
		{"deep arrays", `{"id":`, "[", ErrTooLarge},
		{"deep objects", `{"id":`, `{"a":`, ErrTooLarge},
		{"too many closed", `]`, "]", ErrMalformed},
		{"a length before the message, 4 GiB", "\xff\xff\xff\xff{", "{", ErrMalformed},
		{"HTTP", "HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n", "{}", ErrMalformed},
		{"nothing but zeros", "\x00", "\x00", ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Config{MaxMessage: limit})
				go repeat(t, p.Conn, tc.first, tc.again, 2*limit)
				err := c.Wait()
				require.ErrorIs(t, err, tc.want)
				require.ErrorIs(t, err, ErrDisconnected)
				_, err = p.Conn.Write([]byte("{"))
				require.Error(t, err, "the connection is closed")
			})
		})
	}
}

// What a hostile peer can make a Client hold is a few times its bound.
func TestHostileMemory(t *testing.T) {
	const limit = 4 << 20
	near, far := net.Pipe()
	c := New(near, Config{MaxMessage: limit})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	repeat(t, far, `{"id":"`, "x", 2*limit)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, c.Wait(), ErrTooLarge)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*limit), "all that was ever allocated, freed or not")
}

// One byte a second is silence, though it never stops.
func TestSlowLoris(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c, p := connect(t, Config{Probe: 5 * time.Second})
		go func() { _, _ = io.Copy(io.Discard, p.Conn) }()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for b := range strings.SplitSeq(`{"id":"`+strings.Repeat("x", 1000), "") {
				if _, err := io.WriteString(p.Conn, b); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		require.ErrorContains(t, c.Wait(), "server is silent")
		require.LessOrEqual(t, time.Since(start), 15*time.Second)
		<-ended
	})
}

// A large reply that takes long, but goes on, is not silence.
func TestSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Config{Probe: 5 * time.Second})
		go func() { _, _ = io.Copy(io.Discard, p.Conn) }()
		go func() {
			p.write(`{"id":1,"result":["`)
			for range 60 {
				p.write("%s", strings.Repeat("x", 8<<10))
				time.Sleep(time.Second)
			}
			p.write(`"],"error":null}`)
		}()
		names, err := c.Databases(t.Context())
		require.NoError(t, err)
		require.Len(t, names[0], 60*8<<10)
	})
}

// A peer that does not read what it is sent ends the connection by the
// deadline for a write, and holds up nobody for longer.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c, _ := connect(t, Config{Probe: -1, WriteTimeout: 3 * time.Second})
		ended := make(chan error, 100)
		for range 100 { // more than the queue holds
			go func() { ended <- c.Echo(t.Context()) }()
		}
		for range 100 {
			require.ErrorIs(t, <-ended, ErrDisconnected)
		}
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

// Messages that are JSON but not what was asked for end in an error that says so.
func TestHostileReplies(t *testing.T) {
	for _, tc := range []struct{ method, result string }{
		{"list_dbs", `{"a":1}`},
		{"get_server_id", `"x"`},
		{"lock", `{"locked":"yes"}`},
		{"lock", `[]`},
	} {
		t.Run(fmt.Sprintf("%s %s", tc.method, tc.result), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Config{Probe: -1})
				go p.serve(func(string) string { return tc.result })
				var err error
				switch tc.method {
				case "list_dbs":
					_, err = c.Databases(t.Context())
				case "get_server_id":
					_, err = c.ServerID(t.Context())
				case "lock":
					_, err = c.Lock(t.Context(), "l")
				}
				require.ErrorIs(t, err, ErrMalformed)
				require.ErrorContains(t, err, tc.method)
			})
		})
	}
}
