package lab

import (
	"context"
	"fmt"
	"time"
)

// runChecks runs every group in order; a later group builds on the state that
// the earlier ones leave. An error is a fault that makes going on pointless.
func (l *Lab) runChecks(ctx context.Context) error {
	for _, g := range []struct {
		name string
		run  func(context.Context) error
		last bool // takes everything away
	}{
		{"namespaces have networks", l.checkNamespaces, false},
		{"every pod reaches every pod", l.checkReachability, false},
		{"frames on the wire", l.checkWire, false},
		{"gateways and broadcasts", l.checkL2, false},
		{"services", l.checkServices, false},
		{"network policies", l.checkPolicies, false},
		{"refusals, logs and counters", l.checkDecisions, false},
		{"tiers around network policies", l.checkTiers, false},
		{"labels move pods into a rule", l.checkLabels, false},
		{"enforcement outside the node", l.checkEnforcement, false},
		{"forged packets", l.checkSpoofguard, false},
		{"north-south", l.checkNorthSouth, false},
		{"every process killed", l.checkRestarts, false},
		{"bad input", l.checkBadInput, false},
		{"nothing left of what is deleted", l.checkCleanup, true},
	} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if g.last && l.cfg.Keep {
			continue // there would be nothing left to look around in
		}
		if err := l.timed(ctx, g.name, g.run); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.check(Check{Group: g.name, Name: "could be carried out", Expected: "no error", Seen: err.Error()})
		}
	}
	return l.draw(ctx)
}

// equal records a check that two values print the same.
func (l *Lab) equal(group, name string, expected, seen any) bool {
	e, s := fmt.Sprint(expected), fmt.Sprint(seen)
	l.check(Check{Group: group, Name: name, Expected: e, Seen: s, OK: e == s})
	return e == s
}

// comes records a check that a condition comes true, and how long it took.
func (l *Lab) comes(ctx context.Context, group, name string, done func() (bool, string)) bool {
	return l.within(ctx, group, name, settling, done)
}

// within is comes for what has to be in time.
func (l *Lab) within(ctx context.Context, group, name string, most time.Duration, done func() (bool, string)) bool {
	began := time.Now()
	err := l.wait(ctx, most, name, done)
	c := Check{Group: group, Name: name, Expected: fmt.Sprintf("within %v", most), Took: time.Since(began), OK: err == nil}
	c.Seen = fmt.Sprintf("after %v", c.Took.Round(time.Millisecond))
	if err != nil {
		c.Seen = err.Error()
	}
	l.check(c)
	return err == nil
}

// holds records a check of a yes-or-no question with what was seen.
func (l *Lab) holds(group, name, expected string, ok bool, seenFormat string, args ...any) bool {
	l.check(Check{Group: group, Name: name, Expected: expected, Seen: fmt.Sprintf(seenFormat, args...), OK: ok})
	return ok
}
