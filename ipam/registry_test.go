package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A faulty store fails the next commit: before it is made, or after.
type faulty struct {
	ipam.Store
	before, after bool
}

func (f *faulty) Commit(ctx context.Context, changes []ipam.Change) error {
	if f.before {
		f.before = false
		return errors.New("disk on fire")
	}
	err := f.Store.Commit(ctx, changes)
	if f.after {
		f.after = false
		return errors.New("answer lost")
	}
	return err
}

func ids(t *testing.T, r *ipam.Registry, max uint32) *ipam.IDs {
	t.Helper()
	s, err := r.IDs("s", ipam.IDConfig{Min: 1, Max: max})
	require.NoError(t, err)
	return s
}

// A commit whose answer was lost may have been made: its value is not given
// to another, and the owner gets it when it asks again.
func TestLostAnswer(t *testing.T) {
	store := &faulty{Store: ipam.NewMemoryStore()}
	s := ids(t, open(t, store, ipam.Config{}), 1)
	store.after = true
	_, err := s.Acquire(t.Context(), "a")
	require.ErrorIs(t, err, ipam.ErrUnavailable)
	_, err = s.Acquire(t.Context(), "b")
	require.ErrorIs(t, err, ipam.ErrExhausted)
	_, err = s.Acquire(t.Context(), "a")
	require.NoError(t, err)
	store.after = true
	require.ErrorIs(t, s.Release(t.Context(), "a"), ipam.ErrUnavailable)
	require.NoError(t, s.Release(t.Context(), "a"))
	_, err = s.Acquire(t.Context(), "b")
	require.NoError(t, err)
	ids(t, open(t, store, ipam.Config{}), 1)
}

func TestQuarantineHoldsWhenTheOwnerTakesAnother(t *testing.T) {
	now := time.Unix(1000, 0)
	r := open(t, ipam.NewMemoryStore(), ipam.Config{Now: func() time.Time { return now }, Quarantine: time.Minute})
	s, err := r.Subnets("s", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/23")}})
	require.NoError(t, err)
	first, err := s.Acquire(t.Context(), "a", 24)
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context(), "a"))
	_, err = s.Acquire(t.Context(), "a", 25)
	require.NoError(t, err)
	got, err := s.Acquire(t.Context(), "b", 24)
	require.ErrorIs(t, err, ipam.ErrExhausted, "%s is in quarantine, got %s", first, got)
	now = now.Add(time.Minute)
	_, err = s.Acquire(t.Context(), "b", 24)
	require.NoError(t, err)
}

func TestReleasedValueOutsideOfTheNewConfiguration(t *testing.T) {
	r := open(t, ipam.NewMemoryStore(), ipam.Config{Quarantine: time.Minute})
	s, err := r.Addresses("s", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/29")}})
	require.NoError(t, err)
	_, err = s.Acquire(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context(), "a"))
	s, err = r.Addresses("s", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.1.0.0/29")}})
	require.NoError(t, err)
	a, err := s.Acquire(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "10.1.0.1", a.String())
}

// crash copies a store as it is when a commit with a deletion is about to be made.
type crash struct {
	ipam.Store
	enter, leave chan struct{}
}

func (c *crash) Commit(ctx context.Context, changes []ipam.Change) error {
	for _, ch := range changes {
		if ch.Delete && c.enter != nil {
			enter := c.enter
			c.enter = nil
			close(enter)
			<-c.leave
		}
	}
	return c.Store.Commit(ctx, changes)
}

// What a released value's record says is gone from the store before the value
// is given to another: a crash in between must not leave it there twice.
func TestCrashBetweenExpiryAndReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ipam.Config{Quarantine: time.Minute}
		c := &crash{Store: ipam.NewMemoryStore(), leave: make(chan struct{})}
		s := ids(t, open(t, c, cfg), 2)
		_, err := s.Acquire(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, s.Release(t.Context(), "a"))
		time.Sleep(time.Hour)
		enter := make(chan struct{})
		c.enter = enter
		done := make(chan error)
		for _, owner := range []string{"b", "c"} {
			go func() { _, err := s.Acquire(context.Background(), owner); done <- err }()
		}
		<-enter
		synctest.Wait()                  // both wait for the store by now
		ids(t, open(t, c.Store, cfg), 2) // what a process that starts now would see
		close(c.leave)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
	})
}

