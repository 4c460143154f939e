package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/overlay"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// A frailStore fails when it is told to: before or after it has written.
type frailStore struct {
	*ipam.MemoryStore
	before, after error
}

func (s *frailStore) Load(ctx context.Context, space string, each func(ipam.Record) error) (uint64, error) {
	if s.before != nil {
		return 0, s.before
	}
	return s.MemoryStore.Load(ctx, space, each)
}

func (s *frailStore) Commit(ctx context.Context, changes []ipam.Change) error {
	if s.before != nil {
		return s.before
	}
	return errors.Join(s.MemoryStore.Commit(ctx, changes), s.after)
}

func newAllocator(t *testing.T, store ipam.Store, docs ...string) *allocator {
	registry, err := ipam.Open(t.Context(), store, ipam.Config{})
	require.NoError(t, err)
	intents := intent.NewMemory()
	t.Cleanup(func() { require.NoError(t, intents.Close()) })
	for _, d := range docs {
		var o intent.Object
		require.NoError(t, json.Unmarshal([]byte(d), &o))
		_, err := intents.Apply(t.Context(), []intent.Change{intent.Put(o)})
		require.NoError(t, err)
	}
	return &allocator{registry: registry, intents: intents, open: map[string]space{}}
}

const (
	node = `{"resource_type":"SegmentPort","id":"node1","attachment":{"type":"PARENT","id":"v1"}}`
	snat = `{"resource_type":"IpAddressPool","id":"snat","ranges":["203.0.113.4-203.0.113.5"]}`
)

func TestAllocator_VLANsOfANodeRunOut(t *testing.T) {
	l := newAllocator(t, ipam.NewMemoryStore(), node)
	seen := map[string]bool{}
	for i := range int(overlay.MaxVLAN) {
		a, err := l.allocate(t.Context(), api.Allocation{Kind: api.VLAN, Pool: "node1", Owner: fmt.Sprintf("c/port/%d", i)})
		require.NoError(t, err)
		n, err := strconv.Atoi(a.Value)
		require.NoError(t, err)
		require.True(t, n >= 1 && n <= int(overlay.MaxVLAN) && !seen[a.Value], a.Value)
		seen[a.Value] = true
	}
	one := api.Allocation{Kind: api.VLAN, Pool: "node1", Owner: "c/port/more"}
	_, err := l.allocate(t.Context(), one)
	require.True(t, api.IsReason(err, api.ReasonExhausted), "%v", err)
	require.ErrorContains(t, err, fmt.Sprintf("%d of %[1]d", overlay.MaxVLAN))
	require.NoError(t, l.release(t.Context(), api.Allocation{Kind: api.VLAN, Pool: "node1", Owner: "c/port/77"}))
	_, err = l.allocate(t.Context(), one)
	require.NoError(t, err)
}

// The store fails before or after the write, or the process dies there: it is
// not "no such pool" and not "exhausted", and asked again there is one lease.
func TestAllocator_StoreFails(t *testing.T) {
	down := errors.New("disk is gone")
	for name, fail := range map[string]func(*frailStore){
		"before the write": func(s *frailStore) { s.before = down },
		"after the write":  func(s *frailStore) { s.after = down },
	} {
		for _, dies := range []bool{false, true} {
			store := &frailStore{MemoryStore: ipam.NewMemoryStore()}
			l := newAllocator(t, store, snat)
			one := api.Allocation{Kind: api.Address, Pool: "snat", Owner: "c/snat/1"}
			fail(store)
			_, err := l.allocate(t.Context(), one)
			var e *api.Error
			require.ErrorAs(t, err, &e, name)
			require.Equal(t, 503, e.Code, name)
			require.Empty(t, e.Reason, name)
			require.ErrorContains(t, err, "disk is gone")

			store.before, store.after = nil, nil
			if dies {
				l = newAllocator(t, store, snat)
			}
			var got []string
			for _, owner := range []string{"c/snat/1", "c/snat/2", "c/snat/1"} {
				a, err := l.allocate(t.Context(), api.Allocation{Kind: api.Address, Pool: "snat", Owner: owner})
				require.NoError(t, err, name)
				got = append(got, a.Value)
			}
			require.ElementsMatch(t, []string{"203.0.113.4", "203.0.113.5"}, got[:2], name)
			require.Equal(t, got[0], got[2], name)
			require.Len(t, l.list("c/"), 2)
		}
	}
}

// A pool object that cannot be read is named, and the others serve.
func TestAllocator_ObjectAtFault(t *testing.T) {
	l := newAllocator(t, ipam.NewMemoryStore(), snat,
		`{"resource_type":"IpAddressBlock","id":"bad","cidrs":"ten"}`, `{"resource_type":"IpAddressPool","id":"worse","ranges":["1.2.3.4-1.2.3.1"]}`)
	for _, a := range []api.Allocation{
		{Kind: api.Subnet, Pool: "bad", Owner: "c/ns/1", PrefixLength: 24}, {Kind: api.Address, Pool: "worse", Owner: "c/snat/1"},
	} {
		_, err := l.allocate(t.Context(), a)
		require.True(t, api.IsReason(err, api.ReasonInvalid), "%v", err)
		require.ErrorContains(t, err, a.Kind+" "+a.Pool)
	}
	_, err := l.allocate(t.Context(), api.Allocation{Kind: api.Address, Pool: "snat", Owner: "c/snat/1"})
	require.NoError(t, err)
}
