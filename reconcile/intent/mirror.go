package intent

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Snapshot is what a Mirror knows: all objects that match its query. It is valid during the call it
// is handed to; what its methods return may be kept.
type Snapshot struct {
	Epoch    string
	Revision uint64
	Changed  []Key // what is new, different or gone since the last call, sorted
	Relisted bool  // made from a list: the first call, and after a watch could not be resumed
	objects  map[Key]Object
}

// Len is the number of objects.
func (s Snapshot) Len() int { return len(s.objects) }

// Object finds one object.
func (s Snapshot) Object(k Key) (Object, bool) {
	o, ok := s.objects[k]
	return o.Clone(), ok
}

// Objects returns all objects, sorted by type and id.
func (s Snapshot) Objects() []Object {
	list := make([]Object, 0, len(s.objects))
	for _, k := range slices.SortedFunc(maps.Keys(s.objects), Key.Compare) {
		list = append(list, s.objects[k].Clone())
	}
	return list
}

// All yields all objects in no order.
func (s Snapshot) All() iter.Seq2[Key, Object] {
	return func(yield func(Key, Object) bool) {
		for k, o := range s.objects {
			if !yield(k, o.Clone()) {
				return
			}
		}
	}
}

// MirrorConfig holds what a mirror may be told. The zero value is good.
type MirrorConfig struct {
	// OnError hears why the store could not be followed, each time, before the mirror tries again;
	// a nil error says that it follows the store again. It may be nil.
	OnError func(error)
	// MinBackoff and MaxBackoff bound the time between tries; 0: 100 ms and 10 s.
	MinBackoff, MaxBackoff time.Duration
}

// Mirror follows a store: it calls fn with all matching objects, and again after every change, until
// ctx ends, and returns the error of ctx. While the store is away fn is not called and what it was
// told last still holds; Mirror resumes by itself, with a new list only if need be. fn is never
// called concurrently.
func Mirror(ctx context.Context, s Store, q Query, fn func(Snapshot)) error {
	return MirrorWith(ctx, s, q, MirrorConfig{}, fn)
}

// MirrorWith is Mirror with other than default settings.
func MirrorWith(ctx context.Context, s Store, q Query, cfg MirrorConfig, fn func(Snapshot)) error {
	if cfg.MinBackoff <= 0 {
		cfg.MinBackoff = 100 * time.Millisecond
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = 10 * time.Second
	}
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	m := &mirror{store: s, query: q, cfg: cfg, fn: fn}
	backoff := cfg.MinBackoff
	for {
		progress, err := m.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if progress {
			backoff = cfg.MinBackoff
		}
		if errors.Is(err, ErrCompacted) {
			m.listed = false
			if progress {
				continue // fell behind: list again at once
			}
		}
		m.failing = true
		cfg.OnError(err)
		wait := time.NewTimer(backoff/2 + rand.N(backoff/2+1))
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
		backoff = min(2*backoff, cfg.MaxBackoff)
	}
}

type mirror struct {
	store   Store
	query   Query
	cfg     MirrorConfig
	fn      func(Snapshot)
	listed  bool
	failing bool
	snap    Snapshot
}

// follow lists if need be, then watches until that fails. Progress says that it got anywhere.
func (m *mirror) follow(ctx context.Context) (progress bool, err error) {
	if !m.listed {
		if err := m.list(ctx); err != nil {
			return false, err
		}
		progress = true
	} else if m.failing {
		if _, err := m.store.Status(ctx); err != nil {
			return false, err
		}
		m.well()
	}
	q := m.query
	q.Epoch = m.snap.Epoch
	changed := map[Key]bool{}
	for ev, err := range m.store.Watch(ctx, m.snap.Revision, q) {
		if err != nil {
			if len(changed) > 0 { // the end of a batch is lost: tell what is known
				m.tell(changed, false)
			}
			return progress, err
		}
		progress = true
		k := ev.Object.Key()
		changed[k] = true
		if ev.Type == EventDelete {
			delete(m.snap.objects, k)
		} else {
			m.snap.objects[k] = ev.Object
		}
		m.snap.Revision = ev.Revision
		if !ev.More {
			m.tell(changed, false)
			clear(changed)
		}
	}
	return progress, &Error{Op: "watch", Kind: ErrUnavailable, Err: errors.New("the watch ended without a reason")}
}

func (m *mirror) list(ctx context.Context) error {
	st, err := m.store.Status(ctx)
	if err != nil {
		return err
	}
	q := m.query
	q.Epoch = st.Epoch
	list, rev, err := m.store.List(ctx, q)
	if err != nil {
		return err
	}
	before := m.snap.objects
	m.snap = Snapshot{Epoch: st.Epoch, Revision: rev, objects: make(map[Key]Object, len(list))}
	changed := map[Key]bool{}
	for _, o := range list {
		k := o.Key()
		m.snap.objects[k] = o
		if old, had := before[k]; !had || old.Revision != o.Revision || !old.Equal(o) {
			changed[k] = true
		}
		delete(before, k)
	}
	for k := range before {
		changed[k] = true
	}
	m.listed = true
	m.tell(changed, true)
	return nil
}

func (m *mirror) tell(changed map[Key]bool, relisted bool) {
	m.well()
	s := m.snap
	s.Relisted = relisted
	s.Changed = slices.SortedFunc(maps.Keys(changed), Key.Compare)
	m.fn(s)
}

// well reports that the store is followed again, if it was not.
func (m *mirror) well() {
	if m.failing {
		m.failing = false
		m.cfg.OnError(nil)
	}
}
