package ovsdb_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

const eventsSchema = `{"name": "Events", "version": "1.0.0", "tables": {"Event": {"isRoot": true,
	"columns": {"name": {"type": "string"}, "n": {"type": "integer"}}}}}`

// startCluster runs an ovsdb-server with a clustered database of one server,
// which, other than a standalone one, remembers its transactions, and returns
// its socket.
func startCluster(t *testing.T) string {
	t.Helper()
	ovstest.Require(t, "ovs")
	dir, err := os.MkdirTemp("", "tlraft") // short: the path of a socket has a limit
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("schema"), []byte(eventsSchema), 0o644))
	out, err := exec.Command("ovsdb-tool", "create-cluster", path("db"), path("schema"), "unix:"+path("raft")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	server := exec.Command("ovsdb-server", path("db"), "--remote=punix:"+path("sock"), "--unixctl="+path("ctl"), "--log-file="+path("log"), "-vconsole:off")
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	return path("sock")
}

// A tap is a connection that keeps what it reads.
type tap struct {
	net.Conn
	mu   sync.Mutex
	read bytes.Buffer
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Write(p[:n])
	return n, err
}

func (c *tap) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.String()
}

// A server that remembers its transactions is asked from the last one that the
// Cache knows: after a cut it finds it, and sends what was missed and nothing else.
func TestResumeFromTransaction(t *testing.T) {
	sock := startCluster(t)
	ctx := within(t)
	taps, open := make(chan *tap, 8), make(chan struct{}, 8)
	open <- struct{}{}
	s := ovsdb.NewSession(func(ctx context.Context) (net.Conn, error) {
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", sock)
		if err != nil {
			open <- struct{}{} // it starts still
			return nil, err
		}
		c := &tap{Conn: conn}
		taps <- c
		return c, nil
	}, ovsdb.SessionConfig{Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	defer func() {
		stop()
		<-ended
	}()
	require.NoError(t, s.Ready(ctx))
	conn := <-taps

	other, err := ovsdb.Dial(ctx, "unix", sock, ovsdb.Config{})
	require.NoError(t, err)
	defer other.Close()
	transact := func(ops ...ovsdb.Operation) []ovsdb.Result {
		t.Helper()
		results, err := other.Transact(ctx, "Events", ops...)
		require.NoError(t, err)
		return results
	}
	insert := func(name string, n int) ovsdb.Operation {
		return ovsdb.Insert("Event", "", ovsdb.Row{"name": name, "n": n})
	}
	var ops []ovsdb.Operation
	for i := range 100 {
		ops = append(ops, insert(fmt.Sprintf("old-%d", i), i))
	}
	// A server of a cluster takes no transaction before it is the leader.
	require.Eventually(t, func() bool {
		_, err := other.Transact(ctx, "Events", ovsdb.Comment("ready"))
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	old := transact(ops...)
	byName := ovsdb.Index{Table: "Event", Column: "name"}
	k, err := s.Monitor(ctx, "Events", ovsdb.TableMonitor{Table: "Event", Indexes: []ovsdb.Index{byName}})
	require.NoError(t, err)
	require.Contains(t, conn.text(), "old-99")
	_, w, err := k.Watch(100, "Event")
	require.NoError(t, err)
	defer w.Close()
	named := func(row ovsdb.Row) string { return fmt.Sprint(row["name"], " ", row["n"]) }

	for round := range 3 {
		// Something that the Cache sees, so that the transaction it knows last is a later one.
		transact(insert(fmt.Sprintf("seen-%d", round), 0))
		require.NoError(t, k.WaitFor(ctx, func(v ovsdb.View) (bool, error) {
			rows, err := v.Lookup(byName, fmt.Sprintf("seen-%d", round))
			return len(rows) == 1, err
		}))
		seen, err := w.Next(ctx)
		require.NoError(t, err)
		require.Len(t, seen, 1)

		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool { _, err := k.Snapshot(); return err != nil }, 30*time.Second, time.Millisecond)
		transact(insert(fmt.Sprintf("missed-%d", round), 1))
		transact(ovsdb.Update("Event", ovsdb.Row{"n": 1000 + round}, ovsdb.Where("_uuid", old[10+round].UUID)),
			ovsdb.Delete("Event", ovsdb.Where("_uuid", old[20+round].UUID)))
		open <- struct{}{}
		conn = <-taps
		require.NoError(t, s.Ready(ctx))

		text := conn.text()
		require.Contains(t, text, `[true,`, "the server knows the transaction")
		require.Contains(t, text, fmt.Sprintf("missed-%d", round))
		require.NotContains(t, text, "old-", "rows that did not change are not sent")
		require.NotContains(t, text, "seen-")
		got := map[string]bool{}
		for len(got) < 3 {
			changes, err := w.Next(ctx)
			require.NoError(t, err)
			for _, c := range changes {
				switch {
				case c.Old == nil:
					got["new "+named(c.New)] = true
				case c.New == nil:
					got["gone "+named(c.Old)] = true
				default:
					got[named(c.Old)+" to "+named(c.New)] = true
				}
			}
		}
		require.Equal(t, map[string]bool{
			fmt.Sprintf("new missed-%d 1", round):                                           true,
			fmt.Sprintf("old-%d %d to old-%d %d", 10+round, 10+round, 10+round, 1000+round): true,
			fmt.Sprintf("gone old-%d %d", 20+round, 20+round):                               true,
		}, got)
		rows, err := k.Rows("Event")
		require.NoError(t, err)
		require.Len(t, rows, 100+round+1)
	}
}
