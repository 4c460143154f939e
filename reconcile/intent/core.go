package intent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// defaultHistory is how many changes are kept for watchers unless told otherwise.
const defaultHistory = 16384

// entry is one made change. Entries and the objects they point to are never modified.
type entry struct {
	revision uint64
	last     uint64 // revision of the last change of the same Apply
	key      Key
	before   *Object // nil if it was created
	after    *Object // nil if it was deleted
}

// request is one Apply on its way to being made.
type request struct {
	changes  []Change // canonical
	done     bool
	revision uint64
	err      error
}

// core is the store that Memory and Bolt share: all objects, the recent history, and group commit.
// Lock order: commit, then pending or mu; those two are never held together.
type core struct {
	// persist makes a group of changes durable before anyone sees them; nil keeps nothing.
	persist func([]entry) error

	commit  sync.Mutex // held while a group is made; the holder alone writes what mu protects
	pending struct {
		sync.Mutex
		waiting []*request // not yet taken by a holder of commit
	}

	mu      sync.RWMutex // protects all below
	epoch   string
	rev     uint64
	objects map[string]map[string]*Object // by type and id; the objects are never modified
	count   int
	history []entry // the last changes, revisions without gaps, ending at rev; append only
	limit   int
	changed chan struct{} // closed and replaced at every change
	closed  error         // why the store is no longer available; nil if it is
}

func newCore(history int) *core {
	if history <= 0 {
		history = defaultHistory
	}
	return &core{
		epoch:   rand.Text(),
		objects: map[string]map[string]*Object{},
		limit:   history,
		changed: make(chan struct{}),
	}
}

// List implements Store.
func (c *core) List(ctx context.Context, q Query) ([]Object, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, &Error{Op: "list", Kind: ErrUnavailable, Err: err}
	}
	found, rev, err := c.find(q)
	if err != nil {
		return nil, 0, &Error{Op: "list", Kind: kindOf(err), Err: err}
	}
	slices.SortFunc(found, func(a, b *Object) int { return a.Key().Compare(b.Key()) })
	list := make([]Object, len(found))
	for i, o := range found {
		list[i] = o.Clone()
	}
	return list, rev, nil
}

func (c *core) find(q Query) ([]*Object, uint64, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed != nil {
		return nil, 0, c.closed
	}
	if err := c.checkEpochLocked(q.Epoch); err != nil {
		return nil, 0, err
	}
	var found []*Object
	scan := func(byID map[string]*Object) {
		if q.ID != "" {
			if o := byID[q.ID]; q.Matches(o) {
				found = append(found, o)
			}
			return
		}
		for _, o := range byID {
			if q.Matches(o) {
				found = append(found, o)
			}
		}
	}
	if q.ResourceType != "" {
		scan(c.objects[q.ResourceType])
	} else {
		for _, byID := range c.objects {
			scan(byID)
		}
	}
	return found, c.rev, nil
}

func (c *core) checkEpochLocked(epoch string) error {
	if epoch != "" && epoch != c.epoch {
		return fmt.Errorf("%w: epoch %q asked for, the store's is %q", ErrCompacted, epoch, c.epoch)
	}
	return nil
}

// Status implements Store.
func (c *core) Status(ctx context.Context) (Status, error) {
	if err := ctx.Err(); err != nil {
		return Status{}, &Error{Op: "status", Kind: ErrUnavailable, Err: err}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed != nil {
		return Status{}, &Error{Op: "status", Kind: ErrUnavailable, Err: c.closed}
	}
	return Status{Epoch: c.epoch, Revision: c.rev, Objects: c.count}, nil
}

// Apply implements Store. Callers that wait while a group is being made are made together in the
// next group.
func (c *core) Apply(ctx context.Context, changes []Change) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, &Error{Op: "apply", Kind: ErrUnavailable, Err: err}
	}
	checked, err := checkChanges(changes)
	if err != nil {
		return 0, err
	}
	r := &request{changes: checked}
	c.pending.Lock()
	c.pending.waiting = append(c.pending.waiting, r)
	c.pending.Unlock()

	c.commit.Lock()
	defer c.commit.Unlock()
	if !r.done {
		c.pending.Lock()
		group := c.pending.waiting
		c.pending.waiting = nil
		c.pending.Unlock()
		c.makeLocked(group)
	}
	return r.revision, r.err
}

