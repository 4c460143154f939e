package openflow

import (
	"errors"
	"fmt"
)

// ErrClosed says that the connection is gone.
var ErrClosed = errors.New("connection closed")

// ErrMalformed says that a message cannot be read.
var ErrMalformed = errors.New("malformed message")

// An Error is a refusal by the switch (section 7.5.4).
type Error struct {
	Type, Code uint16
	// About is the flow, group or request that was refused, as text.
	About string
}

// Error returns "openflow: switch refused add-flow ...: bad action (type 2, code 5)".
func (e *Error) Error() string {
	name := fmt.Sprintf("error type %d", e.Type)
	if int(e.Type) < len(errorTypes) {
		name = errorTypes[e.Type]
	}
	return fmt.Sprintf("openflow: switch refused %s: %s (type %d, code %d)", e.About, name, e.Type, e.Code)
}

// errorTypes are the names of ofp_error_type (section 7.5.4).
var errorTypes = []string{
	"hello failed", "bad request", "bad action", "bad instruction", "bad match", "flow mod failed", "group mod failed",
	"port mod failed", "table mod failed", "queue op failed", "switch config failed", "role request failed",
	"meter mod failed", "table features failed", "bad property", "async config failed", "flow monitor failed", "bundle failed",
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
