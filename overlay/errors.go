package overlay

import "errors"

// The conditions that errors of this package wrap.
var (
	ErrInvalid   = errors.New("invalid")
	ErrMalformed = errors.New("malformed packet")
	ErrExhausted = errors.New("exhausted")
	ErrInUse     = errors.New("in use")
)
