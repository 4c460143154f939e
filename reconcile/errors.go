package reconcile

import (
	"errors"
	"fmt"
)

var errRunning = errors.New("reconcile: the loop is already running")

// PanicError is a panic of a loop's function.
type PanicError struct {
	Value any
	Stack []byte // as of runtime/debug.Stack
}

func (e *PanicError) Error() string { return fmt.Sprintf("reconcile: panic: %v", e.Value) }

// Unwrap is the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
