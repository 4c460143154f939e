package cni

import (
	"context"
	"errors"
	"fmt"
)

// Conditions of the protocol, to be tested with errors.Is.
var (
	// ErrUnavailable: the agent could not be reached, or went away before
	// it answered. Nothing is known about what it did.
	ErrUnavailable = errors.New("agent unavailable")
	// ErrTooLarge: a message exceeds the configured bound.
	ErrTooLarge = errors.New("message too large")
	// ErrProtocol: a message is not what this protocol allows.
	ErrProtocol = errors.New("protocol violation")
	// ErrInUse: another process answers on the socket.
	ErrInUse = errors.New("socket in use")
)

// Code is the numeric code of an error result. Values below 100 are those of
// the CNI specification 1.1 (section 5, "Error"), or reserved by it.
type Code uint

// Well-known codes. CodeInvalidNetNS and CodeInternal are not in the text of
// the specification but in its reference library.
const (
	CodeIncompatibleVersion Code = 1
	CodeUnsupportedField    Code = 2
	CodeUnknownContainer    Code = 3
	CodeInvalidEnvironment  Code = 4
	CodeIOFailure           Code = 5
	CodeDecodingFailure     Code = 6
	CodeInvalidConfig       Code = 7
	CodeInvalidNetNS        Code = 8
	CodeTryAgainLater       Code = 11
	CodeNotAvailable        Code = 50
	CodeLimitedConnectivity Code = 51

	// CodeNotPermitted: the peer's user id may not use the socket.
	CodeNotPermitted Code = 100
	// CodeUnsupportedCommand: the agent's Handler has no func for the command.
	CodeUnsupportedCommand Code = 101
	// CodeMismatch: CHECK found a state other than the wanted one.
	CodeMismatch Code = 102

	CodeInternal Code = 999
)

// Error is the error result of the CNI specification 1.1, section 5, without
// its cniVersion, which the plugin executable adds. It satisfies error.
type Error struct {
	Code    Code   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Errorf makes an Error whose Msg is formatted as fmt.Sprintf does.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Error joins message and details.
func (e *Error) Error() string {
	if e.Details == "" {
		return fmt.Sprintf("%s (code %d)", e.Msg, e.Code)
	}
	return fmt.Sprintf("%s: %s (code %d)", e.Msg, e.Details, e.Code)
}

// AsError turns any error into the one result a runtime is shown: nil stays
// nil; an *Error in the chain keeps its code and message, and the text of what
// wraps it becomes the details if it has none; unavailable agents and ended
// contexts ask for a retry; the rest is internal.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		out := *e
		if text := err.Error(); out.Details == "" && text != e.Error() {
			out.Details = text
		}
		return &out
	case errors.Is(err, ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Code: CodeTryAgainLater, Msg: "try again later", Details: err.Error()}
	default:
		return &Error{Code: CodeInternal, Msg: err.Error()}
	}
}
