package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A process is a program that the lab runs in a namespace and can kill and
// start again. It dies with the lab.
type process struct {
	name, ns, log string
	argv          []string

	mu   sync.Mutex
	proc *os.Process
	done chan struct{} // closed when proc is reaped; nil before the first start
	err  error         // how it ended; read after done
}

// start runs the program. Output is appended to the log file.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s: already running", p.name)
	}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	// The kernel ends the child when the thread that started it ends, so that
	// thread stays until the child is reaped.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		defer f.Close()
		err := enterNS(p.ns)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.proc, p.done = cmd.Process, done
	return nil
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the program as a crash would.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.proc.Kill()
		<-p.done
	}
}

// stop asks the program to end and kills it when it does not within 5 seconds.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		if p.done != nil && p.err != nil {
			return fmt.Errorf("%s ended by itself: %w (log %s)", p.name, p.err, p.log)
		}
		return nil
	}
	_ = p.proc.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: end on SIGTERM: %w (log %s)", p.name, p.err, p.log)
		}
		return nil
	case <-time.After(5 * time.Second):
		_ = p.proc.Kill()
		<-p.done
		return fmt.Errorf("%s: did not end within 5 s of SIGTERM (log %s)", p.name, p.log)
	}
}

// undo is a stack of what must be taken down, last in first out.
type undo struct {
	mu    sync.Mutex
	steps []func() error
}

func (u *undo) push(f func() error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.steps = append(u.steps, f)
}

func (u *undo) run() error {
	u.mu.Lock()
	steps := u.steps
	u.steps = nil
	u.mu.Unlock()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		errs = append(errs, steps[i]())
	}
	return errors.Join(errs...)
}

// nsPath returns the file of a namespace of the run.
func (l *Lab) nsPath(machine string) string { return ovstest.NSPath(l.ns(machine)) }
