package policy

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every fault in an object.
var ErrInvalid = errors.New("invalid")

// faults collects what is wrong with one object.
type faults struct {
	kind, id string // such as "group" and its id
	list     []error
}

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, fmt.Errorf("policy: %s %q: %s: %s: %w", f.kind, f.id, field, fmt.Sprintf(format, args...), ErrInvalid))
}

func (f *faults) err() error { return errors.Join(f.list...) }
