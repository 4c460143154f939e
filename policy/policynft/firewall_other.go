//go:build !linux

package policynft

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/policy"
)

// A Firewall needs Linux.
type Firewall struct{}

// New needs Linux.
func New(cfg Config) (*Firewall, error) { return nil, unsupported(cfg.withDefaults().Table) }

// Close does nothing.
func (*Firewall) Close() error { return nil }

// Sync needs Linux.
func (*Firewall) Sync(context.Context, *policy.Program, []Port) error { return unsupported("") }

// Apply needs Linux.
func (*Firewall) Apply(context.Context, policy.Change) error { return unsupported("") }

// A Counter is the hits of a rule.
type Counter struct{ Packets, Bytes uint64 }

// Counters needs Linux.
func (*Firewall) Counters(context.Context) (map[string]Counter, error) { return nil, unsupported("") }

// Delete needs Linux.
func Delete(_ context.Context, cfg Config) error { return unsupported(cfg.withDefaults().Table) }

func unsupported(table string) error {
	return fmt.Errorf("policynft: table %s: %w", table, errors.ErrUnsupported)
}
