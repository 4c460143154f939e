package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// everyMode runs a test with leases in memory alone, with a store of its own
// and with a store that others may write to.
func everyMode(t *testing.T, test func(t *testing.T, store ipam.Store)) {
	t.Run("no store", func(t *testing.T) { test(t, nil) })
	t.Run("exclusive", func(t *testing.T) { test(t, &faulty{Store: ipam.NewMemoryStore(), exclusive: true}) })
	t.Run("shared", func(t *testing.T) { test(t, ipam.NewMemoryStore()) })
}

func pool(t *testing.T, store ipam.Store, cfg ipam.Config, prefix string) (*ipam.Registry, *ipam.Addresses) {
	t.Helper()
	r := open(t, store, cfg)
	a, err := r.Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx(prefix)}})
	require.NoError(t, err)
	return r, a
}

func subnets(t *testing.T, store ipam.Store, cfg ipam.Config, prefix string) (*ipam.Registry, *ipam.Subnets) {
	t.Helper()
	r := open(t, store, cfg)
	s, err := r.Subnets("s", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx(prefix)}})
	require.NoError(t, err)
	return r, s
}

func acquired(t *testing.T, a *ipam.Addresses, owner string) ipam.Lease {
	t.Helper()
	got, err := a.Acquire(t.Context(), owner)
	require.NoError(t, err)
	l, ok := a.Lease(owner)
	require.True(t, ok)
	require.Equal(t, got.String(), l.Value)
	return l
}

func TestGenerationTellsALeaseFromAnEarlierOne(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		_, p := pool(t, store, ipam.Config{}, "10.0.0.1/32")
		first := acquired(t, p, "a")
		require.Equal(t, first, acquired(t, p, "a"))
		require.NoError(t, p.ReleaseLease(t.Context(), first))
		require.NoError(t, p.ReleaseLease(t.Context(), first), "twice")
		second := acquired(t, p, "a")
		require.Greater(t, second.Generation, first.Generation)
		require.ErrorIs(t, p.ReleaseLease(t.Context(), first), ipam.ErrNotOwner, "a late message")
		require.Equal(t, second, acquired(t, p, "a"))
		require.NoError(t, p.ReleaseLease(t.Context(), second))
		third := acquired(t, p, "b")
		require.ErrorIs(t, p.ReleaseLease(t.Context(), second), ipam.ErrNotOwner)
		require.Greater(t, third.Generation, second.Generation)
	})
}

func TestPin(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		_, p := pool(t, store, ipam.Config{}, "10.0.0.0/30")
		require.ErrorIs(t, p.Pin(t.Context(), "web-0"), ipam.ErrNotFound)
		first := acquired(t, p, "web-0")
		require.NoError(t, p.Pin(t.Context(), "web-0"))
		require.NoError(t, p.Pin(t.Context(), "web-0"), "twice")
		require.NoError(t, p.Release(t.Context(), "web-0"))
		_, err := p.AcquireSpecific(t.Context(), "thief", ip(first.Value))
		require.ErrorIs(t, err, ipam.ErrQuarantined, "reported, not stolen")
		require.ErrorIs(t, err, ipam.ErrInUse)
		require.ErrorContains(t, err, `pinned to its owner`)
		other := acquired(t, p, "other")
		require.NotEqual(t, first.Value, other.Value)
		_, err = p.Acquire(t.Context(), "late")
		require.ErrorIs(t, err, ipam.ErrExhausted)
		_, err = p.AcquireSpecific(t.Context(), "web-0", ip(other.Value))
		require.ErrorIs(t, err, ipam.ErrConflict, "it is pinned to another")
		if store != nil {
			_, p = pool(t, store, ipam.Config{}, "10.0.0.0/30") // after a restart
		}
		back := acquired(t, p, "web-0")
		require.Equal(t, first.Value, back.Value)
		require.NoError(t, p.Release(t.Context(), "web-0"))
		require.NoError(t, p.Unpin(t.Context(), "web-0"))
		require.NoError(t, p.Unpin(t.Context(), "web-0"), "twice")
		require.Equal(t, first.Value, acquired(t, p, "late").Value)
	})
}

