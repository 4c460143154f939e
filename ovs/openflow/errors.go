package openflow

import (
	"errors"
	"fmt"
)

// ErrClosed says that the connection is gone.
var ErrClosed = errors.New("connection closed")

// ErrSilent says that the switch did not answer for too long.
var ErrSilent = errors.New("switch is silent")

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
	if s, ok := errorCodes[[2]uint16{e.Type, e.Code}]; ok {
		name += ", " + s
	}
	return fmt.Sprintf("openflow: switch refused %s: %s (type %d, code %d)", e.About, name, e.Type, e.Code)
}

// errorTypes are the names of ofp_error_type (section 7.5.4).
var errorTypes = []string{
	"hello failed", "bad request", "bad action", "bad instruction", "bad match", "flow mod failed", "group mod failed",
	"port mod failed", "table mod failed", "queue op failed", "switch config failed", "role request failed",
	"meter mod failed", "table features failed", "bad property", "async config failed", "flow monitor failed", "bundle failed",
}

// errorCodes are names of the codes that flows and groups meet.
var errorCodes = map[[2]uint16]string{
	{2, 0}: "unknown type", {2, 1}: "length", {2, 2}: "unknown experimenter", {2, 4}: "no such port", {2, 5}: "bad argument",
	{2, 7}: "too many", {2, 9}: "no such group", {2, 10}: "inconsistent with the match", {2, 12}: "bad tag", {2, 13}: "field cannot be set",
	{2, 14}: "bad length of a field", {2, 15}: "bad value of a field",
	{3, 2}: "no such table", {4, 6}: "unknown field", {4, 7}: "bad value", {4, 8}: "bad mask", {4, 9}: "prerequisite is missing", {4, 10}: "field given twice",
	{5, 1}: "table full", {5, 2}: "no such table", {5, 3}: "overlaps", {5, 4}: "no permission",
	{6, 0}: "group exists", {6, 1}: "invalid group", {6, 3}: "out of groups", {6, 7}: "loop", {6, 8}: "no such group", {6, 10}: "bad type", {6, 12}: "bad bucket",
	{17, 4}: "bundle closed", {17, 13}: "a message failed", {17, 14}: "timeout",
}

func readError(b []byte) (*Error, error) {
	r := reader{b: b}
	e := &Error{Type: r.u16(), Code: r.u16()}
	if r.bad {
		return nil, malformed("error message of %d bytes", len(b))
	}
	return e, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
