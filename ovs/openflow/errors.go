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
	// Experimenter is 0, or who defined the error, and then Type is 65535 and
	// Code theirs: 0x2320 is Nicira, 0x4f4e4600 the ONF.
	Experimenter uint32
	Type, Code   uint16
	// About is the flow, group or request that was refused, as text.
	About string
}

// Error returns "openflow: switch refused add-flow ...: bad action, bad argument (type 2, code 5)".
func (e *Error) Error() string {
	return fmt.Sprintf("openflow: switch refused %s: %s", e.About, e.reason())
}

func (e *Error) reason() string {
	switch e.Experimenter {
	case 0:
		return fmt.Sprintf("%s (type %d, code %d)", errorName(e.Type, e.Code), e.Type, e.Code)
	case nicira:
		if s, ok := niciraErrors[e.Code]; ok {
			return fmt.Sprintf("%s (Nicira, code %d)", s, e.Code)
		}
	case onf:
		for _, r := range onfErrors {
			if i := e.Code - r.first; i < r.n {
				return fmt.Sprintf("%s (ONF, code %d)", errorName(r.typ, r.code+i), e.Code)
			}
		}
	}
	return fmt.Sprintf("experimenter %#x, code %d", e.Experimenter, e.Code)
}

func errorName(typ, code uint16) string {
	name := fmt.Sprintf("error type %d", typ)
	if int(typ) < len(errorTypes) {
		name = errorTypes[typ]
	}
	if s, ok := errorCodes[[2]uint16{typ, code}]; ok {
		name += ", " + s
	}
	return name
}

// readError reads the body of an error message. That of an experimenter
// follows the code, which is then its type.
func readError(b []byte) (*Error, error) {
	r := reader{b: b}
	e := &Error{Type: r.u16(), Code: r.u16()}
	if e.Type == errorExperimenter {
		e.Experimenter = r.u32()
	}
	if r.bad {
		return nil, malformed("error message of %d bytes", len(b))
	}
	return e, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
