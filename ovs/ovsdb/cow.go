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
type cow[V any] struct {
	shards *[cowShards]cowShard[V]
	epoch  uint64 // of the copies: parts of an earlier one are shared
	len    int
	room   int // that new parts begin with
}

type cowShard[V any] struct {
	m     map[string]V
	epoch uint64
}

var cowSeed = maphash.MakeSeed()

func (c *cow[V]) shard(k string) *cowShard[V] {
	return &c.shards[maphash.String(cowSeed, k)%cowShards]
}

func (c *cow[V]) get(k string) (v V, ok bool) {
	if c.shards == nil {
		return v, false
	}
	v, ok = c.shard(k).m[k]
	return v, ok
}

// own returns the part that k is in, to be changed.
func (c *cow[V]) own(k string) map[string]V {
	if c.shards == nil {
		c.shards = new([cowShards]cowShard[V])
	}
	s := c.shard(k)
	if s.m == nil {
		s.m = make(map[string]V, c.room)
	} else if s.epoch != c.epoch {
		s.m = maps.Clone(s.m)
	}
	s.epoch = c.epoch
	return s.m
}

// expect says how many keys are to come.
func (c *cow[V]) expect(n int) { c.room = n / cowShards }

// set puts v in the place of what k has, which it returns.
func (c *cow[V]) set(k string, v V) (old V, had bool) {
	m := c.own(k)
	if old, had = m[k]; !had {
		c.len++
	}
	m[k] = v
	return old, had
}

// update puts in the place of what k has what the function makes of it.
func (c *cow[V]) update(k string, f func(V) V) {
	m := c.own(k)
	n := len(m)
	m[k] = f(m[k])
	c.len += len(m) - n
}

// delete takes k out, and returns what it has.
func (c *cow[V]) delete(k string) (old V, had bool) {
	if old, had = c.get(k); had {
		delete(c.own(k), k)
		c.len--
	}
	return old, had
}

// freeze returns a copy that stays as it is.
func (c *cow[V]) freeze() cow[V] {
	frozen := *c
	if c.shards != nil {
		parts := *c.shards
		c.shards = &parts
	}
	c.epoch++
	return frozen
}

// all yields every key with its value, in no order that means anything.
func (c *cow[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
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
