package ipam

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// An entry is a record in memory, in few bytes. It is replaced when the record
// changes, and where there is no store it is used again once it was released
// (see reuse). So who reads one has its owner or its value to himself, or one
// of their shards locked, and the text of its value is copied for who does not.
// Times are nanoseconds since 1970, 0 for none.
type entry struct {
	owner, value         string
	since                int64
	generation, revision uint64
	rest                 *rest  // nil if that is zero, as it mostly is
	ownerHash, valueHash uint32 // where the tables have it; see hash and near
	unacknowledged       bool
	pinned, suspect      bool
	// over says that the quarantine is over and the value free in the core. It
	// is written with the locks of the owner's shard and the value's, and read
	// with either.
	over bool
	text shortText // has the value, if that is short
}

// A shortText has room for an IPv4 address.
type shortText [16]byte

// setValue gives a new entry its value.
func (e *entry) setValue(value []byte) {
	if len(value) == 0 || len(value) > len(e.text) {
		e.value = string(value)
	} else {
		n := copy(e.text[:], value)
		e.value = unsafe.String(&e.text[0], n) // nobody writes there while it is this entry
	}
}

// setValueAhead is setValue, and has read ahead the bucket of the value and the
// one for the next values in the shard.
func (s *leases) setValueAhead(e *entry, value []byte) {
	e.setValue(value)
	e.valueHash = s.near(e.value)
	records := &s.valueShard(e.valueHash).records
	records.ahead(e.valueHash)
	records.ahead(e.valueHash + shardCount)
}

// The rest of a record is what one that is held has not, unless it is contested.
type rest struct {
	released, until int64
	contested       []string
}

// ending returns the rest of an entry.
func (e *entry) ending() rest {
	if e.rest == nil {
		return rest{}
	}
	return *e.rest
}

// kept reports whether the value of an entry, or of none, is not free in the core.
func (e *entry) kept() bool { return e != nil && !e.over }

func (e *entry) held() bool  { return e.rest == nil || e.rest.released == 0 }
func (e *entry) owned() bool { return e.held() || e.pinned }

// heldBack and free are those of a Record.
func (e *entry) heldBack() bool {
	return e.owned() || e.unacknowledged || len(e.ending().contested) > 0
}
func (e *entry) free(now int64) bool { return !e.heldBack() && now >= e.ending().until }

// nanos returns a time as an entry has it.
func nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case 0 < s && s < math.MaxInt64/int64(time.Second):
		return t.UnixNano()
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, 1)):
		return 1
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// entry returns a record as it is kept here.
func (s *leases) entry(r Record) *entry {
	e := &entry{
		owner: r.Owner, since: nanos(r.Since), generation: r.Generation, revision: r.Revision,
		unacknowledged: r.Unacknowledged, pinned: r.Pinned, suspect: r.Suspect,
		ownerHash: s.hash(r.Owner), valueHash: s.near(r.Value),
	}
	e.setValue([]byte(r.Value))
	if !r.Released.IsZero() || !r.Until.IsZero() || len(r.Contested) > 0 {
		e.rest = &rest{nanos(r.Released), nanos(r.Until), r.Contested}
	}
	e.over = !e.heldBack() && e.free(s.registry.nanos())
	return e
}

// released are entries that nobody has any more.
var released = sync.Pool{New: func() any { return new(entry) }}

// reuse takes an entry that is in no table any more. Where there is a store,
// others may have the text still; and what was once released may be in the queue.
func (s *leases) reuse(e *entry) {
	if s.registry.store == nil && e.rest == nil {
		released.Put(e)
	}
}

// valueOf returns the value of an entry, to be kept.
func (s *leases) valueOf(e *entry) string {
	if s.registry.store == nil {
		return strings.Clone(e.value)
	}
	return e.value
}

// record is the inverse of entry.
func (s *leases) record(e *entry) Record {
	r := s.recordLocked(e)
	r.Value = s.valueOf(e)
	return r
}

// recordLocked is record for who needs it only while the entry is there.
func (s *leases) recordLocked(e *entry) Record {
	rest := e.ending()
	return Record{
		Space: s.name, Value: e.value, Owner: e.owner,
		Since: timeOf(e.since), Released: timeOf(rest.released), Until: timeOf(rest.until),
		Unacknowledged: e.unacknowledged, Pinned: e.pinned, Suspect: e.suspect, Contested: rest.contested,
		Generation: e.generation, Revision: e.revision,
	}
}

const shardCount = 64

