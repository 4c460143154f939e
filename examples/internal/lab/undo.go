package lab

import (
	"errors"
	"sync"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

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
