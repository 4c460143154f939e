package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A slow store lets others go first, before and after it works.
type slow struct{ ipam.Store }

func dawdle() {
	for range rand.IntN(4) {
		runtime.Gosched()
	}
}

func (s slow) Find(ctx context.Context, space, owner string, values ...string) ([]ipam.Record, error) {
	dawdle()
	defer dawdle()
	return s.Store.Find(ctx, space, owner, values...)
}

func (s slow) Commit(ctx context.Context, changes []ipam.Change) error {
	dawdle()
	defer dawdle()
	return s.Store.Commit(ctx, changes)
}

// A sharer is one of several registries on one store.
type sharer[V comparable] struct {
	acquire  func(ctx context.Context, owner string, rng *rand.Rand) (V, error)
	specific func(ctx context.Context, owner string, v V) (V, error) // nil if there is no such thing
	release  func(ctx context.Context, owner string) error
}

// share has owners acquire and release through any of several sharers, while
// others ask for what they hold. What an owner has it keeps until it releases
// it, and no two have what clashes.
func share[V comparable](t *testing.T, sharers []sharer[V], clash func(a, b V) bool) {
	t.Helper()
	ctx := t.Context()
	const owners, rounds = 8, 150
	var mu sync.Mutex // protects held
	held := map[string]V{}
	has := func(owner string, v V) {
		mu.Lock()
		defer mu.Unlock()
		for other, u := range held {
			if other != owner && clash(u, v) {
				t.Errorf("%s has %v while %s has %v", owner, v, other, u)
			}
		}
		held[owner] = v
	}
	var wg sync.WaitGroup
	for g := range uint64(owners) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 3))
			owner := fmt.Sprint("o", g)
			var mine V
			owns := false
			got := func(v V) {
				if owns && v != mine {
					t.Errorf("%s had %v and got %v", owner, mine, v)
				}
				mine, owns = v, true
				has(owner, v)
			}
			for range rounds {
				s := sharers[rng.IntN(len(sharers))]
				kind := rng.IntN(4)
				if kind == 1 && s.specific == nil {
					kind = 2
				}
				switch kind {
				case 0:
					mu.Lock()
					delete(held, owner)
					mu.Unlock()
					if err := s.release(ctx, owner); err != nil {
						t.Error(err)
					}
					owns = false
				case 1: // something that another has, mostly
					mu.Lock()
					var other V
					for _, other = range held {
						break
					}
					mu.Unlock()
					var none V
					if other == none {
						continue
					}
					v, err := s.specific(ctx, owner, other)
					if err == nil {
						got(v)
					} else if !errors.Is(err, ipam.ErrInUse) && !errors.Is(err, ipam.ErrConflict) {
						t.Error(err)
					}
				default:
					v, err := s.acquire(ctx, owner, rng)
					if err != nil {
						if owns && !errors.Is(err, ipam.ErrConflict) || !owns && !errors.Is(err, ipam.ErrExhausted) {
							t.Error(err)
						}
						continue
					}
					got(v)
				}
			}
		})
	}
	wg.Wait()
	for g := range owners {
		require.NoError(t, sharers[0].release(ctx, fmt.Sprint("o", g)))
	}
}

