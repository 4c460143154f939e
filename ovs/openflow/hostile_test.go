package openflow_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
)

// multipartReply is a part of the answer to a dump.
func multipartReply(xid uint32, kind, flags uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, kind), flags)
	return message{6, 19, xid, append(append(b, 0, 0, 0, 0), body...)}.bytes()
}

// control is a bundle control message of a kind.
func control(xid uint32, kind byte) []byte {
	return message{6, 33, xid, []byte{0, 0, 0, 1, 0, kind, 0, 3}}.bytes()
}

// obey answers as a switch does that takes everything.
func obey(w io.Writer, m message) {
	switch {
	case m.typ == 20:
		_, _ = w.Write(message{6, 21, m.xid, nil}.bytes())
	case m.typ == 2:
		_, _ = w.Write(message{6, 3, m.xid, m.body}.bytes())
	case m.typ == 33 && m.body[5]%2 == 0:
		_, _ = w.Write(control(m.xid, m.body[5]+1))
	}
}

var requests = map[string]func(ctx context.Context, c *openflow.Conn) error{
	"barrier":  func(ctx context.Context, c *openflow.Conn) error { return c.Barrier(ctx) },
	"features": func(ctx context.Context, c *openflow.Conn) error { _, err := c.Features(ctx); return err },
	"flows":    func(ctx context.Context, c *openflow.Conn) error { _, err := c.Flows(ctx, 0, 0); return err },
	"groups":   func(ctx context.Context, c *openflow.Conn) error { _, err := c.Groups(ctx); return err },
	"apply": func(ctx context.Context, c *openflow.Conn) error {
		return c.Apply(ctx, ovs.Changes{FlowAdd: []ovs.Flow{{Priority: 1}}})
	},
	"bulk": func(ctx context.Context, c *openflow.Conn) error {
		_, err := c.AddFlows(ctx, typicals(2000))
		return err
	},
}

// TestWrongAnswersEndTheConnection answers every request with what no switch
// answers it; the first message has transaction id 1.
func TestWrongAnswersEndTheConnection(t *testing.T) {
	for _, c := range []struct {
		request, name string
		reply         []byte
	}{
		{"flows", "barrier", message{6, 21, 1, nil}.bytes()},
		{"flows", "features", message{6, 6, 1, make([]byte, 24)}.bytes()},
		{"flows", "another kind", multipartReply(1, 7, 0, nil)},
		{"flows", "entry of length 0", multipartReply(1, 1, 0, make([]byte, 32))},
		{"flows", "entry longer than the message", multipartReply(1, 1, 0, []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0})},
		{"groups", "flows", multipartReply(1, 1, 0, nil)},
		{"barrier", "multipart", multipartReply(1, 1, 0, nil)},
		{"barrier", "hello", message{6, 0, 1, nil}.bytes()},
		{"barrier", "a request", message{6, 20, 1, nil}.bytes()},
		{"barrier", "length 0", []byte{6, 21, 0, 0, 0, 0, 0, 1}},
		{"barrier", "another version", message{1, 21, 1, nil}.bytes()},
		{"features", "cut short", message{6, 6, 1, make([]byte, 23)}.bytes()},
		{"features", "error cut short", message{6, 1, 1, []byte{0, 1, 0}}.bytes()},
		{"apply", "barrier", message{6, 21, 1, nil}.bytes()},
		{"apply", "committed before it is open", control(1, 5)},
		{"apply", "open after all", control(3, 1)},
		{"apply", "open of the flow", control(2, 1)},
		{"apply", "cut short", message{6, 33, 3, []byte{0, 0, 0, 1}}.bytes()},
		{"bulk", "refusal of what was not sent", message{6, 1, 900, []byte{0, 4, 0, 9}}.bytes()},
	} {
		synctest.Test(t, func(t *testing.T) {
			what := c.name + " to " + c.request
			conn := peer(t, openflow.Config{}, func(w io.Writer, _ message) { _, _ = w.Write(c.reply) })
			err := requests[c.request](t.Context(), conn)
			require.ErrorIs(t, err, openflow.ErrMalformed, what)
			if c.name[:5] != "entry" { // what is in an entry harms one dump only
				require.ErrorIs(t, err, openflow.ErrClosed, what)
				require.ErrorIs(t, conn.Wait(), openflow.ErrMalformed, what)
			}
			require.NoError(t, conn.Close())
		})
	}
}

