//go:build !linux

package ovstest

import (
	"errors"
	"fmt"
)

// InNS needs Linux.
func InNS(ns string, fn func() error) error {
	return fmt.Errorf("ovstest: network namespace %s: %w", ns, errors.ErrUnsupported)
}

// DisableOffload needs Linux.
func DisableOffload(ns, dev string) error {
	return fmt.Errorf("ovstest: device %s: %w", dev, errors.ErrUnsupported)
}
