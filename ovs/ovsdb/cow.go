package ovsdb

import (
	"hash/maphash"
	"iter"
	"maps"
)

// cowShards is in how many parts a cow is copied.
const cowShards = 256

// A cow is a map of which a frozen copy costs a few kilobytes, however large it
// is: the copy shares its parts, and the map copies a part before it changes it.
// The zero value is empty. A frozen copy is never changed.
type cow[K comparable, V any] struct {
	shards *[cowShards]cowShard[K, V]
	epoch  uint64 // of the copies: parts of an earlier one are shared
	len    int
}

type cowShard[K comparable, V any] struct {
	m     map[K]V
	epoch uint64
}

var cowSeed = maphash.MakeSeed()

func (c *cow[K, V]) shard(k K) *cowShard[K, V] {
	var hash uint64
	switch v := any(k).(type) {
	case string: // names and UUIDs, mostly
		hash = maphash.String(cowSeed, v)
	case UUID:
		hash = maphash.String(cowSeed, string(v))
	default:
		hash = maphash.Comparable(cowSeed, v)
	}
	return &c.shards[hash%cowShards]
}

func (c *cow[K, V]) get(k K) (v V, ok bool) {
	if c.shards == nil {
		return v, false
	}
	v, ok = c.shard(k).m[k]
	return v, ok
}

// own returns the part that k is in, to be changed.
func (c *cow[K, V]) own(k K) map[K]V {
	if c.shards == nil {
		c.shards = new([cowShards]cowShard[K, V])
	}
	s := c.shard(k)
	if s.m == nil {
		s.m = map[K]V{}
	} else if s.epoch != c.epoch {
		s.m = maps.Clone(s.m)
	}
	s.epoch = c.epoch
	return s.m
}

func (c *cow[K, V]) set(k K, v V) {
	m := c.own(k)
	n := len(m)
	m[k] = v
	c.len += len(m) - n
}

func (c *cow[K, V]) delete(k K) {
	if _, ok := c.get(k); ok {
		delete(c.own(k), k)
		c.len--
	}
}

// freeze returns a copy that stays as it is.
func (c *cow[K, V]) freeze() cow[K, V] {
	frozen := *c
	if c.shards != nil {
		parts := *c.shards
		c.shards = &parts
	}
	c.epoch++
	return frozen
}

// all yields every key with its value, in no order that means anything.
func (c *cow[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if c.shards == nil {
			return
		}
		for i := range c.shards {
			for k, v := range c.shards[i].m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}
