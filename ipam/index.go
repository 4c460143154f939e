package ipam

import (
	"hash/maphash"
	"slices"
	"sync"
)

// An entry is a record in memory. It is replaced when the record changes.
type entry struct {
	Record
	// over says that the quarantine is over and the value free in the core. It
	// is written with the locks of the owner's shard and the value's, and read
	// with either.
	over bool
}

const shardCount = 64

// An ownerShard is the part of a space that some of its owners are in.
type ownerShard struct {
	mu     sync.Mutex // protects what follows; not held while the store works
	owners map[string]*entry
	// busy owners wait for the store; the channel is closed when it is done.
	busy map[string]chan struct{}
	// gate is set while somebody has the space alone, and closed then.
	gate chan struct{}
}

// A valueShard is the part of a space that some of its values are in. Its lock
// is taken after an ownerShard's.
type valueShard struct {
	mu      sync.Mutex // protects records
	records map[string]*entry
}

func (s *leases) ownerShard(owner string) *ownerShard {
	return &s.owners[maphash.String(s.registry.seed, owner)%shardCount]
}

func (s *leases) valueShard(value string) *valueShard {
	return &s.values[maphash.String(s.registry.seed, value)%shardCount]
}

// of returns what there is of a value, or nil.
func (s *leases) of(value string) *entry {
	sh := s.valueShard(value)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.records[value]
}

// learn takes note of what the store has of a value, nil for nothing, and
// returns what there was here. Taken says that the caller has the value in the
// core; after that it is taken there if the record says so.
func (s *leases) learn(value string, e *entry, taken bool) (prior *entry) {
	sh := s.valueShard(value)
	sh.mu.Lock()
	prior = sh.records[value]
	taken = taken || prior != nil && !prior.over
	if e == nil {
		delete(sh.records, value)
	} else {
		if sh.records == nil {
			sh.records = map[string]*entry{}
		}
		sh.records[value] = e
	}
	sh.mu.Unlock()
	switch keep := e != nil && !e.over; {
	case keep && !taken:
		_ = s.take(value) // what the core does not have it cannot give to another
	case taken && !keep:
		s.give(value)
	}
	if e != nil && !e.Held() {
		s.queue.add(e)
	}
	return prior
}

// take takes a value in the core.
func (s *leases) take(value string) error {
	s.coreMu.Lock()
	defer s.coreMu.Unlock()
	if s.core == nil {
		return nil
	}
	return s.core.reserve(value)
}

// give gives a value back to the core.
func (s *leases) give(value string) {
	s.coreMu.Lock()
	defer s.coreMu.Unlock()
	if s.core != nil {
		s.core.release(value)
	}
}

// relearn is learn for a record that was read from the store, nil for none. It
// returns the entry for it. The caller has no shard's lock.
func (s *leases) relearn(value string, rec *Record, taken bool) *entry {
	if rec == nil {
		s.unindex(s.learn(value, nil, taken))
		return nil
	}
	if have := s.of(value); have != nil && have.Revision == rec.Revision && !taken {
		return have
	}
	e := &entry{Record: *rec, over: rec.Free(s.registry.now())}
	s.unindex(s.learn(value, e, taken))
	sh := s.ownerShard(e.Owner)
	sh.mu.Lock()
	sh.indexLocked(e)
	sh.mu.Unlock()
	return e
}

// indexLocked makes an entry what its owner has, if it is more than he has.
func (sh *ownerShard) indexLocked(e *entry) {
	if sh.owners == nil {
		sh.owners = map[string]*entry{}
	}
	have := sh.owners[e.Owner]
	if have == nil || e.Owned() || !have.Owned() && e.Revision > have.Revision {
		sh.owners[e.Owner] = e
	}
}

// unindex forgets that an owner had an entry that is no more. The caller has
// no shard's lock.
func (s *leases) unindex(e *entry) {
	if e == nil {
		return
	}
	sh := s.ownerShard(e.Owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.owners[e.Owner] == e {
		delete(sh.owners, e.Owner)
	}
}

// load takes note of a record before the space is in use.
func (s *leases) load(rec Record) {
	e := &entry{Record: rec, over: rec.Free(s.registry.now())}
	sh := s.valueShard(rec.Value)
	if sh.records == nil {
		sh.records = map[string]*entry{}
	}
	sh.records[rec.Value] = e
	s.ownerShard(rec.Owner).indexLocked(e)
	if !e.Held() {
		s.queue.load(e)
	}
}

// each calls f with all entries, which must not call back.
func (s *leases) each(f func(*entry)) {
	for i := range s.values {
		sh := &s.values[i]
		sh.mu.Lock()
		for _, e := range sh.records {
			f(e)
		}
		sh.mu.Unlock()
	}
}

// sorted returns all records.
func (s *leases) sorted(compare func(a, b Record) int) []Record {
	var out []Record
	s.each(func(e *entry) { out = append(out, e.Record) })
	slices.SortFunc(out, compare)
	return out
}
