package ipam

import "errors"

// The conditions that errors of this package wrap.
var (
	// ErrExhausted says that nothing is left to give.
	ErrExhausted = errors.New("exhausted")
	// ErrInUse says that another owner has the value, or had it and its quarantine lasts.
	ErrInUse = errors.New("in use")
	// ErrConflict says that the owner already has another value than it asks
	// for, or that another process changed the lease.
	ErrConflict = errors.New("conflict")
	// ErrNotOwner says that what was asked for is another's: a lease, or a
	// block that is kept for others.
	ErrNotOwner = errors.New("not the owner")
	// ErrOutOfRange says that the value asked for is not one that is given.
	ErrOutOfRange = errors.New("out of range")
	// ErrNotFound says that the owner has no lease.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable says that the store could not be reached; the lease may
	// or may not be there, and asking again tells.
	ErrUnavailable = errors.New("store unavailable")
	// ErrInvalid says that a configuration or an argument makes no sense.
	ErrInvalid = errors.New("invalid")
)