// checkChanges validates changes and brings them to canonical form, in copies.
func checkChanges(changes []Change) ([]Change, error) {
	out := make([]Change, len(changes))
	var errs []error
	for i, ch := range changes {
		out[i] = ch
		at := fmt.Sprintf("changes[%d]", i)
		switch {
		case (ch.Put == nil) == (ch.Delete == nil):
			errs = append(errs, invalid("apply", ch.Key(), at, "exactly one of put and delete must be set"))
		case ch.Delete != nil:
			key := *ch.Delete
			out[i].Delete = &key
			if err := key.validate(); err != nil {
				errs = append(errs, prefixField(err, at))
			}
		default:
			o, err := ch.Put.canonical()
			if err != nil {
				errs = append(errs, prefixField(err, at+".put"))
			}
			out[i].Put = o
		}
	}
	switch len(errs) {
	case 0:
		return out, nil
	case 1:
		return nil, errs[0]
	}
	return nil, errors.Join(errs...)
}

// prefixField puts the place of an object before the field of its fault.
func prefixField(err error, at string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if joined, many := err.(interface{ Unwrap() []error }); many && err != error(e) {
		var errs []error
		for _, one := range joined.Unwrap() {
			errs = append(errs, prefixField(one, at))
		}
		return errors.Join(errs...)
	}
	return &Error{Op: "apply", Key: e.Key, Field: join(at, e.Field), Kind: e.Kind, Err: e.Err}
}

// makeLocked makes a group of requests; c.commit is held.
func (c *core) makeLocked(group []*request) {
	// Only the holder of commit writes, so reading without mu is safe here; closed has other writers.
	c.mu.RLock()
	closed := c.closed
	c.mu.RUnlock()
	var entries []entry
	view := map[Key]*Object{} // what the group has changed so far
	rev := c.rev
	for _, r := range group {
		if closed != nil {
			r.err = &Error{Op: "apply", Kind: ErrUnavailable, Err: closed}
			continue
		}
		made, err := c.plan(view, rev, r.changes)
		if err != nil {
			r.err = err
			r.revision = 0
			continue
		}
		for _, e := range made {
			view[e.key] = e.after
		}
		entries = append(entries, made...)
		rev += uint64(len(made))
		r.revision = rev
	}
	var failed error
	if len(entries) > 0 && c.persist != nil {
		failed = c.persist(entries)
	}
	if failed == nil && len(entries) > 0 {
		c.publish(entries)
	}
	for _, r := range group {
		r.done = true
		if failed != nil && r.err == nil {
			r.revision, r.err = 0, &Error{Op: "apply", Kind: ErrUnavailable, Err: failed}
		}
	}
}

// plan works out what one Apply changes on top of view, or why it may not.
func (c *core) plan(view map[Key]*Object, rev uint64, changes []Change) ([]entry, error) {
	var made []entry
	own := map[Key]*Object{}
	current := func(k Key) *Object {
		if o, ok := own[k]; ok {
			return o
		}
		if o, ok := view[k]; ok {
			return o
		}
		return c.objects[k.ResourceType][k.ID]
	}
	for _, ch := range changes {
		k := ch.Key()
		before := current(k)
		if ch.IfRevision != nil {
			have := uint64(0)
			if before != nil {
				have = before.Revision
			}
			if have != *ch.IfRevision {
				return nil, conflict(k, *ch.IfRevision, have)
			}
		}
		if before == nil && ch.Put == nil || before != nil && ch.Put != nil && before.same(ch.Put) {
			continue
		}
		rev++
		var after *Object
		if ch.Put != nil {
			o := *ch.Put
			o.Revision = rev
			after = &o
		}
		own[k] = after
		made = append(made, entry{revision: rev, key: k, before: before, after: after})
	}
	for i := range made {
		made[i].last = rev
	}
	return made, nil
}

