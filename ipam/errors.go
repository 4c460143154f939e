package ipam

import (
	"errors"
	"fmt"
)

// The conditions that errors of this package wrap.
var (
	// ErrExhausted says that nothing is left to give.
	ErrExhausted = errors.New("exhausted")
	// ErrInUse says that another owner has the value, or had it and it is held
	// back; the error is a [*HeldError] that tells who.
	ErrInUse = errors.New("in use")
	// ErrQuarantined says that nobody has the value, but that it is held back
	// after the last who had; the error is a [*HeldError], and ErrInUse as well.
	ErrQuarantined = errors.New("in quarantine")
	// ErrConflict says that the owner already has another value than it asks
	// for, or that another process changed the lease.
	ErrConflict = errors.New("conflict")
	// ErrNotOwner says that what was asked for is another's: a block that is kept
	// for others, or a lease that is not, or not any more, the caller's, because
	// another has the value or the owner has it under another generation.
	ErrNotOwner = errors.New("not the owner")
	// ErrOutOfRange says that the value asked for is not one that is given.
	ErrOutOfRange = errors.New("out of range")
	// ErrNotFound says that the owner has no lease.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable says that the store could not be reached; the lease may
	// or may not be there, and asking again tells.
	ErrUnavailable = errors.New("store unavailable")
	// ErrRolledBack says that the store is older than what was seen of it
	// before: somebody put back an old copy. A registry that has seen that
	// gives nothing of a space until [Registry.Recover].
	ErrRolledBack = errors.New("store rolled back")
	// ErrInvalid says that a configuration or an argument makes no sense.
	ErrInvalid = errors.New("invalid")
)

// A HeldError says who has a value that another asked for, or had it.
type HeldError struct{ Record Record }

// Error tells the value and why it is not free.
func (e *HeldError) Error() string {
	condition := ErrInUse
	if !e.Record.Held() {
		condition = ErrQuarantined
	}
	return fmt.Sprintf("%s: %v: %s", e.Record.Value, condition, e.Record.Why())
}

// Is reports whether target is [ErrInUse], or [ErrQuarantined] of a value that
// nobody has.
func (e *HeldError) Is(target error) bool {
	return target == ErrInUse || target == ErrQuarantined && !e.Record.Held()
}