// An ownerShard is the part of a space that some of its owners are in.
type ownerShard struct {
	mu     sync.Mutex // protects what follows; not held while the store works
	owners table
	busy   *work // the first of those that wait for the store, or nil
	// gate is set while somebody has the space alone, and closed then.
	gate chan struct{}
	// text has a value that was just taken. With it a shard is as large as a
	// line of memory, so that shards do not much disturb each other.
	text shortText
}

// A work is of an owner who waits for the store.
type work struct {
	owner string
	done  chan struct{} // closed when it is done; nil if nobody waits for that
	next  *work
}

// A valueShard is the part of a space that some of its values are in. Its lock
// is taken after an ownerShard's.
type valueShard struct {
	mu      sync.Mutex // protects what follows
	records table
	// revision is the last that was given to a value here, and those up to
	// revisions are to be given next. It is for leases in memory alone.
	revision, revisions uint64
	_                   [16]byte // so that it is as large as an ownerShard
}

// revisionsAtOnce is how many revisions a shard takes of the registry's, so
// that shards do not wait for each other.
const revisionsAtOnce = 64

// stampLocked gives an entry a revision that is higher than any that its value
// had, if it has none.
func (sh *valueShard) stampLocked(r *Registry, e *entry) {
	if e.revision != 0 {
		return
	}
	if sh.revision == sh.revisions || sh.revision < r.raised.Load() {
		sh.revisions = r.generation.Add(revisionsAtOnce)
		sh.revision = sh.revisions - revisionsAtOnce
	}
	sh.revision++
	e.revision = sh.revision
	e.generation = cmp.Or(e.generation, e.revision)
}

// hash is where a name belongs: the low bits choose the shard.
func (s *leases) hash(name string) uint32 { return uint32(maphash.String(s.registry.seed, name)) }

// near is hash for a value. Values that differ in the last character are in
// different shards, so that those who are given one after another at once do not
// wait for each other. Of values that differ in the character before, three
// digits are in one bucket, and others beside it: what is given one after
// another is on few pages of memory, and often on one line.
func (s *leases) near(value string) uint32 {
	n := len(value)
	if n < 2 {
		return s.hash(value)
	}
	h, tens, ones := s.hash(value[:n-2]), uint32(value[n-2]), uint32(value[n-1])
	shard := (h + ones) % shardCount
	return (h - h%shardCount + tens%16/3*shardCount) ^ tens<<24 | shard
}

// An ownerPlace is where an owner is: its shard, and its hash there.
type ownerPlace struct {
	*ownerShard
	hash uint32
}

func (s *leases) place(owner string) ownerPlace {
	h := s.hash(owner)
	return ownerPlace{&s.owners[h%shardCount], h}
}

func (s *leases) ownerShard(e *entry) *ownerShard { return &s.owners[e.ownerHash%shardCount] }

func (s *leases) valueShard(hash uint32) *valueShard { return &s.values[hash%shardCount] }

// look calls f with what there is of a value, if there is something.
func (s *leases) look(value string, f func(*entry)) {
	h := s.near(value)
	sh := s.valueShard(h)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	if e := sh.records.get(h, value); e != nil {
		f(e)
	}
}

// told is look where nobody else writes to the store, and else calls f with what
// the store just said of the value: what is here may be older.
func (s *leases) told(value string, said *entry, f func(*entry)) {
	if !s.registry.shared {
		s.look(value, f)
		return
	}
	if said != nil {
		sh := s.valueShard(said.valueHash)
		lock(&sh.mu)
		defer sh.mu.Unlock()
		f(said)
	}
}

// of returns what there is of a value, or nil. The caller has the value to
// himself, or compares alone.
func (s *leases) of(value string) (found *entry) {
	s.look(value, func(e *entry) { found = e })
	return found
}

// learn takes note of what there is of a value, nil for nothing, and returns
// what there was here. Taken says that the caller has taken the value in the
// core; after that it is taken there if the record says so.
func (s *leases) learn(value string, e *entry, taken bool) (prior *entry) {
	var h uint32
	if e != nil {
		h = e.valueHash
	} else {
		h = s.near(value)
	}
	sh := s.valueShard(h)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	return s.learnLocked(sh, h, value, e, taken)
}

// learnLocked is learn with the value's shard locked: then no value that a
// record keeps is given back in the core.
func (s *leases) learnLocked(sh *valueShard, h uint32, value string, e *entry, taken bool) (prior *entry) {
	if e == nil {
		prior = sh.records.remove(h, value)
	} else {
		sh.stampLocked(s.registry, e)
		prior = sh.records.set(e)
		if s.registry.shared {
			raise(&s.highest, e.revision)
		}
	}
	switch {
	case e.kept() && !(taken && !s.registry.shared):
		_ = s.take(value) // what the core does not have it cannot give to another
	case !e.kept() && (taken || prior.kept()):
		s.give(value)
	}
	if e != nil && !e.held() {
		s.queue.add(e)
	}
	return prior
}

