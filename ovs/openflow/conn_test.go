package openflow_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
)

// A message is one on the wire.
type message struct {
	version, typ uint8
	xid          uint32
	body         []byte
}

func (m message) bytes() []byte {
	b := append([]byte{m.version, m.typ}, 0, 0)
	b = binary.BigEndian.AppendUint32(b, m.xid)
	b = append(b, m.body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func receive(r io.Reader) (message, error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return message{}, err
	}
	m := message{h[0], h[1], binary.BigEndian.Uint32(h[4:]), make([]byte, int(binary.BigEndian.Uint16(h[2:]))-8)}
	_, err := io.ReadFull(r, m.body)
	return m, err
}

// peer starts a connection to a switch that answers each message by answer,
// after the hello.
func peer(t *testing.T, cfg openflow.Config, answer func(w io.Writer, m message)) *openflow.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	go serve(theirs, answer)
	c, err := openflow.New(t.Context(), ours, cfg)
	require.NoError(t, err)
	return c
}

func TestEchoIsAnsweredAndUnaskedPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan message, 1)
		c := peer(t, openflow.Config{EchoInterval: -1}, func(w io.Writer, m message) {
			switch m.typ {
			case 20: // barrier: first ask back, and say things nobody asked for
				_, _ = w.Write(message{6, 12, 0, make([]byte, 72)}.bytes())
				_, _ = w.Write(message{6, 10, 0, []byte{1, 2, 3}}.bytes())
				_, _ = w.Write(message{6, 21, 999, nil}.bytes())
				_, _ = w.Write(message{6, 2, 77, []byte("ping")}.bytes())
				_, _ = w.Write(message{6, 21, m.xid, nil}.bytes())
			case 3:
				got <- m
			}
		})
		require.NoError(t, c.Barrier(t.Context()))
		require.Equal(t, message{6, 3, 77, []byte("ping")}, <-got)
		require.NoError(t, c.Close())
	})
}

func TestSilentSwitchIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := peer(t, openflow.Config{EchoInterval: time.Second}, func(w io.Writer, m message) {
			if asked++; m.typ == 2 && asked <= 5 {
				_, _ = w.Write(message{6, 3, m.xid, nil}.bytes())
			}
		})
		start := time.Now()
		_, err := c.Flows(t.Context(), 0, 0)
		require.ErrorIs(t, err, openflow.ErrClosed)
		require.ErrorIs(t, err, openflow.ErrSilent)
		require.Greater(t, time.Since(start), 8*time.Second, "while it answered it was kept")
		require.ErrorIs(t, c.Wait(), openflow.ErrSilent)
	})
}

func TestManyRequestsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		var held []message
		c := peer(t, openflow.Config{}, func(w io.Writer, m message) {
			if held = append(held, m); len(held) < n {
				return
			}
			for i := range held { // answered last to first
				m := held[n-1-i]
				body := make([]byte, 24)
				binary.BigEndian.PutUint64(body, uint64(m.xid))
				body[12] = 254
				_, _ = w.Write(message{6, 6, m.xid, body}.bytes())
			}
		})
		ids := make(chan uint64, n)
		for range n {
			go func() {
				f, err := c.Features(t.Context())
				if err != nil || f.Tables != 254 {
					f.DatapathID = 0
				}
				ids <- f.DatapathID
			}()
		}
		seen := map[uint64]bool{}
		for range n {
			seen[<-ids] = true
		}
		require.Len(t, seen, n)
		require.False(t, seen[0])
		require.NoError(t, c.Close())
	})
}

func TestAbandonedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late message
		c := peer(t, openflow.Config{EchoInterval: -1}, func(w io.Writer, m message) {
			if m.typ == 18 {
				late = m
				return
			}
			_, _ = w.Write(message{6, 1, late.xid, []byte{0, 1, 0, 1}}.bytes())
			_, _ = w.Write(message{6, 21, m.xid, nil}.bytes())
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Groups(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "dump-groups")
		require.NoError(t, c.Barrier(t.Context()), "a late answer disturbs nobody")
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.Barrier(t.Context()), openflow.ErrClosed)
	})
}

