// Package etcdstore keeps the leases of package ipam in an etcd cluster, where
// several processes may share them.
//
// Below a prefix, a record is the key value/SPACE/VALUE, and its revision is
// the key's. The key owner/SPACE/OWNER has the value that an owner owns. The
// key base has a number that is added to revisions to make generations; it is
// raised when a cluster with fewer revisions takes over leases. Each commit
// compares the base's revision, so that the base, put anew, is a fence: commits
// that are still on their way are refused, and made again by who still waits.
package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tierloom/tierloom/ipam"
)

// timeout ends a request that the cluster does not answer.
const timeout = 5 * time.Second

// page is how many records Load reads at once.
const page = 2000

// A Store is an ipam.Store in etcd. Make one with [New]; it may be used
// concurrently, and by several processes with the same prefix.
type Store struct {
	client *clientv3.Client
	prefix string
	base   atomic.Pointer[base] // as last seen
	// doubts is how many commits may be on their way still, of this store or,
	// for the first, of one before it; fenced is up to which they are refused.
	doubts, fenced atomic.Uint64
	fencing        chan struct{} // has one element while somebody puts the fence
	// seen is the highest revision of the cluster so far. A cluster that
	// answers with less was rolled back.
	seen atomic.Int64
}

// DefaultPrefix is where leases are kept unless there is a reason.
const DefaultPrefix = "/tierloom/leases"

// New returns the store below a prefix, such as [DefaultPrefix]. The caller
// closes the client.
func New(client *clientv3.Client, prefix string) *Store {
	s := &Store{client: client, prefix: prefix + "/", fencing: make(chan struct{}, 1)}
	s.base.Store(&base{})
	s.doubts.Store(1)
	return s
}

// A base is what the base key has, and its revision, 0 if there is none.
type base struct {
	number   uint64
	revision int64
}

// A stored record is what a key has. Without a generation, that is Base and the
// key's revision.
type stored struct {
	ipam.Record
	Base uint64 `json:"base,omitempty"`
}

func (s *Store) valueKey(space, value string) string {
	return s.spacePrefix(space) + url.PathEscape(value)
}

// spacePrefix begins the keys of a space, or of all for "".
func (s *Store) spacePrefix(space string) string {
	if space == "" {
		return s.prefix + "value/"
	}
	return s.prefix + "value/" + url.PathEscape(space) + "/"
}

func (s *Store) ownerKey(space, owner string) string {
	return s.prefix + "owner/" + url.PathEscape(space) + "/" + url.PathEscape(owner)
}

func (s *Store) baseKey() string { return s.prefix + "base" }

func decode(key string, value []byte, revision int64) (ipam.Record, error) {
	var r stored
	if err := json.Unmarshal(value, &r); err != nil {
		return ipam.Record{}, fmt.Errorf("key %s: %w", key, err)
	}
	r.Revision = uint64(revision)
	if r.Generation == 0 {
		r.Generation = r.Base + r.Revision
	}
	return r.Record, nil
}

// do carries out a transaction.
func (s *Store) do(ctx context.Context, cmps []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := s.seen.Load()
	resp, err := s.client.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, err
	}
	if resp.Header.Revision < seen { // which is told once: the registry remembers it
		s.seen.CompareAndSwap(seen, resp.Header.Revision)
		return nil, fmt.Errorf("%w: revision %d, it was %d", ipam.ErrRolledBack, resp.Header.Revision, seen)
	}
	for seen < resp.Header.Revision && !s.seen.CompareAndSwap(seen, resp.Header.Revision) {
		seen = s.seen.Load()
	}
	return resp, nil
}

// kvs returns what the i-th operation of a transaction, a read, found.
func kvs(resp *clientv3.TxnResponse, i int) []kv {
	var out []kv
	for _, pair := range resp.Responses[i].GetResponseRange().Kvs {
		out = append(out, kv{string(pair.Key), pair.Value, pair.ModRevision})
	}
	return out
}

type kv struct {
	key      string
	value    []byte
	revision int64
}

// learnBase takes note of what the base key was found to have.
func (s *Store) learnBase(found []kv) (base, error) {
	var b base
	if len(found) > 0 {
		number, err := strconv.ParseUint(string(found[0].value), 10, 64)
		if err != nil || number > math.MaxInt64 {
			return base{}, fmt.Errorf("key %s: %q is not a number", found[0].key, found[0].value)
		}
		b = base{number, found[0].revision}
	}
	s.base.Store(&b)
	return b, nil
}

// fence has the cluster refuse what may still be on its way, so that what is
// read next is not changed by it.
func (s *Store) fence(ctx context.Context) error {
	if s.fenced.Load() == s.doubts.Load() {
		return nil
	}
	select {
	case s.fencing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.fencing }()
	for doubts := s.doubts.Load(); s.fenced.Load() != doubts; {
		b := s.base.Load()
		put := clientv3.OpPut(s.baseKey(), strconv.FormatUint(b.number, 10))
		resp, err := s.do(ctx, []clientv3.Cmp{s.baseIs(b)}, []clientv3.Op{put}, []clientv3.Op{clientv3.OpGet(s.baseKey())})
		if err != nil {
			return err
		}
		if resp.Succeeded {
			s.base.Store(&base{b.number, resp.Header.Revision})
			s.fenced.Store(doubts)
		} else if _, err := s.learnBase(kvs(resp, 0)); err != nil {
			return err
		}
	}
	return nil
}

