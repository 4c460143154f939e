// Package etcdtest starts a real etcd server for a test.
package etcdtest

import (
	"bytes"
	"context"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/tierloom/tierloom/examples/internal/loopback"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A Server is an etcd server with a data directory.
type Server struct {
	Endpoint string
	dir      string
	peer     string
	cmd      *exec.Cmd
	reaped   chan struct{} // closed when cmd has ended
	out      *bytes.Buffer
}

// Start starts a server on loopback, with the data in dir, and stops it when
// the test ends.
func Start(t testing.TB, dir string) *Server {
	t.Helper()
	ovstest.Require(t, "etcd")
	s := &Server{Endpoint: "http://" + loopback.Address(t), peer: "http://" + loopback.Address(t), dir: dir}
	t.Cleanup(s.Stop)
	s.run(t)
	return s
}

func (s *Server) run(t testing.TB) {
	t.Helper()
	s.out = &bytes.Buffer{}
	s.cmd = exec.Command("etcd", "--name", "test", "--data-dir", s.dir, "--log-level", "error", "--logger", "zap",
		"--listen-client-urls", s.Endpoint, "--advertise-client-urls", s.Endpoint,
		"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer, "--initial-cluster", "test="+s.peer)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.start())
	c := s.Client(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := c.Get(ctx, "ready"); err != nil {
		s.Stop()
		t.Fatalf("etcdtest: %v\n%s", err, s.out)
	}
}

// start starts the command. The kernel ends the child when the thread that
// started it ends, so that thread stays until the child is reaped: any other may
// end with a goroutine that was locked to it.
func (s *Server) start() error {
	cmd, reaped, started := s.cmd, make(chan struct{}), make(chan error, 1)
	s.reaped = reaped
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(reaped)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	return <-started
}

// Stop kills the server, if it runs.
func (s *Server) Stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		<-s.reaped
		s.cmd = nil
	}
}

// Restart starts the server again after Stop, with the data that is in its
// directory then.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.run(t)
}

// Client returns a client that is closed when the test ends.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(Config(s.Endpoint))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Config is that of a client for an endpoint, which logs nothing.
func Config(endpoint string) clientv3.Config {
	return clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()}
}
