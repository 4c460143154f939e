//go:build !linux

package topologynft

import (
	"context"
	"errors"
	"fmt"
)

// Apply needs Linux.
func (r *Ruleset) Apply(ctx context.Context) error {
	return fmt.Errorf("topologynft: table %s: %w", r.cfg.Table, errors.ErrUnsupported)
}

// Delete needs Linux.
func Delete(ctx context.Context, cfg Config) error {
	return fmt.Errorf("topologynft: table %s: %w", cfg.withDefaults().Table, errors.ErrUnsupported)
}

// List needs Linux.
func List(ctx context.Context, cfg Config) ([]string, error) {
	return nil, fmt.Errorf("topologynft: table %s: %w", cfg.withDefaults().Table, errors.ErrUnsupported)
}
