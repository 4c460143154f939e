//go:build !linux

package link

import (
	"context"
	"errors"
)

// Attach is not supported on this system.
func (h Host) Attach(context.Context, Spec) (Attached, error) {
	return Attached{}, errors.ErrUnsupported
}

// Detach is not supported on this system.
func (h Host) Detach(context.Context, string) error { return errors.ErrUnsupported }

// Check is not supported on this system.
func (h Host) Check(context.Context, Spec) error { return errors.ErrUnsupported }

// List is not supported on this system.
func (h Host) List(context.Context, string) ([]Link, error) { return nil, errors.ErrUnsupported }