// A gate lets commits through one by one.
type gate struct {
	ipam.Store
	pass chan struct{}
}

func (g gate) Commit(ctx context.Context, changes []ipam.Change) error {
	<-g.pass
	return g.Store.Commit(ctx, changes)
}

// A value on its way to the store is in no record yet. Opening the space again
// waits for it, lest the new core gives it to another; who comes meanwhile
// waits, too, lest the opening waits forever.
func TestOpenAgainWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{ipam.NewMemoryStore(), make(chan struct{})}
		r := open(t, g, ipam.Config{})
		s := ids(t, r, 5)
		a, b, opened := make(chan uint32, 1), make(chan uint32, 1), make(chan error, 1)
		acquire := func(owner string, got chan<- uint32) {
			v, err := s.Acquire(context.Background(), owner)
			if err != nil {
				t.Error(err)
			}
			got <- v
		}
		go acquire("a", a)
		synctest.Wait()
		go func() { _, err := r.IDs("s", ipam.IDConfig{Min: 1, Max: 9}); opened <- err }()
		synctest.Wait()
		require.Empty(t, opened)
		go acquire("b", b)
		synctest.Wait()
		g.pass <- struct{}{}
		synctest.Wait() // b is at the gate only now, with the new core
		require.Len(t, a, 1)
		require.Len(t, opened, 1)
		require.Empty(t, b)
		close(g.pass)
		require.NoError(t, <-opened)
		require.NotEqual(t, <-a, <-b)
		used, total := s.Usage()
		require.Equal(t, uint64(2), used)
		require.Equal(t, uint64(9), total)
	})
}

func TestForget(t *testing.T) {
	now := time.Unix(1000, 0)
	store := &faulty{Store: ipam.NewMemoryStore()}
	r := open(t, store, ipam.Config{Now: func() time.Time { return now }, Quarantine: time.Minute})
	old := ids(t, r, 5)
	_, err := old.Acquire(t.Context(), "a")
	require.NoError(t, err)
	err = r.Forget(t.Context(), "s")
	require.ErrorIs(t, err, ipam.ErrInUse)
	require.ErrorContains(t, err, `forget "s": in use: 1 leases, 0 values in quarantine`)
	require.NoError(t, old.Release(t.Context(), "a"))
	require.ErrorContains(t, r.Forget(t.Context(), "s"), "0 leases, 1 values in quarantine")
	now = now.Add(time.Minute)
	store.before = true
	require.ErrorIs(t, r.Forget(t.Context(), "s"), ipam.ErrUnavailable)
	require.NoError(t, r.Forget(t.Context(), "s"))
	require.NoError(t, r.Forget(t.Context(), "s"), "twice")
	list, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)

	_, err = old.Acquire(t.Context(), "a")
	require.ErrorIs(t, err, ipam.ErrInvalid, "what was opened before gives nothing")
	require.NoError(t, old.Release(t.Context(), "a"))
	s := ids(t, r, 5)
	_, err = s.Acquire(t.Context(), "b")
	require.NoError(t, err)
	_, err = old.Acquire(t.Context(), "b")
	require.ErrorIs(t, err, ipam.ErrInvalid)
}

// A store that commits after an ended context may have made the change or not;
// a caller that gives up while it waits for another leaves nothing behind.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crash{Store: ipam.NewMemoryStore(), leave: make(chan struct{}), enter: make(chan struct{})}
		s := ids(t, open(t, c, ipam.Config{}), 2)
		_, err := s.Acquire(t.Context(), "a")
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- s.Release(context.Background(), "a") }()
		synctest.Wait() // the release is in the store
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Acquire(ctx, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(c.leave)
		require.NoError(t, <-done)
		_, err = s.Acquire(t.Context(), "a")
		require.NoError(t, err)
	})
}

