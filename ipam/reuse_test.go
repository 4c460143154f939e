package ipam_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A witness keeps what it was told, and a copy of it.
type witness struct{ told, copied []string }

func (w *witness) hears(s string) {
	w.told = append(w.told, s)
	w.copied = append(w.copied, strings.Clone(s))
}

// TestWhatIsToldStays acquires and releases all the time in memory, where what
// has a lease is used for others later, while all that tells of leases is asked:
// nothing that was told changes, and it is of the one that was asked for.
func TestWhatIsToldStays(t *testing.T) {
	ctx := t.Context()
	r := open(t, nil, ipam.Config{})
	pool, err := r.Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/25")}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range uint64(32) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 7))
			var w witness
			var old ipam.Lease
			for i := range 600 {
				owner := fmt.Sprint(g, "-", i%3)
				a, err := pool.Acquire(ctx, owner)
				if err != nil {
					t.Error(err)
					return
				}
				lease, _ := pool.Lease(owner)
				w.hears(lease.Value)
				if again, err := pool.Acquire(ctx, owner); err != nil || again != a || lease.Value != a.String() {
					t.Errorf("%s has %v, then %v, and a lease of %s: %v", owner, a, again, lease.Value, err)
				}
				another := ip(fmt.Sprint("10.0.0.", 1+rng.IntN(120)))
				_, err = pool.AcquireSpecific(ctx, owner+" too", another)
				if held := (*ipam.HeldError)(nil); errors.As(err, &held) {
					w.hears(held.Record.Value)
					if held.Record.Value != another.String() {
						t.Errorf("asked for %v, told of %s", another, held.Record.Value)
					}
				} else if err != nil && !errors.Is(err, ipam.ErrInUse) {
					t.Error(err)
				}
				if err := pool.Release(ctx, owner+" too"); err != nil {
					t.Error(err)
				}
				switch i % 4 {
				case 0:
					err = pool.ReleaseLease(ctx, lease)
				case 1:
					var moved ipam.Lease
					moved, err = pool.Transfer(ctx, lease, owner+" moved")
					w.hears(moved.Value)
					err = cmp.Or(err, pool.ReleaseLease(ctx, moved))
				default:
					err = pool.Release(ctx, owner)
				}
				if err != nil {
					t.Error(err)
				}
				if old.Value != "" { // which is mostly another's by now
					if err := pool.ReleaseLease(ctx, old); err != nil && !errors.Is(err, ipam.ErrNotOwner) {
						t.Error(err)
					}
					if _, err := pool.Transfer(ctx, old, owner+" moved"); !errors.Is(err, ipam.ErrNotOwner) && !errors.Is(err, ipam.ErrNotFound) {
						t.Errorf("%v was transferred: %v", old, err)
					}
				}
				if old = lease; i%50 == 0 {
					for l := range pool.Leases() {
						w.hears(l.Value)
					}
				}
			}
			for i := range w.told {
				if w.told[i] != w.copied[i] {
					t.Errorf("told %s, and it became %s", w.copied[i], w.told[i])
				}
			}
		})
	}
	live := func(context.Context) (iter.Seq[string], error) {
		return func(yield func(string) bool) {
			for g := range 32 {
				for i := range 3 {
					for _, which := range []string{"", " too", " moved"} {
						if !yield(fmt.Sprint(g, "-", i, which)) {
							return
						}
					}
				}
			}
		}, nil
	}
	wg.Go(func() {
		for range 50 {
			a, err := pool.Acquire(ctx, "ghost")
			if err != nil {
				t.Error(err)
			}
			gone, err := r.Collect(ctx, "p", live)
			if err != nil || len(gone) != 1 || gone[0].Value != a.String() || gone[0].Owner != "ghost" {
				t.Errorf("collected %v and not %v of ghost: %v", gone, a, err)
			}
		}
	})
	wg.Wait()
	require.Empty(t, slices.Collect(pool.Leases()))
}
