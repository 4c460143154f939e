//go:build linux

// Package child runs programs that die with this one: in a network namespace
// of their own where wanted, their output in a log file.
package child

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a program that can be killed and started again. Its fields are
// set before the first Start; its methods may be called concurrently.
type Process struct {
	Name  string   // in errors
	Argv  []string // the program and its arguments
	NetNS string   // path of a network namespace; empty is this thread's
	Log   string   // file that its output is appended to

	mu   sync.Mutex
	proc *os.Process
	done chan struct{} // closed when proc is reaped; nil before the first start
	err  error         // how it ended; read after done
}

// Start runs the program.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s: already running", p.Name)
	}
	f, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
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
		err := EnterNetNS(p.NetNS)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.proc, p.done = cmd.Process, done
	return nil
}

// EnterNetNS moves the calling thread, which must be locked, into the network
// namespace at path; an empty path is where it is already.
func EnterNetNS(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// Running reports whether the program runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

func (p *Process) running() bool {
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

// Kill ends the program as a crash would. That it was killed is no error of Stop.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.proc.Kill()
		<-p.done
		p.err = nil
	}
}

// stopGrace is how long a program may take to end by itself.
const stopGrace = 5 * time.Second

// Stop asks the program to end and kills it when it does not within 5
// seconds. That, an end with an error, and an end before it was asked with
// one, are errors.
func (p *Process) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		if p.done != nil && p.err != nil {
			return fmt.Errorf("%s ended by itself: %w (log %s)", p.Name, p.err, p.Log)
		}
		return nil
	}
	_ = p.proc.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: end on SIGTERM: %w (log %s)", p.Name, p.err, p.Log)
		}
		return nil
	case <-timer.C:
		_ = p.proc.Kill()
		<-p.done
		return fmt.Errorf("%s: did not end within %v of SIGTERM (log %s)", p.Name, stopGrace, p.Log)
	}
}