// TestSwitchThatDoesNotRead stalls a write; others give up by their context,
// and the connection ends after the write's timeout.
func TestSwitchThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		c := peer(t, openflow.Config{EchoInterval: -1, Timeout: time.Minute}, func(io.Writer, message) { <-stuck })
		failed := make(chan error)
		for range 2 { // the first is read, the second stalls
			go func() { failed <- c.Barrier(t.Context()) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Barrier(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, <-failed, openflow.ErrClosed)
		require.ErrorIs(t, <-failed, openflow.ErrClosed)
		close(stuck)
		<-c.Done()
	})
}

func TestMalformedEndsTheConnection(t *testing.T) {
	for name, reply := range map[string][]byte{
		"length":    {6, 21, 0, 7, 0, 0, 0, 1},
		"version":   {4, 21, 0, 8, 0, 0, 0, 1},
		"error":     {6, 1, 0, 9, 0, 0, 0, 1, 0},
		"multipart": {6, 19, 0, 9, 0, 0, 0, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := peer(t, openflow.Config{}, func(w io.Writer, _ message) { _, _ = w.Write(reply) })
			err := c.Barrier(t.Context())
			require.ErrorIs(t, err, openflow.ErrClosed, name)
			require.ErrorIs(t, err, openflow.ErrMalformed, name)
			<-c.Done()
		})
	}
}

func TestErrorsAreMatchedToTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flows := []ovs.Flow{{Priority: 1}, {Priority: 2}, {Priority: 3}}
		c := peer(t, openflow.Config{}, func(w io.Writer, m message) {
			switch {
			case m.typ == 34 && m.xid == 3: // the second flow
				_, _ = w.Write(message{6, 1, m.xid, []byte{0, 4, 0, 9, 1, 2, 3}}.bytes())
			case m.typ == 33 && m.body[5] == 4:
				_, _ = w.Write(message{6, 1, m.xid, []byte{0, 17, 0, 13}}.bytes())
			case m.typ == 20:
				_, _ = w.Write(message{6, 21, m.xid, nil}.bytes())
			}
		})
		err := c.Apply(t.Context(), ovs.Changes{FlowAdd: flows})
		var refused *openflow.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, openflow.Error{Type: 4, Code: 9, About: "add-flow " + flows[1].String()}, *refused)
		require.EqualError(t, err, "openflow: switch refused add-flow table=0,priority=2 actions=drop: bad match, prerequisite is missing (type 4, code 9)")
		require.NoError(t, c.Close())
	})
}

func TestHandshake(t *testing.T) {
	bitmap := func(bits uint32) []byte {
		return binary.BigEndian.AppendUint32([]byte{0, 1, 0, 8}, bits)
	}
	for name, c := range map[string]struct {
		hello message
		want  string
	}{
		"1.5":               {message{6, 0, 0, nil}, ""},
		"bitmap":            {message{4, 0, 0, bitmap(1<<6 | 1<<4)}, ""},
		"later":             {message{9, 0, 0, bitmap(1<<9 | 1<<6)}, ""},
		"1.3":               {message{4, 0, 0, nil}, ""},
		"old":               {message{3, 0, 0, nil}, "the switch speaks OpenFlow 1.0, OpenFlow 1.1, OpenFlow 1.2, want one of OpenFlow 1.3"},
		"bitmap without":    {message{6, 0, 0, bitmap(1 << 1)}, "speaks OpenFlow 1.0, want"},
		"error":             {message{1, 1, 0, []byte{0, 0, 0, 0}}, "speaks none of OpenFlow 1.3, OpenFlow 1.4, OpenFlow 1.5"},
		"not hello":         {message{6, 21, 0, nil}, "before hello"},
		"element cut short": {message{6, 0, 0, []byte{0, 1, 0, 99}}, "malformed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go func() {
				_, _ = receive(theirs)
				_, _ = theirs.Write(c.hello.bytes())
			}()
			conn, err := openflow.New(t.Context(), ours, openflow.Config{EchoInterval: -1})
			if c.want == "" {
				require.NoError(t, err, name)
				require.NoError(t, conn.Close())
				return
			}
			require.ErrorContains(t, err, c.want, name)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("too slow"))
		defer cancel()
		_, err := openflow.New(ctx, ours, openflow.Config{})
		require.ErrorContains(t, err, "too slow")
	})
}
