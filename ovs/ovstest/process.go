package ovstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one daemon: a child of this program that dies with it.
type process struct {
	name string
	proc *os.Process
	done chan struct{} // closed once the child is reaped
	err  error         // how it ended; read after done
}

// startProcess runs argv with env added, its output going to the file out. The
// child is told to die with its parent thread, so the goroutine that started
// it keeps that thread until the child is reaped.
func startProcess(name string, env []string, out string, argv ...string) (*process, error) {
	f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = childAttr()

	p := &process{name: name, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer f.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.proc = cmd.Process
		started <- nil
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// alive reports whether the child runs.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the child with SIGKILL and reaps it.
func (p *process) kill() {
	if p.alive() {
		_ = p.proc.Kill()
		<-p.done
	}
}

// stop asks the child to end, and kills it when it has not within grace.
func (p *process) stop(grace time.Duration) {
	if !p.alive() {
		return
	}
	_ = p.proc.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}

// waitSocket returns once something listens on the unix socket at path.
func (p *process) waitSocket(ctx context.Context, path string) error {
	err := poll(ctx, func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err == nil || !p.alive()
	})
	if err == nil && !p.alive() {
		err = fmt.Errorf("it ended: %v", p.err)
	}
	if err != nil {
		return fmt.Errorf("%s: wait for %s: %w", p.name, path, err)
	}
	return nil
}

// poll calls cond every few milliseconds until it is true or ctx is done.
func poll(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// Exec runs argv in the named network namespace ("" is the current one) and
// returns its standard output. The error holds the arguments and what the
// program said on standard error.
func Exec(ctx context.Context, ns string, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("ovstest: exec: no program named")
	}
	if ns != "" {
		argv = append([]string{"ip", "netns", "exec", ns}, argv...)
	}
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errOut.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		return out.String(), fmt.Errorf("ovstest: %s: %w: %s", strings.Join(argv, " "), err, said)
	}
	return out.String(), nil
}
