package intent

import (
	"context"
	"iter"
)

// Store keeps objects. Implementations are safe for concurrent use and pass intenttest.TestStore.
type Store interface {
	// List returns the objects that match, sorted by type and id, and the store revision at which
	// this was so: a Watch from there misses nothing.
	List(ctx context.Context, q Query) ([]Object, uint64, error)

	// Apply makes all changes in order or none, and returns the store's revision after that. Each
	// object that really changes takes the next revision. Put of an equal object and Delete of an
	// absent one are no changes. When Apply has returned without error, a durable store keeps the
	// changes through a crash.
	Apply(ctx context.Context, changes []Change) (uint64, error)

	// Watch yields what happened to matching objects after revision from, and goes on until ctx
	// ends or the caller breaks. An object that ceases to match is yielded as deleted. The last
	// element, unless the caller broke off, is the error that ended the watch: ErrCompacted if
	// from or Query.Epoch is not of the kept history, ErrUnavailable, or that of ctx.
	Watch(ctx context.Context, from uint64, q Query) iter.Seq2[Event, error]

	// Status tells the store's epoch, revision and size.
	Status(ctx context.Context) (Status, error)
}

// Query selects objects. The zero value selects all.
type Query struct {
	ResourceType string // empty: any
	ID           string // empty: any
	Tag          *Tag   // nil: any
	// Epoch, if set, must be that of the store, else List and Watch fail with ErrCompacted.
	Epoch string
}

// Matches says whether the query selects the object.
func (q Query) Matches(o *Object) bool {
	return o != nil && (q.ResourceType == "" || q.ResourceType == o.ResourceType) &&
		(q.ID == "" || q.ID == o.ID) && (q.Tag == nil || o.HasTag(*q.Tag))
}

// Change is one step of an Apply: either Put or Delete is set.
type Change struct {
	Put    *Object `json:"put,omitempty"`
	Delete *Key    `json:"delete,omitempty"`
	// IfRevision, if set, is the revision the object must have, 0 meaning that it must not exist;
	// else Apply fails with ErrConflict. A change before it in the same Apply counts as made.
	IfRevision *uint64 `json:"if_revision,omitempty"`
}

// Put is the change that makes o be so.
func Put(o Object) Change { return Change{Put: &o} }

// Delete is the change that removes an object.
func Delete(resourceType, id string) Change { return Change{Delete: &Key{resourceType, id}} }

// If is the same change on condition that the object is at the revision; 0: that there is none.
func (c Change) If(revision uint64) Change {
	c.IfRevision = &revision
	return c
}

// Key is the name of the object changed.
func (c Change) Key() Key {
	switch {
	case c.Put != nil:
		return c.Put.Key()
	case c.Delete != nil:
		return *c.Delete
	}
	return Key{}
}

// EventType says what happened.
type EventType string

// Kinds of events.
const (
	EventPut    EventType = "put"
	EventDelete EventType = "delete"
)

// Event is one change seen by a watch.
type Event struct {
	Type     EventType
	Revision uint64 // of the change; a later watch from here goes on after it
	Object   Object // as it is now, or as it last was if deleted
	More     bool   // the next event belongs to the same Apply
}

// Status describes a store.
type Status struct {
	Epoch    string `json:"epoch"`
	Revision uint64 `json:"revision"`
	Objects  int    `json:"objects"`
}

// Lookup finds one object; ErrNotFound if there is none.
func Lookup(ctx context.Context, s Store, resourceType, id string) (Object, error) {
	k := Key{resourceType, id}
	if resourceType == "" || id == "" {
		return Object{}, invalid("lookup", k, "", "type and id are required")
	}
	list, _, err := s.List(ctx, Query{ResourceType: resourceType, ID: id})
	if err != nil {
		return Object{}, err
	}
	if len(list) == 0 {
		return Object{}, &Error{Op: "lookup", Key: k, Kind: ErrNotFound}
	}
	return list[0], nil
}
