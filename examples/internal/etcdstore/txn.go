package etcdstore

import (
	"encoding/json"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tierloom/tierloom/ipam"
)

// A txn is the transaction that makes some changes.
type txn struct {
	store   *Store
	base    *base
	next    uint64 // the base's number after
	changes []ipam.Change
	cmps    []clientv3.Cmp
	puts    []clientv3.Op
	size    int           // of the keys and records that are put
	gets    []clientv3.Op // the base, the values, and the owners that must own nothing
	idle    []int         // the changes that those owners are of
}

// maxSize is how many bytes are put at once; a server takes 1.5 MiB.
const maxSize = 1 << 20

func (t *txn) build() error {
	if len(t.changes) > ipam.MaxChanges {
		return fmt.Errorf("%w: %d changes at once, at most %d", ipam.ErrInvalid, len(t.changes), ipam.MaxChanges)
	}
	for _, c := range t.changes {
		t.next = max(t.next, t.raised(c.After.Generation))
	}
	t.buildBase()
	for _, c := range t.changes {
		if err := t.buildValue(c); err != nil {
			return err
		}
	}
	if t.size > maxSize {
		return fmt.Errorf("%w: %d bytes at once, at most %d", ipam.ErrInvalid, t.size, maxSize)
	}
	return t.buildOwners()
}

// raised returns the base with which all generations to come are above one.
func (t *txn) raised(generation uint64) uint64 {
	if generation <= t.base.number+uint64(t.store.seen.Load()) {
		return 0
	}
	return generation
}

func (t *txn) buildBase() {
	key := t.store.baseKey()
	t.cmps = append(t.cmps, t.store.baseIs(t.base))
	t.gets = append(t.gets, clientv3.OpGet(key))
	if t.next != t.base.number {
		t.puts = append(t.puts, clientv3.OpPut(key, strconv.FormatUint(t.next, 10)))
	}
}

func (t *txn) buildValue(c ipam.Change) error {
	key := t.store.valueKey(c.Key())
	t.cmps = append(t.cmps, clientv3.Compare(clientv3.ModRevision(key), "=", int64(c.Before.Revision)))
	t.gets = append(t.gets, clientv3.OpGet(key))
	if c.Delete() {
		t.puts = append(t.puts, clientv3.OpDelete(key))
		return nil
	}
	r := stored{Record: c.After}
	r.Revision = 0
	if r.Generation == 0 {
		r.Base = t.next
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ipam.ErrInvalid, err)
	}
	t.puts = append(t.puts, clientv3.OpPut(key, string(raw)))
	t.size += len(key) + len(raw)
	return nil
}

// buildOwners keeps the owners' keys in step with the records. That a record
// is as Before says is compared already, and with it its owner's key.
func (t *txn) buildOwners() error {
	before := map[string]string{} // value by owner's key
	for _, c := range t.changes {
		if c.Before.Revision != 0 && c.Before.Owned() {
			before[t.store.ownerKey(c.Before.Space, c.Before.Owner)] = c.Before.Value
		}
	}
	after := map[string]string{}
	for i, c := range t.changes {
		if c.Delete() || !c.After.Owned() {
			continue
		}
		key := t.store.ownerKey(c.After.Space, c.After.Owner)
		if has, twice := after[key]; twice {
			return ipam.OwnerConflictError(c, has)
		}
		after[key] = c.After.Value
		if before[key] == c.After.Value {
			continue
		}
		if _, had := before[key]; !had {
			t.cmps = append(t.cmps, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
			t.gets = append(t.gets, clientv3.OpGet(key))
			t.idle = append(t.idle, i)
		}
		t.puts = append(t.puts, clientv3.OpPut(key, c.After.Value))
	}
	for key := range before {
		if _, kept := after[key]; !kept {
			t.puts = append(t.puts, clientv3.OpDelete(key))
		}
	}
	return nil
}

// stamp fills in what was put.
func (t *txn) stamp(revision uint64) {
	for i := range t.changes {
		c := &t.changes[i]
		if c.Delete() {
			continue
		}
		c.After.Revision = revision
		if c.After.Generation == 0 {
			c.After.Generation = t.next + revision
		}
	}
}

// conflict tells from what was found which comparison failed.
func (t *txn) conflict(resp *clientv3.TxnResponse) error {
	for i, c := range t.changes {
		have := uint64(0)
		for _, pair := range kvs(resp, 1+i) {
			have = uint64(pair.revision)
		}
		if have != c.Before.Revision {
			return ipam.ConflictError(c, have)
		}
	}
	for n, i := range t.idle {
		for _, pair := range kvs(resp, 1+len(t.changes)+n) {
			return ipam.OwnerConflictError(t.changes[i], string(pair.value))
		}
	}
	return fmt.Errorf("%w: nothing differs", ipam.ErrConflict)
}
