package intent

import (
	"errors"
	"strings"
)

// Conditions. Test for them with errors.Is.
var (
	ErrInvalid     = errors.New("invalid")                    // the input is malformed; Error.Field says where
	ErrConflict    = errors.New("revision conflict")          // the object is not at the revision asked for
	ErrNotFound    = errors.New("not found")                  // there is no such object
	ErrCompacted   = errors.New("revision no longer kept")    // the watch cannot be resumed; list again
	ErrForbidden   = errors.New("forbidden")                  // the principal may not do this
	ErrUnavailable = errors.New("intent store not available") // the store did not answer; the outcome is unknown

	errClosed = errors.New("the store is closed")
)

// Error is what went wrong with one request. Kind is one of the package's sentinels.
type Error struct {
	Op    string // "apply", "list", "watch", "status"
	Key   Key    // the object concerned; zero if the fault is not that of one object
	Field string // JSON path of the faulty field; empty if none
	Kind  error
	Err   error // the cause; may be nil
}

func (e *Error) Error() string {
	if r, ok := e.Err.(*remoteError); ok {
		return r.text // written by the server from the same parts
	}
	var b strings.Builder
	b.WriteString("intent: ")
	if e.Op != "" {
		b.WriteString(e.Op + " ")
	}
	if e.Key != (Key{}) {
		b.WriteString(e.Key.String() + ": ")
	}
	if e.Field != "" {
		b.WriteString("field " + e.Field + ": ")
	}
	if e.Err == nil {
		b.WriteString(e.Kind.Error())
		return b.String()
	}
	cause := e.Err.Error()
	if !errors.Is(e.Err, e.Kind) {
		b.WriteString(e.Kind.Error() + ": ")
	}
	b.WriteString(cause)
	return b.String()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// kinds names each sentinel on the wire.
func kinds() []struct {
	name string
	err  error
	code int
} {
	return []struct {
		name string
		err  error
		code int
	}{
		{"invalid", ErrInvalid, 400},
		{"conflict", ErrConflict, 412},
		{"not_found", ErrNotFound, 404},
		{"compacted", ErrCompacted, 410},
		{"forbidden", ErrForbidden, 403},
		{"unavailable", ErrUnavailable, 503},
	}
}

// invalid is an ErrInvalid at a field.
func invalid(op string, k Key, field, fault string) error {
	return &Error{Op: op, Key: k, Field: field, Kind: ErrInvalid, Err: errors.New(fault)}
}
