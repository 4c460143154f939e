package topology

import "errors"

// Conditions that errors of this package are tested for with [errors.Is].
var (
	// ErrInvalid says that an object, or a reference between two, is invalid.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound says that the model has no such host.
	ErrNotFound = errors.New("not found")
)
