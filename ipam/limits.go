package ipam

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// What this package asks of a store at most, so that one with limits (an etcd
// server takes 128 operations and 1.5 MiB at once) can be one.
const (
	// MaxChanges is how many changes are committed at once.
	MaxChanges = 32
	// MaxName is how long a space, a value or the name of an owner is, in bytes.
	MaxName = 1024
	// maxContested is how many owners a record is contested by.
	maxContested = 32
	// maxAtOnce is how long the names in several changes are together, in bytes.
	maxAtOnce = 64 << 10
)

// Generations are below maxGeneration. What is alive or imported may have one
// below maxBrought: that leaves more than enough to count on from there.
const (
	maxGeneration = 1 << 62
	maxBrought    = maxGeneration / 2
)

// checkName refuses what a store could not keep as it is. What is what is named.
func checkName(what, name string) error {
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("%s %.32q...: %w: %d bytes long, at most %d", what, name, ErrInvalid, len(name), MaxName)
	case name == "" || strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name):
		return fmt.Errorf("%s %q: %w", what, name, ErrInvalid)
	}
	return nil
}

// checkRecord refuses a record that a store could not keep as it is.
func checkRecord(r *Record) error {
	if err := checkName("space", r.Space); err != nil {
		return err
	}
	if err := checkName("value", r.Value); err != nil {
		return err
	}
	if err := checkName("owner", r.Owner); err != nil {
		return err
	}
	if len(r.Contested) > maxContested {
		return fmt.Errorf("%w: contested by %d owners, at most %d", ErrInvalid, len(r.Contested), maxContested)
	}
	for i, owner := range r.Contested {
		if err := checkName("contested by owner", owner); err != nil {
			return err
		}
		if i > 0 && owner <= r.Contested[i-1] {
			return fmt.Errorf("contested by owner %q: %w: want each once, sorted", owner, ErrInvalid)
		}
	}
	if r.Generation >= maxGeneration {
		return fmt.Errorf("generation %d: %w: want less than %d", r.Generation, ErrInvalid, uint64(maxGeneration))
	}
	return nil
}

// chunks yields changes in parts that a store takes at once, of so many at most.
func chunks(changes []Change, most int) iter.Seq[[]Change] {
	return func(yield func([]Change) bool) {
		for len(changes) > 0 {
			n, size := 0, 0
			for n < min(most, len(changes)) {
				size += nameSize(&changes[n])
				if n > 0 && size > maxAtOnce {
					break
				}
				n++
			}
			if !yield(changes[:n:n]) {
				return
			}
			changes = changes[n:]
		}
	}
}

// nameSize returns how long the names in a change are that is written.
func nameSize(c *Change) int {
	space, value := c.Key()
	n := 2*(len(space)+len(value)) + len(c.Before.Owner) + len(c.After.Owner)
	for _, owner := range c.After.Contested {
		n += len(owner)
	}
	return n
}
