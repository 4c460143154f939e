package ovsdb

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrDisconnected says that the connection to the server is gone. Dial a new Client.
	ErrDisconnected = errors.New("not connected")
	// ErrMalformed says that bytes or values are not what RFC 7047 allows.
	ErrMalformed = errors.New("malformed")
	// ErrTooLarge says that a message passes Config.MaxMessage or nests too deep.
	ErrTooLarge = errors.New("message too large")
	// ErrNotFound says that the thing named is not in the database.
	ErrNotFound = errors.New("not found")
	// ErrInUse says that the port named is on another bridge.
	ErrInUse = errors.New("in use")
	// ErrPortFailed says that ovs-vswitchd could not open the interface.
	ErrPortFailed = errors.New("interface failed")
)

// Error is a fault the server reports (RFC 7047, section 3.1, "error").
type Error struct {
	// Code is the RFC's word for it, such as "constraint violation".
	Code string
	// Details is the server's explanation; it may be empty.
	Details string
	// Method is the JSON-RPC method that failed.
	Method string
	// Op is the index of the operation in the transaction; -1 when the fault
	// is not of one operation, as for a constraint that fails at commit.
	Op int
	// Operation is that operation as JSON, or "".
	Operation string
}

// Codes of Error that callers act upon.
const (
	CodeConstraint = "constraint violation"
	CodeTimedOut   = "timed out" // a wait operation did not hold
	CodeAborted    = "aborted"
	CodeCanceled   = "canceled"
	CodeNotOwner   = "not owner"
)

func (e *Error) Error() string {
	s := fmt.Sprintf("ovsdb: %s: %s", e.Method, e.Code)
	if e.Details != "" {
		s += ": " + e.Details
	}
	if e.Operation != "" {
		s += fmt.Sprintf(" (operation %d: %s)", e.Op, e.Operation)
	}
	return s
}

// hasCode reports whether err holds an *Error of one of the codes.
func hasCode(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// subjectError names what an error of this package is about. The package's own
// prefix appears once, in front.
type subjectError struct {
	subject string
	err     error
}

func (e *subjectError) Error() string {
	return "ovsdb: " + e.subject + ": " + strings.TrimPrefix(e.err.Error(), "ovsdb: ")
}

func (e *subjectError) Unwrap() error { return e.err }

// wrap names the thing that an error is about.
func wrap(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	return &subjectError{fmt.Sprintf("%s %q", kind, name), err}
}