func TestAcknowledge(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		c := &clock{now: time.Unix(1000, 0)}
		cfg := ipam.Config{Now: c.read, Quarantine: time.Minute, Acknowledge: true}
		r, p := pool(t, store, cfg, "10.0.0.1/32")
		l := acquired(t, p, "a")
		require.ErrorIs(t, r.Acknowledge(t.Context(), l), ipam.ErrInUse, "it is held")
		require.NoError(t, p.Release(t.Context(), "a"))
		free := func() error {
			_, err := p.AcquireSpecific(t.Context(), "b", ip("10.0.0.1"))
			return err
		}
		require.ErrorContains(t, free(), "in quarantine until 1970-01-01T00:17:40Z, not acknowledged as gone")
		c.move(time.Hour)
		require.ErrorIs(t, free(), ipam.ErrQuarantined, "time alone is not enough")
		wrong := l
		wrong.Generation++
		require.ErrorIs(t, r.Acknowledge(t.Context(), wrong), ipam.ErrNotOwner)
		require.NoError(t, r.Acknowledge(t.Context(), l))
		require.NoError(t, r.Acknowledge(t.Context(), l), "twice")
		require.NoError(t, free())

		require.NoError(t, p.Release(t.Context(), "b"))
		l = ipam.Lease{Space: "p", Owner: "b", Value: "10.0.0.1"}
		for rec := range r.Records() {
			l.Generation = rec.Generation
		}
		require.NoError(t, r.Acknowledge(t.Context(), l))
		_, err := p.AcquireSpecific(t.Context(), "c", ip("10.0.0.1"))
		require.ErrorIs(t, err, ipam.ErrQuarantined, "nor is the acknowledgement alone")
		var held *ipam.HeldError
		require.ErrorAs(t, err, &held)
		require.Equal(t, "b", held.Record.Owner)
		require.True(t, c.read().Add(time.Minute).Equal(held.Record.Until))
		c.move(time.Minute)
		_, err = p.Acquire(t.Context(), "c")
		require.NoError(t, err)
	})
}

func TestTransfer(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		_, p := pool(t, store, ipam.Config{}, "10.0.0.0/29")
		l := acquired(t, p, "old")
		got, err := p.Transfer(t.Context(), l, "new")
		require.NoError(t, err)
		require.Equal(t, l.Value, got.Value)
		require.Greater(t, got.Generation, l.Generation)
		again, err := p.Transfer(t.Context(), l, "new")
		require.NoError(t, err)
		require.Equal(t, got, again)
		_, err = p.Transfer(t.Context(), l, "third")
		require.ErrorIs(t, err, ipam.ErrNotOwner)
		other := acquired(t, p, "old")
		require.NotEqual(t, l.Value, other.Value)
		_, err = p.Transfer(t.Context(), got, "old")
		require.ErrorIs(t, err, ipam.ErrConflict, "who has another")
		require.NoError(t, p.Release(t.Context(), "new"))
		_, err = p.Transfer(t.Context(), got, "third")
		require.ErrorIs(t, err, ipam.ErrNotFound)
		_, err = p.Transfer(t.Context(), other, "old")
		require.ErrorIs(t, err, ipam.ErrInvalid)
	})
}

// Owners who pass a lease round while others open the space again and again
// neither wait for each other for ever nor lose it.
func TestTransferInACrowd(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r, p := pool(t, store, ipam.Config{}, "10.0.0.0/24")
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				names := []string{fmt.Sprint("a", g), fmt.Sprint("b", 99-g)}
				if _, err := p.Acquire(context.Background(), names[0]); err != nil {
					t.Error(err)
				}
				l, _ := p.Lease(names[0])
				for i := range 20 {
					next, err := p.Transfer(context.Background(), l, names[(i+1)%2])
					if err != nil {
						t.Error(err)
						return
					}
					l = next
				}
			})
		}
		for range 20 {
			_, err := r.Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}})
			require.NoError(t, err)
		}
		wg.Wait()
		used, _ := p.Usage()
		require.Equal(t, uint64(16), used)
	})
}

// Two registries that share a store give overlapping subnets to nobody.
func TestSharedSubnets(t *testing.T) {
	store := ipam.NewMemoryStore()
	var spaces []*ipam.Subnets
	for range 2 {
		_, s := subnets(t, store, ipam.Config{}, "10.0.0.0/16")
		spaces = append(spaces, s)
	}
	var wg sync.WaitGroup
	for i, s := range spaces {
		for g := range 8 {
			wg.Go(func() {
				for n := range 8 {
					owner := fmt.Sprint(i, "-", g, "-", n)
					if _, err := s.Acquire(context.Background(), owner, 24+n%4); err != nil {
						t.Error(err)
						return
					}
					if n%3 == 0 {
						_ = s.Release(context.Background(), owner)
					}
				}
			})
		}
	}
	wg.Wait()
	live := map[netip.Prefix]bool{}
	for _, r := range records(t, store) {
		if r.Space == "s" {
			live[pfx(r.Value)] = true
		}
	}
	require.Len(t, live, 2*8*5)
	for p := range live {
		for q := range live {
			require.True(t, p == q || !p.Overlaps(q), "%s and %s", p, q)
		}
	}
}

