package ipam

import (
	"context"
	"sync"
)

// A MemoryStore is a Store that forgets everything with the process. Several
// registries may share one. Make one with [NewMemoryStore].
type MemoryStore struct {
	mu         sync.Mutex // protects what follows
	records    map[[2]string]Record
	owners     map[[2]string]string // the value that an owner owns
	generation uint64
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{records: map[[2]string]Record{}, owners: map[[2]string]string{}}
}

// Load implements [Store].
func (s *MemoryStore) Load(ctx context.Context, space string, each func(Record) error) (uint64, error) {
	s.mu.Lock()
	list := make([]Record, 0, len(s.records))
	for _, r := range s.records {
		if space == "" || r.Space == space {
			list = append(list, r)
		}
	}
	generation := s.generation
	s.mu.Unlock()
	for _, r := range list {
		if err := each(r); err != nil {
			return 0, err
		}
	}
	return generation, ctx.Err()
}

// Find implements [Store].
func (s *MemoryStore) Find(ctx context.Context, space, owner string, values ...string) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Record
	owned, ok := s.owners[[2]string{space, owner}]
	if ok {
		out = append(out, s.records[[2]string{space, owned}])
	}
	for _, value := range values {
		if r, found := s.records[[2]string{space, value}]; found && !(ok && value == owned) {
			out = append(out, r)
		}
	}
	return out, ctx.Err()
}

// Commit implements [Store].
func (s *MemoryStore) Commit(ctx context.Context, changes []Change) error {
	if err := ValidateChanges(changes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range changes {
		space, value := c.Key()
		if have := s.records[[2]string{space, value}].Revision; have != c.Before.Revision {
			return ConflictError(c, have)
		}
	}
	if err := s.checkOwnersLocked(changes); err != nil {
		return err
	}
	for _, c := range changes {
		s.generation = max(s.generation, c.After.Generation)
	}
	s.generation++
	for _, c := range changes {
		if c.Before.Owned() && c.Before.Revision != 0 {
			delete(s.owners, [2]string{c.Before.Space, c.Before.Owner})
		}
	}
	for i := range changes {
		s.putLocked(&changes[i])
	}
	return nil
}

// checkOwnersLocked refuses an owner who would own two values.
func (s *MemoryStore) checkOwnersLocked(changes []Change) error {
	after := map[[2]string]string{} // what owners own by the changes, "" for nothing
	for _, c := range changes {
		if c.Before.Revision != 0 && c.Before.Owned() {
			after[[2]string{c.Before.Space, c.Before.Owner}] = ""
		}
	}
	for _, c := range changes {
		if c.Delete() || !c.After.Owned() {
			continue
		}
		key := [2]string{c.After.Space, c.After.Owner}
		has, changed := after[key]
		if !changed {
			has = s.owners[key]
		}
		if has != "" {
			return OwnerConflictError(c, has)
		}
		after[key] = c.After.Value
	}
	return nil
}

func (s *MemoryStore) putLocked(c *Change) {
	space, value := c.Key()
	key := [2]string{space, value}
	if c.Delete() {
		delete(s.records, key)
		return
	}
	c.After.stamp(s.generation)
	s.records[key] = c.After
	if c.After.Owned() {
		s.owners[[2]string{space, c.After.Owner}] = value
	}
}

// stamp gives a record that is put its revision, and its generation if it has none.
func (r *Record) stamp(revision uint64) {
	r.Revision = revision
	if r.Generation == 0 {
		r.Generation = revision
	}
}
