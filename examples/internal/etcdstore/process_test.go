package etcdstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tierloom/tierloom/examples/internal/etcdstore"
	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
	"github.com/tierloom/tierloom/ipam"
)

// endpointEnv makes the test binary a process that leases from an etcd server.
const endpointEnv = "TIERLOOM_ETCDSTORE_CHILD"

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(endpointEnv); endpoint != "" {
		if err := serve(endpoint, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func addresses(ctx context.Context, client *clientv3.Client) (*ipam.Addresses, error) {
	r, err := ipam.Open(ctx, etcdstore.New(client, "/leases"), ipam.Config{})
	if err != nil {
		return nil, err
	}
	return r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")}})
}

// serve answers lines "id verb owner [address]" with "id outcome [address]",
// all at once.
func serve(endpoint string, in io.Reader, out io.Writer) error {
	client, err := clientv3.New(etcdtest.Config(endpoint))
	if err != nil {
		return err
	}
	defer client.Close()
	pool, err := addresses(context.Background(), client)
	if err != nil {
		return err
	}
	var mu sync.Mutex // protects out
	var wg sync.WaitGroup
	defer wg.Wait()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		words := strings.Fields(lines.Text())
		wg.Go(func() {
			answer := answer(pool, words)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, answer)
		})
	}
	return nil
}

func answer(pool *ipam.Addresses, f []string) string {
	ctx, id, verb, owner := context.Background(), f[0], f[1], f[2]
	var a netip.Addr
	var err error
	switch {
	case verb == "release":
		err = pool.Release(ctx, owner)
	case len(f) == 4:
		a, err = pool.AcquireSpecific(ctx, owner, netip.MustParseAddr(f[3]))
	default:
		a, err = pool.Acquire(ctx, owner)
	}
	outcome := "ok"
	for _, known := range []error{ipam.ErrUnavailable, ipam.ErrConflict, ipam.ErrInUse, ipam.ErrExhausted} {
		if errors.Is(err, known) {
			return fmt.Sprintf("%s %s %q", id, strings.ReplaceAll(known.Error(), " ", "-"), err.Error())
		}
	}
	if err != nil {
		outcome = "failed"
	}
	if a.IsValid() {
		return id + " " + outcome + " " + a.String()
	}
	return id + " " + outcome
}

// A process is one that leases.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	next atomic.Int64

	mu      sync.Mutex // protects what follows
	in      io.Writer
	waiting map[string]chan []string
}

func start(t *testing.T, endpoint string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), endpointEnv+"="+endpoint)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd, in: in, waiting: map[string]chan []string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f := strings.SplitN(lines.Text(), " ", 3)
			p.mu.Lock()
			p.waiting[f[0]] <- f[1:]
			delete(p.waiting, f[0])
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return p
}

// ask sends a request; the answer comes on the channel.
func (p *process) ask(words ...string) <-chan []string {
	id := fmt.Sprint(p.next.Add(1))
	answer := make(chan []string, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[id] = answer
	_, err := fmt.Fprintln(p.in, id, strings.Join(words, " "))
	if err != nil {
		p.t.Error(err)
	}
	return answer
}

// do asks and waits.
func (p *process) do(words ...string) []string { return <-p.ask(words...) }

// pause stops the process until the function that it returns is called.
func (p *process) pause() (wake func()) {
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(p.t, err)
	require.True(p.t, status.Stopped())
	return func() { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT)) }
}

// A process that slept while its lease became another's does not hold on to it.
func TestAsleep(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	asleep, awake := start(t, server.Endpoint), start(t, server.Endpoint)
	for i := range 10 {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		got := asleep.do("acquire", a)
		require.Equal(t, "ok", got[0], got)
		wake := asleep.pause()
		require.Equal(t, []string{"ok"}, awake.do("release", a))
		require.Equal(t, []string{"ok", got[1]}, awake.do("acquire", b, got[1]))
		wake()
		switch i % 3 {
		case 0: // it would release what is another's
			require.Equal(t, []string{"ok"}, asleep.do("release", a))
			require.Equal(t, []string{"ok", got[1]}, awake.do("acquire", b))
		case 1: // it would answer from memory
			again := asleep.do("acquire", a)
			require.Equal(t, "ok", again[0])
			require.NotEqual(t, got[1], again[1])
			require.Equal(t, []string{"ok"}, asleep.do("release", a))
		case 2: // it would take it back
			require.Equal(t, "in-use", asleep.do("acquire", a, got[1])[0])
		}
		require.Equal(t, []string{"ok"}, asleep.do("release", b))
	}
}

// A process that is paused at any point of a lease's change, while another
// does the same, ends up agreeing with it.
func TestAsleepMidway(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	asleep, awake := start(t, server.Endpoint), start(t, server.Endpoint)
	for i := range 40 {
		owners := []string{fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i)}
		var answers []<-chan []string
		for _, o := range owners {
			answers = append(answers, asleep.ask("acquire", o))
		}
		for range i % 8 { // some work, so that the pause comes at another point each time
			_ = awake.do("acquire", "warm")
		}
		wake := asleep.pause()
		held := map[string]string{} // owner by address
		for _, o := range owners {
			got := awake.do("acquire", o)
			require.Equal(t, "ok", got[0], got)
			require.Empty(t, held[got[1]], "%s twice", got[1])
			held[got[1]] = o
		}
		require.Equal(t, []string{"ok"}, awake.do("release", owners[2]))
		wake()
		for j, o := range owners[:2] {
			got := <-answers[j]
			require.Equal(t, "ok", got[0], got)
			require.Equal(t, o, held[got[1]], "the same owner, the same answer")
		}
		<-answers[2] // before the release or after it
		seen := map[string]string{}
		for _, o := range owners {
			one, other := asleep.do("acquire", o), awake.do("acquire", o)
			require.Equal(t, one, other)
			require.Empty(t, seen[one[1]], "%s twice", one[1])
			seen[one[1]] = o
		}
		for _, o := range owners {
			require.Equal(t, []string{"ok"}, awake.do("release", o))
		}
	}
}
