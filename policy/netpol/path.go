package netpol

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierloom/tierloom/policy"
)

// A path is where a field is. It is a chain of values in the frames of the
// callers, and costs nothing until a fault is written down.
type path struct {
	parent *path
	name   string
	index  int // of an element, if there is no name
}

func (p *path) child(name string) path { return path{parent: p, name: name} }

func (p *path) at(i int) path { return path{parent: p, index: i} }

// field returns the path as the API server writes it. It holds on to nothing of
// the chain, names included, which is what lets that stay on the stack.
func (p *path) field() *field.Path {
	var steps [12]path
	n := len(steps)
	for ; p.parent != nil; p = p.parent {
		n--
		steps[n] = path{name: p.name, index: p.index}
	}
	out := field.NewPath(strings.Clone(p.name))
	for _, x := range steps[n:] {
		if x.name == "" {
			out = out.Index(x.index)
		} else {
			out = out.Child(strings.Clone(x.name))
		}
	}
	return out
}

// faults are what is wrong with an object.
type faults struct {
	list     field.ErrorList
	noLabels bool // the labels of selectors are not looked at
}

func (f *faults) required(at *path, detail string) {
	f.list = append(f.list, field.Required(at.field(), detail))
}

func (f *faults) forbidden(at *path, detail string) {
	f.list = append(f.list, field.Forbidden(at.field(), detail))
}

func (f *faults) text(at *path, value, detail string) {
	f.list = append(f.list, field.Invalid(at.field(), value, detail))
}

func (f *faults) number(at *path, value int, detail string) {
	f.list = append(f.list, field.Invalid(at.field(), value, detail))
}

func (f *faults) notOneOf(at *path, value string, valid ...string) {
	f.list = append(f.list, field.NotSupported(at.field(), value, valid))
}

// err returns the faults of an object as one error; kind is "policy".
func (f *faults) err(kind, namespace, name string) error {
	if len(f.list) == 0 {
		return nil
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Errorf("netpol: %s %s: %w: %w", kind, name, policy.ErrInvalid, f.list.ToAggregate())
}
