package ipam

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Record is one lease in a [Store]. Space and Owner are its key.
type Record struct {
	Space string `json:"space"`
	Owner string `json:"owner"`
	// Value is what is leased, as text.
	Value string `json:"value"`
	// Until is set on a lease that was released: the value is held back for
	// other owners until then.
	Until time.Time `json:"until,omitzero"`
	// Revision counts the changes of the record: 1 when it is made.
	Revision uint64 `json:"revision"`
}

// A Change puts a record, or deletes one.
type Change struct {
	// Record to put; its Revision is one more than Expect. To delete, Space
	// and Owner count.
	Record Record
	Delete bool
	// Expect is the revision that the record must have, 0 for none there.
	Expect uint64
}

// A Store keeps records. Both methods may be called concurrently.
type Store interface {
	// Load returns all records, in any order.
	Load(ctx context.Context) ([]Record, error)
	// Commit makes all changes durable or, with an error, none of them. A
	// record whose revision is not the expected one is [ErrConflict]. Any
	// other error leaves it unknown whether the changes were made.
	Commit(ctx context.Context, changes []Change) error
}

// A MemoryStore is a Store that forgets everything with the process. Make one
// with [NewMemoryStore].
type MemoryStore struct {
	mu      sync.Mutex // protects records
	records map[[2]string]Record
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{records: map[[2]string]Record{}} }

// Load implements [Store].
func (s *MemoryStore) Load(context.Context) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Record, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, r)
	}
	return out, nil
}

// Commit implements [Store].
func (s *MemoryStore) Commit(_ context.Context, changes []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if have := s.records[[2]string{c.Record.Space, c.Record.Owner}].Revision; have != c.Expect {
			return ConflictError(c, have)
		}
	}
	for _, c := range changes {
		key := [2]string{c.Record.Space, c.Record.Owner}
		if c.Delete {
			delete(s.records, key)
		} else {
			s.records[key] = c.Record
		}
	}
	return nil
}

// ConflictError is what a [Store] returns when a record has another revision
// than a change expects.
func ConflictError(c Change, have uint64) error {
	return fmt.Errorf("ipam: lease of %q in %q: %w: revision %d, expected %d", c.Record.Owner, c.Record.Space, ErrConflict, have, c.Expect)
}