func TestEndlessReplyIsBounded(t *testing.T) {
	port := append([]byte{0, 0, 0, 1, 0, 40}, make([]byte, 34)...)
	for name, body := range map[string][]byte{"full": bytes.Repeat(port, 1600), "empty": nil} {
		synctest.Test(t, func(t *testing.T) {
			var sent atomic.Int64
			c := peer(t, openflow.Config{MaxReply: 1 << 20}, func(w io.Writer, m message) {
				for b := multipartReply(m.xid, 13, 1, body); ; sent.Add(int64(len(b))) {
					if _, err := w.Write(b); err != nil {
						return
					}
				}
			})
			_, err := c.PortDesc(t.Context())
			require.ErrorIs(t, err, openflow.ErrClosed, name)
			require.ErrorContains(t, err, "dump-ports-desc: malformed message: reply of more than 1048576 bytes", name)
			require.NoError(t, c.Close())
			require.Less(t, sent.Load(), int64(2<<20), name)
		})
	}
}

func TestHalfMessages(t *testing.T) {
	claim := []byte{6, 21, 0xff, 0xff, 0, 0, 0, 1} // of 65,535 bytes
	for name, c := range map[string]struct {
		behave func(w io.WriteCloser)
		want   error
	}{
		"half a header, end":  {func(w io.WriteCloser) { _, _ = w.Write(claim[:4]); _ = w.Close() }, io.ErrUnexpectedEOF},
		"half a message, end": {func(w io.WriteCloser) { _, _ = w.Write(append(claim, make([]byte, 999)...)); _ = w.Close() }, io.ErrUnexpectedEOF},
		"end":                 {func(w io.WriteCloser) { _ = w.Close() }, io.EOF},
		"half a header":       {func(w io.WriteCloser) { _, _ = w.Write(claim[:4]) }, openflow.ErrSilent},
		"half a message":      {func(w io.WriteCloser) { _, _ = w.Write(append(claim, make([]byte, 999)...)) }, openflow.ErrSilent},
		"a byte a second": {func(w io.WriteCloser) {
			for _, x := range append(claim, make([]byte, 60000)...) {
				if _, err := w.Write([]byte{x}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, openflow.ErrSilent},
	} {
		synctest.Test(t, func(t *testing.T) {
			var behaving sync.WaitGroup
			conn := peer(t, openflow.Config{}, func(w io.Writer, m message) {
				if m.typ == 20 {
					behaving.Go(func() { c.behave(w.(io.WriteCloser)) })
				}
			})
			start := time.Now()
			err := conn.Barrier(t.Context())
			require.ErrorIs(t, err, openflow.ErrClosed, name)
			require.ErrorIs(t, err, c.want, name)
			require.LessOrEqual(t, time.Since(start), time.Minute, name)
			require.NoError(t, conn.Close())
			behaving.Wait()
		})
	}
}

func TestHandshakeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		var dripping sync.WaitGroup
		dripping.Go(func() {
			_, _ = receive(theirs)
			for _, err := theirs.Write([]byte{6, 0, 0xff, 0xff}); err == nil; _, err = theirs.Write([]byte{0}) {
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		_, err := openflow.New(t.Context(), ours, openflow.Config{Timeout: 5 * time.Second})
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))
		dripping.Wait()
	})
}

// TestFloods has a switch that says more than anybody can answer.
func TestFloods(t *testing.T) {
	for name, flood := range map[string][]byte{
		"echo requests": message{6, 2, 5, make([]byte, 1000)}.bytes(),
		"port status":   message{6, 12, 0, make([]byte, 72)}.bytes(),
		"late answers":  message{6, 21, 999, nil}.bytes(),
		"late refusals": message{6, 1, 999, make([]byte, 70)}.bytes(),
	} {
		synctest.Test(t, func(t *testing.T) {
			c := peer(t, openflow.Config{}, func(w io.Writer, m message) {
				if m.typ != 20 {
					return
				}
				for range 5000 { // without reading, as our answers pile up
					_, _ = w.Write(flood)
				}
				obey(w, m)
			})
			require.NoError(t, c.Barrier(t.Context()), name)
			require.NoError(t, c.Barrier(t.Context()), name)
			require.NoError(t, c.Close())
		})
	}
}

// TestContextEndsAWrite ends a context in the middle of a message. The rest of
// it follows when the switch reads again, and the connection goes on.
func TestContextEndsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Bool
		stuck.Store(true)
		resume := make(chan struct{})
		whole := 0
		c := peer(t, openflow.Config{EchoInterval: -1}, func(w io.Writer, m message) {
			if m.typ == 34 {
				whole++
			}
			if m.typ == 33 && stuck.Swap(false) {
				<-resume
			}
			obey(w, m)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Apply(ctx, ovs.Changes{FlowAdd: make([]ovs.Flow, 5)})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, whole)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Barrier(ctx), context.DeadlineExceeded, "the first still writes")
		close(resume)
		require.NoError(t, c.Barrier(t.Context()))
		require.Equal(t, 5, whole)
		require.NoError(t, c.Close())
	})
}

