package ipam

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Record is what a [Store] keeps of a value: who has it, or had it and why
// it is held back. Space and Value are its key.
type Record struct {
	Space string `json:"space"`
	// Value is what is leased, as text.
	Value string `json:"value"`
	Owner string `json:"owner"`
	// Since is when the owner got the value.
	Since time.Time `json:"since,omitzero"`
	// Released is when the owner gave it back, zero while he holds it.
	Released time.Time `json:"released,omitzero"`
	// Until is the end of the quarantine of a released value.
	Until time.Time `json:"until,omitzero"`
	// Unacknowledged says that a released value may still be in use somewhere:
	// it is held back, whatever the time, until that is acknowledged.
	Unacknowledged bool `json:"unacknowledged,omitempty"`
	// Pinned says that the value stays the owner's when he releases it.
	Pinned bool `json:"pinned,omitempty"`
	// Contested names other owners that were found to use the value, sorted,
	// 32 at most. It is held back until somebody who has mended that
	// acknowledges it.
	Contested []string `json:"contested,omitempty"`
	// Suspect says that a collection did not find the owner. An owner who asks
	// for the value again clears it, and so keeps the value.
	Suspect bool `json:"suspect,omitempty"`
	// Generation is different each time that a value is given, and higher each
	// time. A record that is put without gets one from the store. It is less
	// than 1<<62.
	Generation uint64 `json:"generation,omitempty"`
	// Revision is different each time that the record is put, and higher each
	// time. The store gives it.
	Revision uint64 `json:"revision,omitempty"`
}

// Held reports whether the owner has the value now.
func (r Record) Held() bool { return r.Released.IsZero() }

// Owned reports whether the value is the owner's: he has it or it is pinned
// to him. An owner owns one value of a space at most.
func (r Record) Owned() bool { return r.Held() || r.Pinned }

// heldBack reports whether only acting frees the value, and not time.
func (r Record) heldBack() bool { return r.Owned() || r.Unacknowledged || len(r.Contested) > 0 }

// Free reports whether the value may be given to another owner at a time.
func (r Record) Free(now time.Time) bool { return !r.heldBack() && !now.Before(r.Until) }

// Why explains the record in words: who has the value, since when, and why
// nobody else may have it.
func (r Record) Why() string {
	day := func(t time.Time) string {
		if t.IsZero() {
			return "an unknown time"
		}
		return t.UTC().Format(time.RFC3339)
	}
	if r.Held() {
		text := fmt.Sprintf("leased to %q since %s", r.Owner, day(r.Since))
		if r.Pinned {
			text += ", pinned"
		}
		if r.Suspect {
			text += ", owner not found"
		}
		return text + r.whoContests()
	}
	text := fmt.Sprintf("released by %q at %s", r.Owner, day(r.Released))
	if r.Until.After(r.Released) {
		text += ", in quarantine until " + day(r.Until)
	}
	if r.Unacknowledged {
		text += ", not acknowledged as gone"
	}
	if r.Pinned {
		text += ", pinned to its owner"
	}
	return text + r.whoContests()
}

func (r Record) whoContests() string {
	if len(r.Contested) == 0 {
		return ""
	}
	return fmt.Sprintf(", contested by %q", r.Contested)
}

// A Change replaces what a store has of one value.
type Change struct {
	// Before is the record as the store has it; the zero Record for none.
	Before Record
	// After is the record to put; the zero Record deletes.
	After Record
}

// Key returns the space and the value that the change is about.
func (c Change) Key() (space, value string) {
	if c.After.Value != "" {
		return c.After.Space, c.After.Value
	}
	return c.Before.Space, c.Before.Value
}

// Delete reports whether the change deletes the record.
func (c Change) Delete() bool { return c.After.Value == "" }

// A Store keeps records. Its methods may be called concurrently, and by
// several processes if they share the store. An error that wraps neither
// [ErrConflict] nor [ErrInvalid] leaves it unknown whether a commit was made;
// what Find of the same Store then says is final: a commit that it does not show
// is not made later.
//
// A store that only one process can have open says so with a method
// Exclusive() bool. Otherwise a [Registry] asks it before each answer.
type Store interface {
	// Load passes all records of a space, or of all spaces for "", in any
	// order, as they were at one moment, and returns the highest revision or
	// generation that the store has given by then. An error of each ends it.
	Load(ctx context.Context, space string, each func(Record) error) (generation uint64, err error)
	// Find returns the records of a space that an owner owns or that are of
	// one of the values, each once.
	Find(ctx context.Context, space, owner string, values ...string) ([]Record, error)
	// Commit makes all changes, durably, or with an error none. It fills in
	// the Revision of every After, and its Generation where that is zero; both
	// are higher than any that it gave before or that was put. A record that
	// is not as Before says, or an owner who would own two values of a space,
	// is [ErrConflict].
	Commit(ctx context.Context, changes []Change) error
}

// ValidateChanges is what a [Store] checks before it looks: that changes are
// complete, of distinct values, and keep the record's key, and that names and
// generations are none that a store could not keep.
func ValidateChanges(changes []Change) error {
	var errs []error
	var seen map[[2]string]bool
	if len(changes) > 1 {
		seen = make(map[[2]string]bool, len(changes))
	}
	for i := range changes {
		c := &changes[i]
		space, value := c.Key()
		key := [2]string{space, value}
		switch {
		case value == "":
			errs = append(errs, fmt.Errorf("ipam: change in %q: %w: it has no value", space, ErrInvalid))
		case seen[key]:
			errs = append(errs, fmt.Errorf("ipam: change of %s in %q: %w: it is changed twice", value, space, ErrInvalid))
		case !c.Delete() && c.Before.Revision != 0 && (c.Before.Value != value || c.Before.Space != space):
			errs = append(errs, fmt.Errorf("ipam: change of %s in %q: %w: it was %s in %q before", value, space, ErrInvalid, c.Before.Value, c.Before.Space))
		case !c.Delete():
			if err := checkRecord(&c.After); err != nil {
				errs = append(errs, fmt.Errorf("ipam: change of %.64s in %.64q: %w", value, space, err))
			}
		}
		if seen != nil {
			seen[key] = true
		}
	}
	return errors.Join(errs...)
}

// ConflictError is what a [Store] returns for a change whose record has
// another revision than Before, 0 for none.
func ConflictError(c Change, have uint64) error {
	space, value := c.Key()
	return fmt.Errorf("ipam: %s in %q: %w: revision %d, expected %d", value, space, ErrConflict, have, c.Before.Revision)
}

// OwnerConflictError is what a [Store] returns for a change whose owner owns
// another value.
func OwnerConflictError(c Change, has string) error {
	return fmt.Errorf("ipam: %s in %q: %w: %q owns %s", c.After.Value, c.After.Space, ErrConflict, c.After.Owner, has)
}
