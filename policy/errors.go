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
	list     []fault
}

type fault struct{ field, text string }

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, fault{field, fmt.Sprintf(format, args...)})
}

// within puts a place before the fields of the faults from the nth on.
func (f *faults) within(n int, format string, args ...any) {
	for i := n; i < len(f.list); i++ {
		f.list[i].field = fmt.Sprintf(format, args...) + f.list[i].field
	}
}

func (f *faults) err() error {
	var errs []error
	for _, x := range f.list {
		errs = append(errs, fmt.Errorf("policy: %s %q: %s: %s: %w", f.kind, f.id, x.field, x.text, ErrInvalid))
	}
	return errors.Join(errs...)
}