// Registries that share a store never take a value from who holds it.
func TestSharedStore(t *testing.T) {
	for _, quarantine := range []time.Duration{0, time.Nanosecond, 50 * time.Microsecond} {
		slowClock := func(i int) ipam.Config { // slower for each
			return ipam.Config{Quarantine: quarantine, Now: func() time.Time { return time.Now().Add(-quarantine * time.Duration(i) / 3) }}
		}
		t.Run(fmt.Sprint("addresses ", quarantine), func(t *testing.T) {
			store := slow{ipam.NewMemoryStore()}
			var sharers []sharer[netip.Addr]
			for i := range 3 {
				_, a := pool(t, store, slowClock(i), "10.0.0.0/28")
				sharers = append(sharers, sharer[netip.Addr]{
					acquire:  func(ctx context.Context, o string, _ *rand.Rand) (netip.Addr, error) { return a.Acquire(ctx, o) },
					specific: a.AcquireSpecific, release: a.Release,
				})
			}
			share(t, sharers, same[netip.Addr])
			time.Sleep(2 * quarantine) // for the slowest clock, too
			for i, s := range sharers {
				for n := range 14 {
					_, err := s.acquire(t.Context(), fmt.Sprint("all", n), nil)
					require.NoError(t, err, "%d of registry %d", n, i)
				}
				for n := range 14 {
					require.NoError(t, s.release(t.Context(), fmt.Sprint("all", n)))
				}
				time.Sleep(2 * quarantine) // for the slowest clock, too
			}
		})
		t.Run(fmt.Sprint("subnets ", quarantine), func(t *testing.T) {
			store := slow{ipam.NewMemoryStore()}
			var sharers []sharer[netip.Prefix]
			var spaces []*ipam.Subnets
			for i := range 3 {
				_, s := subnets(t, store, slowClock(i), "10.0.0.0/24")
				spaces = append(spaces, s)
				sharers = append(sharers, sharer[netip.Prefix]{
					acquire: func(ctx context.Context, o string, rng *rand.Rand) (netip.Prefix, error) {
						return s.Acquire(ctx, o, 26+rng.IntN(3))
					},
					specific: s.AcquireSpecific, release: s.Release,
				})
			}
			share(t, sharers, netip.Prefix.Overlaps)
			time.Sleep(2 * quarantine) // for the slowest clock, too
			for i, s := range spaces {
				whole, err := s.Acquire(t.Context(), "all", 24)
				require.NoError(t, err, "registry %d", i)
				require.Equal(t, pfx("10.0.0.0/24"), whole)
				require.NoError(t, s.Release(t.Context(), "all"))
				time.Sleep(2 * quarantine) // for the slowest clock, too
			}
		})
	}
}

// A hooked store calls after each Find, with what was asked.
type hooked struct {
	ipam.Store
	found func(owner string)
}

func (h *hooked) Find(ctx context.Context, space, owner string, values ...string) ([]ipam.Record, error) {
	list, err := h.Store.Find(ctx, space, owner, values...)
	if h.found != nil {
		h.found(owner)
	}
	return list, err
}

// hereAndThere are two registries on a store, which is hooked for the first.
func hereAndThere(t *testing.T) (store *hooked, here, there *ipam.Addresses) {
	t.Helper()
	store = &hooked{Store: ipam.NewMemoryStore()}
	_, here = pool(t, store, ipam.Config{}, "10.0.0.0/28")
	_, there = pool(t, store.Store, ipam.Config{}, "10.0.0.0/28")
	return store, here, there
}

// What the store said before a lease was given is not taken for what it says now.
func TestOldAnswer(t *testing.T) {
	ctx := t.Context()
	store, here, there := hereAndThere(t)
	a, err := here.Acquire(ctx, "a")
	require.NoError(t, err)
	require.NoError(t, there.Release(ctx, "a"))

	asked, goOn, done := make(chan bool), make(chan bool), make(chan bool)
	store.found = func(owner string) {
		if owner == "a" {
			asked <- true
			<-goOn
		}
	}
	go func() {
		defer close(done)
		if err := here.Release(ctx, "a"); err != nil {
			t.Error(err)
		}
	}()
	<-asked // the store has nothing of a
	got, err := here.AcquireSpecific(ctx, "b", a)
	require.NoError(t, err)
	close(goOn)
	<-done
	has, ok := here.Lookup("b")
	require.True(t, ok)
	require.Equal(t, got, has)
	used, _ := here.Usage()
	require.EqualValues(t, 1, used)
}

// A value that others gave back while it was asked for is not in use, whatever
// somebody else here was told before.
func TestOldHolder(t *testing.T) {
	ctx := t.Context()
	store, here, there := hereAndThere(t)
	a, err := there.Acquire(ctx, "a")
	require.NoError(t, err)

	asked, goOn, done := make(chan bool), make(chan bool), make(chan bool)
	once := false
	store.found = func(owner string) {
		switch {
		case owner == "b":
			asked <- true
			<-goOn
		case !once: // c was told that nobody has the value; b learns that a has it
			once = true
			close(goOn)
			<-done
		}
	}
	go func() {
		defer close(done)
		if _, err := here.AcquireSpecific(ctx, "b", a); !errors.Is(err, ipam.ErrInUse) {
			t.Errorf("b acquires what a has: %v", err)
		}
	}()
	<-asked
	require.NoError(t, there.Release(ctx, "a"))
	got, err := here.AcquireSpecific(ctx, "c", a)
	require.NoError(t, err)
	require.Equal(t, a, got)
}
