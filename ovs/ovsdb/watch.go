package ovsdb

import (
	"context"
	"errors"
	"fmt"
)

// ErrLagged says that a Watcher was read so slowly that it has lost changes.
var ErrLagged = errors.New("changes were lost")

// A Change is what happened to one row: Old is nil for one that is new, New
// for one that is gone.
type Change struct {
	Table    string
	UUID     UUID
	Old, New Row
}

// A Watcher tells what changes, in order. Make one with Cache.Watch.
type Watcher struct {
	cache  *Cache
	limit  int
	tables map[string]bool // nil is all
	wake   chan struct{}   // of capacity 1

	// Protected by the cache's mutex.
	queue  []Change
	lagged bool
}

// Watch returns the tables as they are and a Watcher that tells every change
// of these tables, or of all, from then on. At most limit changes wait for the
// reader: the connection never does. The Watcher costs memory until its Close.
func (k *Cache) Watch(limit int, tables ...string) (View, *Watcher, error) {
	if limit < 1 {
		return View{}, nil, fmt.Errorf("ovsdb: watch: limit %d: want at least 1", limit)
	}
	w := &Watcher{cache: k, limit: limit, wake: make(chan struct{}, 1)}
	for _, t := range tables {
		if w.tables == nil {
			w.tables = map[string]bool{}
		}
		w.tables[t] = true
	}
	for {
		v, changed, _, err := k.snapshot()
		if err != nil {
			return View{}, nil, err
		}
		k.mu.Lock()
		if k.changed == changed { // nothing has happened since the snapshot
			k.watchers[w] = true
			k.mu.Unlock()
			return v, w, nil
		}
		k.mu.Unlock()
	}
}

// tellLocked passes changes to the watchers.
func (k *Cache) tellLocked(changes []Change) {
	for w := range k.watchers {
		for _, c := range changes {
			if w.tables != nil && !w.tables[c.Table] {
				continue
			}
			if len(w.queue) >= w.limit {
				w.queue, w.lagged = nil, true
				delete(k.watchers, w)
				break
			}
			w.queue = append(w.queue, c)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Next returns the next changes, at least one. [ErrLagged] says that some were
// lost: Close the Watcher and make another. While there is no
// connection it fails with ErrDisconnected; the changes go on if the Cache does.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) {
	for {
		w.cache.mu.Lock()
		list, lagged := w.queue, w.lagged
		w.queue = nil
		client := w.cache.client
		w.cache.mu.Unlock()
		if lagged {
			return nil, fmt.Errorf("ovsdb: watch: more than %d changes waited: %w", w.limit, ErrLagged)
		}
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-w.wake:
		case <-client.dead:
			return nil, client.Err()
		case <-ctx.Done():
			return nil, fmt.Errorf("ovsdb: watch: %w", context.Cause(ctx))
		}
	}
}

// Close ends the Watcher.
func (w *Watcher) Close() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	delete(w.cache.watchers, w)
	w.queue = nil
}