func TestLeaseOfAMACIsItsText(t *testing.T) {
	r := open(t, ipam.NewMemoryStore(), ipam.Config{})
	s, err := r.MACs("m", ipam.MACConfig{Prefix: net.HardwareAddr{2, 0x74, 0x6c}})
	require.NoError(t, err)
	m, err := s.Acquire(t.Context(), "a")
	require.NoError(t, err)
	for l := range r.Leases() {
		require.Equal(t, m.String(), l.Value)
	}
	_, err = r.MACs("m", ipam.MACConfig{Prefix: net.HardwareAddr{2, 0x74, 0x6d}})
	require.ErrorIs(t, err, ipam.ErrOutOfRange)
}

func TestManyLargePrefixes(t *testing.T) {
	var cfg ipam.AddressConfig
	for _, p := range []string{"fd00:1::/64", "fd00:2::/64", "fd00:3::/64", "fd00:4::/64", "fd00:5::/64"} {
		cfg.Prefixes = append(cfg.Prefixes, pfx(p))
	}
	p, err := ipam.NewPool(cfg)
	require.NoError(t, err)
	require.NoError(t, p.Reserve(ip("fd00:1::9")))
	require.NoError(t, p.Reserve(ip("fd00:5::9")))
}

// TestRegistryAgainstMap runs random steps with a store that fails before or
// after it commits, a clock that moves, and restarts. A value that an owner
// holds, or that rests after it, is never another's; and what the store has
// can always be opened.
func TestRegistryAgainstMap(t *testing.T) {
	const quarantine = 5 * time.Second
	type held struct {
		value    uint32
		released time.Time // zero: held
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		now := time.Unix(1000, 0)
		cfg := ipam.Config{Now: func() time.Time { return now }, Quarantine: quarantine}
		store := &faulty{Store: ipam.NewMemoryStore()}
		s := ids(t, open(t, store, cfg), 10)
		model := map[string][]held{} // by owner, the last is the current
		var steps []string
		for range 600 {
			owner := fmt.Sprint("o", rng.IntN(14))
			store.before, store.after = rng.IntN(12) == 0, rng.IntN(12) == 0
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				v, err := s.Acquire(t.Context(), owner)
				steps = append(steps, fmt.Sprint("acquire ", owner, " ", v, " ", err))
				if err != nil {
					require.True(t, errors.Is(err, ipam.ErrExhausted) || errors.Is(err, ipam.ErrUnavailable), "%v", err)
					continue
				}
				for other, list := range model {
					for _, h := range list {
						if other != owner && h.value == v && (h.released.IsZero() || now.Before(h.released.Add(quarantine))) {
							t.Fatalf("seed %d: %d of %s given to %s\n%s", seed, v, other, owner, strings.Join(steps, "\n"))
						}
					}
				}
				if n := len(model[owner]); n > 0 && model[owner][n-1].released.IsZero() {
					require.Equal(t, model[owner][n-1].value, v, "seed %d: the same owner, the same answer", seed)
				} else {
					model[owner] = append(model[owner], held{value: v})
				}
			case 4, 5:
				err := s.Release(t.Context(), owner)
				steps = append(steps, fmt.Sprint("release ", owner, " ", err))
				if n := len(model[owner]); n > 0 && model[owner][n-1].released.IsZero() {
					model[owner][n-1].released = now
				}
			case 6:
				now = now.Add(time.Duration(rng.IntN(4)) * time.Second)
			case 7:
				steps = append(steps, "restart")
				store.before, store.after = false, false
				s = ids(t, open(t, store, cfg), 10)
			}
			records, err := store.Load(t.Context())
			require.NoError(t, err)
			by := map[string]string{}
			for _, r := range records {
				if by[r.Value] != "" {
					t.Fatalf("seed %d: %s twice\n%s", seed, r.Value, strings.Join(steps, "\n"))
				}
				by[r.Value] = r.Owner
			}
		}
	}
}
