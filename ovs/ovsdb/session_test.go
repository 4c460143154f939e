package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// dialer gives a Session pipes, whose other ends the test plays.
type dialer struct {
	t     *testing.T
	mu    sync.Mutex
	err   error
	times []time.Time
	peers chan *peer
}

func newDialer(t *testing.T) *dialer { return &dialer{t: t, peers: make(chan *peer, 1)} }

func (d *dialer) dial(context.Context) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times = append(d.times, time.Now())
	if d.err != nil {
		return nil, d.err
	}
	near, far := net.Pipe()
	d.peers <- &peer{d.t, far, &framer{r: far, max: 1 << 20}}
	return near, nil
}

func (d *dialer) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// run starts a Session and returns what ends it and waits.
func run(t *testing.T, s *Session) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

// Times between attempts double up to the bound, each shortened at random.
func TestSessionBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t)
		d.fail(errors.New("no route"))
		s := NewSession(d.dial, SessionConfig{Backoff: time.Second, MaxBackoff: 8 * time.Second})
		_, err := s.Client()
		require.ErrorIs(t, err, ErrDisconnected, "before Run")
		stop := run(t, s)
		time.Sleep(60 * time.Second)
		d.mu.Lock()
		times := slices.Clone(d.times)
		d.mu.Unlock()
		for i := 1; i < len(times); i++ {
			full := min(time.Second<<(i-1), 8*time.Second)
			got := times[i].Sub(times[i-1])
			require.GreaterOrEqual(t, got, full/2, "attempt %d", i)
			require.LessOrEqual(t, got, full, "attempt %d", i)
		}
		require.Greater(t, len(times), 8)
		_, err = s.Transact(t.Context(), "db", Comment("x"))
		require.ErrorIs(t, err, ErrDisconnected)
		require.ErrorContains(t, err, "no route")
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = s.Ready(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no route")
		stop()
	})
}

const txnA, txnB = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb"

func row(name string) string {
	return fmt.Sprintf(`{"T":{%q:{"initial":{"name":%q}}}}`, idA, name)
}

// serveDB answers as a server whose monitor reply is given, and hands on what
// transaction it was asked from.
func serveDB(p *peer, since chan<- string, reply string) {
	for {
		text, err := p.f.read()
		if err != nil {
			return
		}
		m, err := parseMessage(text)
		if err != nil || m.Method == nil {
			continue
		}
		result := "{}"
		switch *m.Method {
		case "get_schema":
			result = testSchema
		case "monitor_cond_since":
			var params []any
			_ = json.Unmarshal(m.Params.rest(), &params)
			since <- fmt.Sprint(params[3])
			result = reply
		}
		fmt.Fprintf(p, `{"id":%s,"result":%s,"error":null}`, m.ID, result)
	}
}

// A Cache is never stale: it fails while there is no connection, then goes on
// from its last transaction, or reads all again when the server has forgotten it.
func TestSessionResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t)
		s := NewSession(d.dial, SessionConfig{Config: Config{Probe: -1}})
		stop := run(t, s)
		since := make(chan string, 1)
		p := <-d.peers
		go serveDB(p, since, `[false,"`+txnA+`",`+row("a")+`]`)
		require.NoError(t, s.Ready(t.Context()))
		k, err := s.Monitor(t.Context(), "db", TableMonitor{Table: "T", Indexes: []Index{{Column: "name"}}})
		require.NoError(t, err)
		require.Equal(t, zeroUUID, <-since)
		_, w, err := k.Watch(10)
		require.NoError(t, err)
		name := func() string {
			rows, err := k.Rows("T")
			require.NoError(t, err)
			require.Len(t, rows, 1)
			found, err := must(k.Snapshot()).Lookup(Index{Table: "T", Column: "name"}, rows[0]["name"])
			require.NoError(t, err)
			require.Len(t, found, 1, "the index follows")
			return found[0]["name"].(string)
		}
		require.Equal(t, "a", name())

		lose := func() *peer {
			p.Close()
			synctest.Wait()
			_, err := k.Rows("T")
			require.ErrorIs(t, err, ErrDisconnected, "never a stale answer")
			_, err = w.Next(t.Context())
			require.ErrorIs(t, err, ErrDisconnected)
			require.ErrorIs(t, k.WaitFor(t.Context(), func(View) (bool, error) { return true, nil }), ErrDisconnected)
			return <-d.peers
		}
		p = lose()
		go serveDB(p, since, `[true,"`+txnB+`",{"T":{"`+string(idA)+`":{"modify":{"name":"b"}}}}]`)
		require.Equal(t, txnA, <-since)
		require.NoError(t, s.Ready(t.Context()))
		require.Equal(t, "b", name())
		changes, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, changes, 1)
		require.Equal(t, "a", changes[0].Old["name"])
		require.Equal(t, "b", changes[0].New["name"])

		p = lose()
		go serveDB(p, since, `[false,"`+txnA+`",`+row("c")+`]`)
		require.Equal(t, txnB, <-since)
		require.NoError(t, s.Ready(t.Context()))
		require.Equal(t, "c", name())
		changes, err = w.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, changes, 1, "told once, as a change")
		require.Equal(t, "b", changes[0].Old["name"])

		p = lose() // the same again tells nothing
		go serveDB(p, since, `[false,"`+txnA+`",`+row("c")+`]`)
		<-since
		require.NoError(t, s.Ready(t.Context()))
		quiet, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Next(quiet)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// An update that breaks off in the middle is not a place to go on from.
		p.write(`{"method":"update3","id":null,"params":["m2","%s",{"T":{"x":{"insert":{}}}}]}`, txnB)
		p = <-d.peers
		go serveDB(p, since, `[false,"`+txnA+`",`+row("d")+`]`)
		id := <-since
		require.NoError(t, s.Ready(t.Context()))
		if id != zeroUUID {
			t.Fatalf("asked from %s after a broken update", id)
		}
		require.Equal(t, "d", name())
		require.NoError(t, k.Close(t.Context()))
		p.Close()
		p = <-d.peers
		go serveDB(p, since, "")
		require.NoError(t, s.Ready(t.Context()), "a closed Cache is not attached")
		stop()
		_, err = s.Client()
		require.ErrorIs(t, err, ErrDisconnected)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A connection whose setup fails is not shown to callers.
func TestSessionSetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t)
		type wrong struct {
			Tags string `ovsdb:"tags"`
		}
		s := NewSession(d.dial, SessionConfig{Config: Config{Probe: -1}, Setup: func(ctx context.Context, c *Client) error {
			schema, err := c.Schema(ctx, "db")
			if err == nil {
				_, err = TableOf[wrong](schema, "T")
			}
			return err
		}})
		stop := run(t, s)
		p := <-d.peers
		go serveDB(p, nil, "")
		synctest.Wait()
		_, err := s.Client()
		require.ErrorIs(t, err, ErrDisconnected)
		require.ErrorContains(t, err, `table "T": column "tags": it is a set`)
		stop()
	})
}
