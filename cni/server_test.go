package cni_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/cni"
)

func addRequest(id string) *cni.Request {
	return &cni.Request{Command: cni.Add, Network: "k8s", ContainerID: id, IfName: "eth0", NetNS: "/run/netns/p"}
}

func nop(context.Context, *cni.Request) (*cni.Result, error) { return nil, nil }

// serve runs a server until the test ends and returns its socket.
func serve(t *testing.T, h cni.Handler, cfg cni.ServerConfig) string {
	t.Helper()
	if cfg.UIDs == nil {
		cfg.UIDs = []uint32{uint32(os.Getuid())}
	}
	srv, err := cni.NewServer(h, cfg)
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "cni.sock")
	lis, err := cni.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoFileExists(t, socket)
	})
	return socket
}

func TestExchange(t *testing.T) {
	want := addRequest("c1")
	want.Pod = cni.Pod{Namespace: "a", Name: "b", UID: "c"}
	want.Args = map[string]string{"K": "v"}
	socket := serve(t, cni.Handler{
		Add: func(_ context.Context, req *cni.Request) (*cni.Result, error) {
			if req.Pod != want.Pod || req.Args["K"] != "v" {
				return nil, fmt.Errorf("got %+v", req)
			}
			return &cni.Result{Interfaces: []cni.Interface{{Name: req.IfName, Sandbox: req.NetNS}}}, nil
		},
		Del: func(context.Context, *cni.Request) (*cni.Result, error) {
			return nil, fmt.Errorf("agent: %w", cni.Errorf(cni.CodeUnknownContainer, "gone"))
		},
		Check:  func(context.Context, *cni.Request) (*cni.Result, error) { return nil, errors.New("bug") },
		Status: func(context.Context, *cni.Request) (*cni.Result, error) { return nil, context.DeadlineExceeded },
	}, cni.ServerConfig{})
	client := cni.NewClient(socket, cni.ClientConfig{})
	res, err := client.Do(t.Context(), want)
	require.NoError(t, err)
	require.Equal(t, &cni.Result{Interfaces: []cni.Interface{{Name: "eth0", Sandbox: "/run/netns/p"}}}, res)
	for command, code := range map[cni.Command]cni.Code{
		cni.Del: cni.CodeUnknownContainer, cni.Check: cni.CodeInternal,
		cni.Status: cni.CodeTryAgainLater, cni.GC: cni.CodeUnsupportedCommand,
	} {
		req := addRequest("c1")
		req.Command = command
		_, err := client.Do(t.Context(), req)
		var e *cni.Error
		require.ErrorAs(t, err, &e, command)
		require.Equal(t, code, e.Code, command)
		require.NotErrorIs(t, err, cni.ErrUnavailable)
	}
}

// TestInvalidResult keeps a handler's mistake from the runtime.
func TestInvalidResult(t *testing.T) {
	socket := serve(t, cni.Handler{Del: nop, Add: func(context.Context, *cni.Request) (*cni.Result, error) {
		two := 2
		return &cni.Result{IPs: []cni.IP{{Interface: &two}}}, nil
	}}, cni.ServerConfig{})
	_, err := cni.NewClient(socket, cni.ClientConfig{}).Do(t.Context(), addRequest("c1"))
	require.ErrorContains(t, err, "ips[0].address")
}

func TestUnavailable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	client := cni.NewClient(socket, cni.ClientConfig{})
	_, err := client.Do(t.Context(), addRequest("c1"))
	require.ErrorIs(t, err, cni.ErrUnavailable, "no socket")

	lis, err := net.Listen("unix", socket)
	require.NoError(t, err)
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_ = c.Close() // killed before the answer
		}
	}()
	_, err = client.Do(t.Context(), addRequest("c1"))
	require.ErrorIs(t, err, cni.ErrUnavailable, "killed agent")
	require.NoError(t, lis.Close())
}

// TestClientGone: the plugin is killed, its handler is cancelled, and the
// next command on the attachment waits until the handler is done.
func TestClientGone(t *testing.T) {
	started, cancelled, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var running atomic.Int32
	socket := serve(t, cni.Handler{
		Add: func(ctx context.Context, req *cni.Request) (*cni.Result, error) {
			running.Add(1)
			defer running.Add(-1)
			close(started)
			<-ctx.Done()
			close(cancelled)
			<-finish
			return nil, ctx.Err()
		},
		Del: func(_ context.Context, req *cni.Request) (*cni.Result, error) {
			if req.ContainerID == "c1" && running.Load() != 0 {
				return nil, errors.New("DEL beside ADD")
			}
			return nil, nil
		},
	}, cni.ServerConfig{})
	client := cni.NewClient(socket, cni.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	added := make(chan error, 1)
	go func() { _, err := client.Do(ctx, addRequest("c1")); added <- err }()
	<-started
	cancel()
	require.ErrorIs(t, <-added, context.Canceled)
	<-cancelled

	del := func(id string) error {
		req := addRequest(id)
		req.Command = cni.Del
		_, err := client.Do(t.Context(), req)
		return err
	}
	require.NoError(t, del("c2"), "another attachment does not wait")
	deleted := make(chan error, 1)
	go func() { deleted <- del("c1") }()
	close(finish)
	require.NoError(t, <-deleted)
}

func TestPeerRefused(t *testing.T) {
	socket := serve(t, cni.Handler{Add: nop, Del: nop}, cni.ServerConfig{UIDs: []uint32{uint32(os.Getuid()) + 1}})
	_, err := cni.NewClient(socket, cni.ClientConfig{}).Do(t.Context(), addRequest("c1"))
	var e *cni.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, cni.CodeNotPermitted, e.Code)
}