// baseIs compares the base.
func (s *Store) baseIs(b *base) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(s.baseKey()), "=", b.revision)
}

// Load implements ipam.Store.
func (s *Store) Load(ctx context.Context, space string, each func(ipam.Record) error) (uint64, error) {
	generation, err := s.load(ctx, space, each)
	if err != nil {
		return 0, fmt.Errorf("etcdstore: load: %w", err)
	}
	return generation, nil
}

func (s *Store) load(ctx context.Context, space string, each func(ipam.Record) error) (uint64, error) {
	prefix := s.spacePrefix(space)
	end := clientv3.GetPrefixRangeEnd(prefix)
	resp, err := s.do(ctx, nil, []clientv3.Op{
		clientv3.OpGet(s.baseKey()),
		clientv3.OpGet(prefix, clientv3.WithRange(end), clientv3.WithLimit(page)),
	}, nil)
	if err != nil {
		return 0, err
	}
	base, err := s.learnBase(kvs(resp, 0))
	if err != nil {
		return 0, err
	}
	revision, generation := resp.Header.Revision, base.number+uint64(resp.Header.Revision)
	for found := kvs(resp, 1); len(found) > 0; {
		for _, pair := range found {
			r, err := decode(pair.key, pair.value, pair.revision)
			if err == nil {
				err = each(r)
			}
			if err != nil {
				return 0, err
			}
		}
		from := found[len(found)-1].key + "\x00"
		next := clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision))
		if resp, err = s.do(ctx, nil, []clientv3.Op{next}, nil); err != nil {
			return 0, err
		}
		found = kvs(resp, 0)
	}
	return generation, nil
}

// Find implements ipam.Store.
func (s *Store) Find(ctx context.Context, space, owner string, values ...string) ([]ipam.Record, error) {
	if err := s.fence(ctx); err != nil {
		return nil, fmt.Errorf("etcdstore: find: fence: %w", err)
	}
	for {
		out, again, err := s.find(ctx, space, owner, values)
		if err != nil {
			return nil, fmt.Errorf("etcdstore: find: %w", err)
		}
		if !again {
			return out, nil
		}
	}
}

// find looks once; again says that what the owner owns changed meanwhile.
func (s *Store) find(ctx context.Context, space, owner string, values []string) (out []ipam.Record, again bool, err error) {
	ops := []clientv3.Op{clientv3.OpGet(s.ownerKey(space, owner))}
	for _, value := range values {
		ops = append(ops, clientv3.OpGet(s.valueKey(space, value)))
	}
	resp, err := s.do(ctx, nil, ops, nil)
	if err != nil {
		return nil, false, err
	}
	owned := ""
	if found := kvs(resp, 0); len(found) > 0 && owner != "" {
		owned = string(found[0].value)
	}
	for i := range values {
		for _, pair := range kvs(resp, i+1) {
			r, err := decode(pair.key, pair.value, pair.revision)
			if err != nil {
				return nil, false, err
			}
			out = append(out, r)
			if r.Value == owned {
				owned = ""
			}
		}
	}
	if owned == "" {
		return out, false, nil
	}
	stillOwned := clientv3.Compare(clientv3.Value(s.ownerKey(space, owner)), "=", owned)
	resp, err = s.do(ctx, []clientv3.Cmp{stillOwned}, []clientv3.Op{clientv3.OpGet(s.valueKey(space, owned))}, nil)
	if err != nil || !resp.Succeeded {
		return nil, err == nil, err
	}
	for _, pair := range kvs(resp, 0) {
		r, err := decode(pair.key, pair.value, pair.revision)
		if err != nil {
			return nil, false, err
		}
		if r.Owner == owner && r.Owned() {
			return append(out, r), false, nil
		}
	}
	return nil, false, fmt.Errorf("key %s: %s is not %q's by its record", s.ownerKey(space, owner), owned, owner)
}

// Commit implements ipam.Store.
func (s *Store) Commit(ctx context.Context, changes []ipam.Change) error {
	err := ipam.ValidateChanges(changes)
	for done := false; err == nil && !done; {
		done, err = s.try(ctx, changes)
	}
	if err != nil {
		if !errors.Is(err, ipam.ErrConflict) && !errors.Is(err, ipam.ErrInvalid) {
			s.doubts.Add(1)
		}
		return fmt.Errorf("etcdstore: commit: %w", err)
	}
	return nil
}

// try commits once; it is not done if somebody has put the base anew.
func (s *Store) try(ctx context.Context, changes []ipam.Change) (done bool, err error) {
	before := s.base.Load()
	t := &txn{store: s, base: before, next: before.number, changes: changes}
	if err := t.build(); err != nil {
		return false, err
	}
	resp, err := s.do(ctx, t.cmps, t.puts, t.gets)
	if err != nil {
		return false, err
	}
	if resp.Succeeded {
		if t.next != before.number {
			s.base.CompareAndSwap(before, &base{t.next, resp.Header.Revision})
		}
		t.stamp(uint64(resp.Header.Revision))
		return true, nil
	}
	if found, err := s.learnBase(kvs(resp, 0)); err != nil || found != *before {
		return false, err
	}
	return false, t.conflict(resp)
}