// TestNothingIsLeft counts goroutines and descriptors after peers that fail in
// every way.
func TestNothingIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer listener.Close()
	answers := [][]byte{nil, {6, 0}, {6, 0, 0, 3, 0, 0, 0, 0}, message{6, 0, 0, nil}.bytes(),
		append(message{6, 0, 0, nil}.bytes(), 6, 21, 0, 99), append(message{6, 0, 0, nil}.bytes(), message{6, 19, 1, nil}.bytes()...)}
	serve := func(i int) {
		nc, err := listener.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = nc.Write(answers[i%len(answers)])
		_, _ = receive(nc) // hello
		_, _ = receive(nc) // and perhaps a request
	}
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	for i := range 10 * len(answers) {
		served := make(chan struct{})
		go func() { defer close(served); serve(i) }()
		nc, err := net.Dial("unix", path) // without an end: somebody waits for it
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		c, err := openflow.New(ctx, nc, openflow.Config{})
		if err == nil {
			_, err = c.Flows(ctx, 0, 0)
			_ = c.Close()
		}
		cancel()
		require.Error(t, err)
		<-served
	}
	// Counted here, since require.Eventually has a goroutine of its own.
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines || descriptors() > fds; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "%d goroutines and %d descriptors of %d and %d", runtime.NumGoroutine(), descriptors(), goroutines, fds)
	}
}

// TestBulkStopsAtARefusal has a switch that refuses one flow of 4,500.
func TestBulkStopsAtARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adds, bad, controls := 0, uint32(0), map[byte]int{}
		c := peer(t, openflow.Config{EchoInterval: -1}, func(w io.Writer, m message) {
			switch {
			case m.typ == 34:
				if adds++; adds == 2500 {
					bad = m.xid
					_, _ = w.Write(message{6, 1, m.xid, []byte{0, 5, 0, 1}}.bytes())
				}
				return
			case m.typ == 33:
				if controls[m.body[5]]++; m.body[5] == 4 && bad != 0 {
					_, _ = w.Write(message{6, 1, m.xid, []byte{0, 17, 0, 13}}.bytes())
					return
				}
			}
			obey(w, m)
		})
		n, err := c.AddFlows(t.Context(), func(yield func(ovs.Flow) bool) {
			for i := range 4500 {
				if !yield(ovs.Flow{Priority: uint16(i)}) {
					return
				}
			}
		})
		var refused *openflow.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 2000, n)
		require.Equal(t, "add-flow table=0,priority=2499 actions=drop", refused.About)
		require.NoError(t, c.Barrier(t.Context()))
		synctest.Wait() // what is to be discarded is nobody's to wait for
		require.Equal(t, map[byte]int{0: 4, 4: 3, 6: 1}, controls, "the fourth bundle is discarded")
		require.NoError(t, c.Close())
	})
}

