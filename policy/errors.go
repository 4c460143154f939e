package policy

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every fault in an object.
var ErrInvalid = errors.New("invalid")

// faults collects what is wrong with one object.
type faults struct {
	object string // `group "web"`
	list   []error
}

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, fmt.Errorf("policy: %s: %s: %s: %w", f.object, field, fmt.Sprintf(format, args...), ErrInvalid))
}

func (f *faults) err() error { return errors.Join(f.list...) }