func conflict(k Key, want, have uint64) error {
	detail := fmt.Sprintf("revision %d asked for, it is at %d", want, have)
	switch {
	case have == 0:
		detail = fmt.Sprintf("revision %d asked for, there is no such object", want)
	case want == 0:
		detail = fmt.Sprintf("must not exist, it is at revision %d", have)
	}
	return &Error{Op: "apply", Key: k, Field: "if_revision", Kind: ErrConflict, Err: errors.New(detail)}
}

// publish lets readers and watchers see a group.
func (c *core) publish(entries []entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		c.setLocked(e.key, e.after)
	}
	c.rev = entries[len(entries)-1].revision
	c.history = append(c.history, entries...)
	if len(c.history) > 2*c.limit {
		c.history = slices.Clone(c.history[len(c.history)-c.limit:])
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *core) setLocked(k Key, o *Object) {
	byID := c.objects[k.ResourceType]
	_, had := byID[k.ID]
	switch {
	case o == nil && had:
		delete(byID, k.ID)
		c.count--
		if len(byID) == 0 {
			delete(c.objects, k.ResourceType)
		}
	case o != nil:
		if byID == nil {
			byID = map[string]*Object{}
			c.objects[k.ResourceType] = byID
		}
		byID[k.ID] = o
		if !had {
			c.count++
		}
	}
}

// close ends all watches and refuses all further calls.
func (c *core) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = why
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Watch implements Store. It holds no lock while the caller has an event and queues nothing for it.
func (c *core) Watch(ctx context.Context, from uint64, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at := from
		for {
			entries, changed, err := c.since(at, q.Epoch)
			if err != nil {
				yield(Event{}, &Error{Op: "watch", Kind: kindOf(err), Err: err})
				return
			}
			if len(entries) > 0 {
				if !deliver(ctx, entries, q, yield) {
					return
				}
				at = entries[len(entries)-1].revision
				continue
			}
			select {
			case <-ctx.Done():
				yield(Event{}, ctx.Err())
				return
			case <-changed:
			}
		}
	}
}

// since is the history after a revision, and what is closed when there is more.
func (c *core) since(at uint64, epoch string) ([]entry, <-chan struct{}, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed != nil {
		return nil, nil, c.closed
	}
	if err := c.checkEpochLocked(epoch); err != nil {
		return nil, nil, err
	}
	oldest := c.rev - uint64(len(c.history))
	switch {
	case at > c.rev:
		return nil, nil, fmt.Errorf("%w: revision %d lies after the store's %d", ErrCompacted, at, c.rev)
	case at < oldest:
		return nil, nil, fmt.Errorf("%w: revision %d lies before the kept %d", ErrCompacted, at, oldest)
	}
	tail := c.history[at-oldest:]
	return tail[:len(tail):len(tail)], c.changed, nil
}

// deliver yields what the entries mean to a query; false ends the watch.
func deliver(ctx context.Context, entries []entry, q Query, yield func(Event, error) bool) bool {
	var held *entry // the last that matches, kept back to know whether another of its Apply follows
	send := func(more bool) bool {
		if err := ctx.Err(); err != nil {
			yield(Event{}, err)
			return false
		}
		ev := Event{Type: EventDelete, Revision: held.revision, More: more}
		if q.Matches(held.after) {
			ev.Type = EventPut
			ev.Object = held.after.Clone()
		} else {
			ev.Object = held.before.Clone()
		}
		return yield(ev, nil)
	}
	for i := range entries {
		e := &entries[i]
		if !q.Matches(e.after) && !q.Matches(e.before) {
			continue
		}
		if held != nil && !send(held.last == e.last) {
			return false
		}
		held = e
	}
	return held == nil || send(false)
}

// kindOf is the sentinel an error wraps; ErrUnavailable if none.
func kindOf(err error) error {
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			return k.err
		}
	}
	return ErrUnavailable
}
