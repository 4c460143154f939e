//go:build !linux

package lbnft

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/lb"
)

// Apply needs Linux.
func (r *Ruleset) Apply(ctx context.Context) error {
	return fmt.Errorf("lbnft: table %s: %w", r.cfg.Table, errors.ErrUnsupported)
}

// Delete needs Linux.
func Delete(ctx context.Context, cfg Config) error {
	return fmt.Errorf("lbnft: table %s: %w", cfg.withDefaults().Table, errors.ErrUnsupported)
}

// List needs Linux.
func List(ctx context.Context, cfg Config) ([]lb.Frontend, error) {
	return nil, fmt.Errorf("lbnft: table %s: %w", cfg.withDefaults().Table, errors.ErrUnsupported)
}