// TestRawPeers speaks to the server without the client.
func TestRawPeers(t *testing.T) {
	handler := cni.Handler{Add: nop, Del: nop}
	patient := serve(t, handler, cni.ServerConfig{MaxMessage: 1000})
	impatient := serve(t, handler, cni.ServerConfig{MaxMessage: 1000, ReadTimeout: 50 * time.Millisecond})
	for name, c := range map[string]struct{ send, want string }{
		"no JSON":      {"hello\n", `"code":6`},
		"protocol":     {`{"protocol":2,"request":{"command":"STATUS"}}` + "\n", `"code":6`},
		"no request":   {`{"protocol":1}` + "\n", `"code":6`},
		"two values":   {`{"protocol":1,"request":{"command":"STATUS"}}{}` + "\n", `"code":6`},
		"bad request":  {`{"protocol":1,"request":{"command":"ADD"}}` + "\n", `"code":4`},
		"too large":    {strings.Repeat("x", 1001) + "\n", `"code":5`},
		"never ending": {`{"protocol":1`, `"code":5`},
	} {
		t.Run(name, func(t *testing.T) {
			socket := patient
			if !strings.HasSuffix(c.send, "\n") {
				socket = impatient
			}
			conn, err := net.Dial("unix", socket)
			require.NoError(t, err)
			defer conn.Close()
			_, _ = conn.Write([]byte(c.send)) // whoever has waited too long has closed
			line, err := bufio.NewReader(conn).ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, c.want)
		})
	}
}

func TestTooLarge(t *testing.T) {
	socket := serve(t, cni.Handler{Add: nop, Del: nop}, cni.ServerConfig{})
	req := addRequest("c1")
	req.Args = map[string]string{"K": strings.Repeat("x", 2000)}
	_, err := cni.NewClient(socket, cni.ClientConfig{MaxMessage: 1000}).Do(t.Context(), req)
	require.ErrorIs(t, err, cni.ErrTooLarge)
}

func TestListen(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "cni.sock")
	lis, err := cni.Listen(socket)
	require.NoError(t, err)
	fi, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, fi.Mode())
	entries, err := os.ReadDir(filepath.Dir(socket))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left in the folder")

	_, err = cni.Listen(socket)
	require.ErrorIs(t, err, cni.ErrInUse)

	require.NoError(t, os.Rename(socket, socket+".old"))
	second, err := cni.Listen(socket)
	require.NoError(t, err)
	require.NoError(t, lis.Close())
	require.FileExists(t, socket, "the old listener leaves the new one's socket")
	require.NoError(t, second.Close())
	require.NoFileExists(t, socket)

	// A killed agent leaves its socket behind.
	raw, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	raw.SetUnlinkOnClose(false)
	require.NoError(t, raw.Close())
	third, err := cni.Listen(socket)
	require.NoError(t, err)
	require.NoError(t, third.Close())

	require.NoError(t, os.WriteFile(socket, nil, 0o600))
	_, err = cni.Listen(socket)
	require.ErrorContains(t, err, "no socket")
}

func TestNewServer(t *testing.T) {
	_, err := cni.NewServer(cni.Handler{Add: nop}, cni.ServerConfig{})
	require.Error(t, err)
	_, err = cni.NewServer(cni.Handler{Add: nop, Del: nop}, cni.ServerConfig{MaxMessage: -1})
	require.Error(t, err)
}

// BenchmarkExchange measures one request and its answer over a socket.
func BenchmarkExchange(b *testing.B) {
	srv, err := cni.NewServer(cni.Handler{Add: nop, Del: nop}, cni.ServerConfig{UIDs: []uint32{uint32(os.Getuid())}})
	require.NoError(b, err)
	socket := filepath.Join(b.TempDir(), "s")
	lis, err := cni.Listen(socket)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis) }()
	client := cni.NewClient(socket, cni.ClientConfig{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Do(ctx, addRequest("c1")); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
}