// TestBulkNeedsLittle streams to a switch that takes everything.
func TestBulkNeedsLittle(t *testing.T) {
	ours, theirs := net.Pipe()
	go serveObedient(theirs)
	c, err := openflow.New(t.Context(), ours, openflow.Config{})
	require.NoError(t, err)
	defer c.Close()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := uint64(0)
	n, err := c.AddFlows(t.Context(), func(yield func(ovs.Flow) bool) {
		for i := range 60000 {
			if i%10000 == 9999 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			if !yield(typical(i)) {
				return
			}
		}
	})
	require.NoError(t, err)
	require.Equal(t, 60000, n)
	require.Less(t, most, before.HeapAlloc+8<<20)
}

func serveObedient(nc net.Conn) { serve(nc, obey) }

// serve is a switch that answers each message by answer, after the hello.
func serve(nc net.Conn, answer func(w io.Writer, m message)) {
	defer nc.Close()
	if _, err := receive(nc); err != nil {
		return
	}
	_, _ = nc.Write(message{version: 6}.bytes())
	r := bufio.NewReader(nc)
	for m, err := receive(r); err == nil; m, err = receive(r) {
		answer(nc, m)
	}
}

// TestApplyInManyBundles holds what is said of changes beyond the limit.
func TestApplyInManyBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kinds []string
		c := peer(t, openflow.Config{AtomicLimit: 10}, func(w io.Writer, m message) {
			if m.typ == 33 {
				kinds = append(kinds, fmt.Sprint(m.body[5]))
			}
			obey(w, m)
		})
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: make([]ovs.Flow, 10)}))
		require.Equal(t, []string{"0", "4"}, kinds)
		kinds = nil
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: make([]ovs.Flow, 1001), GroupDelete: []uint32{1, 2}}))
		require.Equal(t, []string{"0", "4", "0", "4"}, kinds)
		require.NoError(t, c.Close())
	})
}

// TestEventsThatCannotBeRead are told to the subscriber, who goes on; a
// transaction id that a request has does not make them answers.
func TestEventsThatCannotBeRead(t *testing.T) {
	port := append([]byte{0, 0, 0, 1, 0, 40}, make([]byte, 34)...)
	synctest.Test(t, func(t *testing.T) {
		c := peer(t, openflow.Config{EchoInterval: -1}, func(w io.Writer, m message) {
			if m.typ == 20 && m.xid > 4 { // after those of Subscribe
				_, _ = w.Write(message{6, 12, m.xid, []byte{0}}.bytes())
				_, _ = w.Write(message{6, 10, m.xid, make([]byte, 20)}.bytes())
				_, _ = w.Write(message{6, 4, m.xid, []byte{0, 0, 0x23, 0x20, 0, 0, 0, 30, 0, 0, 0, 99}}.bytes())
				_, _ = w.Write(message{6, 4, 0, []byte{0, 0, 0x23, 0x20, 0, 0, 0, 99}}.bytes())
				_, _ = w.Write(message{6, 12, m.xid, append(make([]byte, 8), port...)}.bytes())
			}
			obey(w, m)
		})
		s, err := c.Subscribe(t.Context(), 10)
		require.NoError(t, err)
		require.NoError(t, c.Barrier(t.Context()))
		for range 3 {
			_, err := s.Next(t.Context())
			require.ErrorIs(t, err, openflow.ErrMalformed)
		}
		e, err := s.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, openflow.PortStatus{Port: openflow.Port{Number: 1}}, e)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		c := peer(t, openflow.Config{}, obey)
		_, err := c.Subscribe(t.Context(), 0)
		require.ErrorContains(t, err, "a queue of 0")
		require.NoError(t, c.Close())
		_, err = c.Subscribe(t.Context(), 1)
		require.ErrorIs(t, err, openflow.ErrClosed)
	})
}