// Released values whose quarantine is over do not stay in the store for ever.
func TestSweep(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		c := &clock{now: time.Unix(1000, 0)}
		r := open(t, store, ipam.Config{Now: c.read, Quarantine: time.Second})
		s, err := r.IDs("s", ipam.IDConfig{Min: 1, Max: 1 << 30})
		require.NoError(t, err)
		for i := range 2000 {
			owner := fmt.Sprint("o", i)
			_, err := s.Acquire(t.Context(), owner)
			require.NoError(t, err)
			require.NoError(t, s.Release(t.Context(), owner))
			c.move(100 * time.Millisecond)
		}
		n := 0
		for range r.Records() {
			n++
		}
		require.Less(t, n, 300)
		if store != nil {
			require.Len(t, records(t, store), n)
		}
	})
}

// TestWritersOfEveryKind has 64 goroutines acquire and release in every kind of space.
func TestWritersOfEveryKind(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r := open(t, store, ipam.Config{})
		addresses, err := r.Addresses("a", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}})
		require.NoError(t, err)
		subnets, err := r.Subnets("s", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/16")}})
		require.NoError(t, err)
		numbers, err := r.IDs("i", ipam.IDConfig{Max: 99})
		require.NoError(t, err)
		macs, err := r.MACs("m", ipam.MACConfig{Prefix: []byte{2, 3, 4}})
		require.NoError(t, err)
		ctx := context.Background()
		acquire := []func(owner string) (string, error){
			func(o string) (string, error) { v, err := addresses.Acquire(ctx, o); return v.String(), err },
			func(o string) (string, error) { v, err := subnets.Acquire(ctx, o, 26); return v.String(), err },
			func(o string) (string, error) { v, err := numbers.Acquire(ctx, o); return fmt.Sprint(v), err },
			func(o string) (string, error) { v, err := macs.Acquire(ctx, o); return v.String(), err },
		}
		spaces := []string{"a", "s", "i", "m"}
		var mu sync.Mutex
		held := map[string]string{}
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				for i := range 12 {
					kind, owner := (g+i)%4, fmt.Sprint(g, "-", i%2)
					v, err := acquire[kind](owner)
					if err != nil {
						if !errors.Is(err, ipam.ErrExhausted) {
							t.Error(err)
						}
						continue
					}
					key := spaces[kind] + " " + v
					mu.Lock()
					if other := held[key]; other != "" && other != owner {
						t.Errorf("%s held by %s and %s", key, other, owner)
					}
					if held[key] = owner; i%2 == 0 {
						delete(held, key)
					}
					mu.Unlock()
					if i%2 == 0 {
						if err := r.Release(ctx, spaces[kind], owner); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestGenerationsRise acquires, releases, transfers and recovers at random:
// each time that a value is given, it is with a higher generation, and what is
// given after a recovery has one higher than what was found.
func TestGenerationsRise(t *testing.T) {
	ctx := t.Context()
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r, err := ipam.Open(ctx, nil, ipam.Config{})
		require.NoError(t, err)
		pool, err := r.Addresses("p", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/28")}})
		require.NoError(t, err)
		last, least := map[string]uint64{}, uint64(0)
		given := func(l ipam.Lease) {
			require.Greater(t, l.Generation, max(last[l.Value], least), "seed %d: %v", seed, l)
			last[l.Value] = l.Generation
		}
		for range 2_000 {
			who := fmt.Sprint(rng.IntN(12))
			lease, holds := pool.Lease(who)
			switch n := rng.IntN(20); {
			case !holds:
				_, err := pool.Acquire(ctx, who)
				require.NoError(t, err)
				lease, _ := pool.Lease(who)
				given(lease)
			case n == 0:
				to := who + " again"
				require.NoError(t, pool.Release(ctx, to))
				moved, err := pool.Transfer(ctx, lease, to)
				require.NoError(t, err)
				given(moved)
				require.NoError(t, pool.Release(ctx, to))
			case n == 1:
				least = lease.Generation + rng.Uint64N(1_000)
				_, err := r.Recover(ctx, "p", []ipam.Claim{{Owner: who, Value: lease.Value, Generation: least, Source: "port"}})
				require.NoError(t, err)
				last[lease.Value] = least
			default:
				require.NoError(t, pool.Release(ctx, who))
			}
		}
	}
}