// hear takes note of what the store said of a value, nil for nothing, while
// others may have learned what is newer; known is what there was here before
// the store was asked. Taken is that of learn, and a value that is taken and
// that no record keeps is given back once. It returns the entry of the record.
// The caller has no shard's lock.
func (s *leases) hear(value string, known *entry, rec *Record, taken bool) *entry {
	var e *entry
	if rec != nil {
		e = s.entry(*rec)
	}
	h := s.near(value)
	sh := s.valueShard(h)
	lock(&sh.mu)
	have := sh.records.get(h, value)
	same := sameEntry(have, e)
	newer := e == nil && have != known || e != nil && have != nil && have.revision > e.revision
	if same || newer {
		if taken && !have.kept() {
			s.give(value)
		}
		sh.mu.Unlock()
		if same {
			return have
		}
		return e
	}
	prior := s.learnLocked(sh, h, value, e, taken)
	sh.mu.Unlock()
	s.reindex(prior, e)
	return e
}

// reindex forgets that an owner had the first entry, and makes the second what
// its owner has. The caller has no shard's lock.
func (s *leases) reindex(prior, e *entry) {
	s.unindex(prior)
	if e == nil {
		return
	}
	sh := s.ownerShard(e)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	sh.indexLocked(e)
}

// take takes a value in the core.
func (s *leases) take(value string) error {
	if c := s.coreNow(); c != nil {
		return c.reserve(value)
	}
	return nil
}

// give gives a value back to the core. The caller has the value's shard locked,
// or the space alone.
func (s *leases) give(value string) {
	if c := s.coreNow(); c != nil {
		c.release(value)
	}
}

// giveUp gives back a value that the caller has taken in the core, unless a
// record keeps it by now.
func (s *leases) giveUp(value string) {
	h := s.near(value)
	sh := s.valueShard(h)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	if !sh.records.get(h, value).kept() {
		s.give(value)
	}
}

// sameEntry reports whether there are two entries of a value, of the same record.
// The revision alone does not tell: a store that was rolled back gives it again.
func sameEntry(a, b *entry) bool {
	if a == nil || b == nil || a.revision != b.revision {
		return false
	}
	x, y := a.ending(), b.ending()
	return a.owner == b.owner && a.generation == b.generation && a.since == b.since &&
		a.unacknowledged == b.unacknowledged && a.pinned == b.pinned && a.suspect == b.suspect &&
		x.released == y.released && x.until == y.until && slices.Equal(x.contested, y.contested)
}

// relearn is hear for who has the space alone: the store is right, even if what
// is here is newer. Taken is that of learn.
func (s *leases) relearn(value string, rec *Record, taken bool) {
	if rec == nil {
		s.unindex(s.learn(value, nil, taken))
		return
	}
	e := s.entry(*rec)
	if sameEntry(s.of(value), e) {
		return
	}
	s.reindex(s.learn(value, e, taken), e)
}

// indexLocked makes an entry what its owner has, if it is more than he has.
func (sh *ownerShard) indexLocked(e *entry) {
	if !e.owned() {
		have := sh.owners.get(e.ownerHash, e.owner)
		if have != nil && (have.owned() || have.revision > e.revision) {
			return
		}
	}
	sh.owners.set(e)
}

// unindex forgets that an owner had an entry that is no more, if it has not
// another by now. The caller has no shard's lock.
func (s *leases) unindex(e *entry) {
	if e == nil {
		return
	}
	sh := s.ownerShard(e)
	lock(&sh.mu)
	defer sh.mu.Unlock()
	sh.owners.drop(e)
}

// load takes note of a record before the space is in use.
func (s *leases) load(rec Record) {
	e := s.entry(rec)
	s.valueShard(e.valueHash).records.set(e)
	s.ownerShard(e).indexLocked(e)
	if s.registry.shared {
		raise(&s.highest, e.revision)
	}
	if !e.held() {
		s.queue.load(e)
	}
}

// each calls f with all entries, which must not call back and keeps none.
func (s *leases) each(f func(*entry)) {
	for i := range s.values {
		sh := &s.values[i]
		lock(&sh.mu)
		sh.records.all(f)
		sh.mu.Unlock()
	}
}

// sorted returns all records.
func (s *leases) sorted(compare func(a, b Record) int) []Record {
	var out []Record
	s.each(func(e *entry) { out = append(out, s.record(e)) })
	slices.SortFunc(out, compare)
	return out
}
