package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// A faulty store fails the next commit: before it is made, or after.
type faulty struct {
	ipam.Store
	exclusive     bool
	before, after bool
}

func (f *faulty) Exclusive() bool { return f.exclusive }

// records returns what is in a store.
func records(t *testing.T, s ipam.Store) (list []ipam.Record) {
	t.Helper()
	_, err := s.Load(t.Context(), "", func(r ipam.Record) error {
		list = append(list, r)
		return nil
	})
	require.NoError(t, err)
	return list
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
		if ch.Delete() && c.enter != nil {
			enter := c.enter
			c.enter = nil
			close(enter)
			<-c.leave
		}
	}
	return c.Store.Commit(ctx, changes)
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
	require.Empty(t, records(t, store))

	_, err = old.Acquire(t.Context(), "a")
	require.ErrorIs(t, err, ipam.ErrInvalid, "what was opened before gives nothing")
	require.NoError(t, old.Release(t.Context(), "a"))
	s := ids(t, r, 5)
	_, err = s.Acquire(t.Context(), "b")
	require.NoError(t, err)
	_, err = old.Acquire(t.Context(), "b")
	require.ErrorIs(t, err, ipam.ErrInvalid)
}

// What has had its quarantine, and cannot be swept as it overlaps what is held,
// is swept later.
// The turns of spaces are no space of leases.
func TestTurnsAreNoSpace(t *testing.T) {
	ctx := t.Context()
	store := ipam.NewMemoryStore()
	_, s := subnets(t, store, ipam.Config{}, "10.0.0.0/24")
	_, err := s.Acquire(ctx, "a", 24)
	require.NoError(t, err)
	before := records(t, store)
	r := open(t, store, ipam.Config{})
	const turns = "ipam/turns"
	require.ErrorIs(t, r.Release(ctx, turns, "s"), ipam.ErrInvalid)
	require.ErrorIs(t, r.Forget(ctx, turns), ipam.ErrInvalid)
	require.ErrorIs(t, r.Acknowledge(ctx, ipam.Lease{Space: turns, Owner: "s", Value: "s"}), ipam.ErrInvalid)
	_, err = r.Collect(ctx, turns, ipam.Owners())
	require.ErrorIs(t, err, ipam.ErrInvalid)
	_, err = r.Recover(ctx, turns, nil)
	require.ErrorIs(t, err, ipam.ErrInvalid)
	require.ElementsMatch(t, before, records(t, store))
}

// A quarantine that is over is over, also while it is not known what became of
// another commit.
func TestQuarantineOverInDoubt(t *testing.T) {
	store := &faulty{Store: ipam.NewMemoryStore(), exclusive: true}
	c := &clock{now: time.Unix(1000, 0)}
	_, p := pool(t, store, ipam.Config{Now: c.read, Quarantine: time.Minute}, "10.0.0.0/28")
	l := acquired(t, p, "a")
	require.NoError(t, p.Release(t.Context(), "a"))
	store.before = true
	_, err := p.Acquire(t.Context(), "other")
	require.ErrorIs(t, err, ipam.ErrUnavailable)
	c.move(2 * time.Minute)
	_, err = p.AcquireSpecific(t.Context(), "b", ip(l.Value))
	require.NoError(t, err)
}

// A late store takes a second for each commit once it is told to.
type late struct {
	ipam.Store
	exclusive, now bool
}

func (l *late) Exclusive() bool { return l.exclusive }

func (l *late) Commit(ctx context.Context, changes []ipam.Change) error {
	if l.now {
		time.Sleep(time.Second)
	}
	return l.Store.Commit(ctx, changes)
}

// Who asks while there is nothing to give for a moment waits for it to be over:
// what is over is just being deleted, or a recovery has the space alone.
func TestExhaustedForAMoment(t *testing.T) {
	for name, work := range map[string]func(context.Context, *ipam.Registry) error{
		"collection": func(ctx context.Context, r *ipam.Registry) error {
			time.Sleep(2 * time.Minute)
			_, err := r.Collect(ctx, "p", ipam.Owners("a"))
			return err
		},
		"recovery": func(ctx context.Context, r *ipam.Registry) error {
			time.Sleep(time.Minute - time.Second/2)
			_, err := r.Recover(ctx, "p", []ipam.Claim{claim("a", "10.0.0.1", 1<<40)})
			return err
		},
	} {
		for _, exclusive := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", exclusive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &late{Store: ipam.NewMemoryStore(), exclusive: exclusive}
					r, p := pool(t, store, ipam.Config{Quarantine: time.Minute}, "10.0.0.0/30")
					acquired(t, p, "a")
					acquired(t, p, "b")
					require.NoError(t, p.Release(t.Context(), "b"))
					store.now = true
					done := make(chan error)
					go func() { done <- work(t.Context(), r) }()
					time.Sleep(time.Minute)
					if name == "collection" {
						time.Sleep(time.Minute + time.Second/2)
					}
					got, err := p.Acquire(t.Context(), "c")
					require.NoError(t, err)
					require.Equal(t, ip("10.0.0.2"), got)
					require.NoError(t, <-done)
				})
			})
		}
	}
}

func TestForgetOverlapping(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		ctx := t.Context()
		c := &clock{now: time.Unix(1000, 0)}
		r := open(t, store, ipam.Config{Now: c.read, Quarantine: time.Minute})
		s, err := r.Subnets("s", ipam.SubnetConfig{Prefixes: []netip.Prefix{pfx("10.0.0.0/24")}})
		require.NoError(t, err)
		_, err = s.Acquire(ctx, "small", 26)
		require.NoError(t, err)
		require.NoError(t, s.Release(ctx, "small"))
		c.move(time.Minute)
		whole, err := s.Acquire(ctx, "large", 24)
		require.NoError(t, err)
		require.Equal(t, pfx("10.0.0.0/24"), whole)
		require.ErrorContains(t, r.Forget(ctx, "s"), "1 leases, 1 values in quarantine")
		require.NoError(t, s.Release(ctx, "large"))
		c.move(time.Minute)
		require.NoError(t, r.Forget(ctx, "s"))
	})
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
// holds, or that is held back after it, is never another's; and what the store
// has can always be opened. With a shared store two registries take turns.
func TestRegistryAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		for _, exclusive := range []bool{true, false} {
			m := newModel(t, seed, exclusive)
			for range 600 {
				m.step()
			}
		}
	}
}

const modelQuarantine = 5 * time.Second

// A held is a value that an owner of the model got.
type held struct {
	value    uint32
	released time.Time // zero: held
	pinned   bool
}

// A model is what the registry must agree with.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	store  *faulty
	ids    []*ipam.IDs
	owners map[string][]*held // the last is the current
	steps  steps
}

func newModel(t *testing.T, seed uint64, exclusive bool) *model {
	m := &model{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1000, 0), owners: map[string][]*held{},
		store: &faulty{Store: ipam.NewMemoryStore(), exclusive: exclusive},
		steps: steps{fmt.Sprint("seed ", seed, " exclusive ", exclusive)},
	}
	m.ids = make([]*ipam.IDs, 2)
	if exclusive {
		m.ids = m.ids[:1]
	}
	for i := range m.ids {
		m.restart(i)
	}
	return m
}

func (m *model) restart(i int) {
	m.store.before, m.store.after = false, false
	cfg := ipam.Config{Now: func() time.Time { return m.now }, Quarantine: modelQuarantine}
	m.ids[i] = ids(m.t, open(m.t, m.store, cfg), 10)
}

func (m *model) step() {
	owner, i := fmt.Sprint("o", m.rng.IntN(14)), m.rng.IntN(len(m.ids))
	m.store.before, m.store.after = m.rng.IntN(12) == 0, m.rng.IntN(12) == 0
	switch m.rng.IntN(10) {
	case 0, 1, 2, 3:
		m.acquire(i, owner)
	case 4, 5:
		err := m.ids[i].Release(m.t.Context(), owner)
		m.steps.add("%d: release %s: %v", i, owner, err)
		if h := m.current(owner); h != nil && h.released.IsZero() {
			h.released = m.now
			if err != nil {
				h.pinned = false // whatever it is by now
			}
		}
	case 6:
		m.now = m.now.Add(time.Duration(m.rng.IntN(4)) * time.Second)
		m.steps.add("now %d", m.now.Unix())
	case 7:
		m.steps.add("restart %d", i)
		m.restart(i)
	case 8:
		err := m.ids[i].Pin(m.t.Context(), owner)
		m.steps.add("%d: pin %s: %v", i, owner, err)
		if v, ok := m.ids[i].Lookup(owner); err == nil && ok { // else it is pinned already
			m.holds(owner, v)
			m.current(owner).pinned = true
		}
	case 9:
		err := m.ids[i].Unpin(m.t.Context(), owner)
		m.steps.add("%d: unpin %s: %v", i, owner, err)
		if h := m.current(owner); h != nil {
			h.pinned = false
		}
	}
	m.check()
}

func (m *model) current(owner string) *held {
	if n := len(m.owners[owner]); n > 0 {
		return m.owners[owner][n-1]
	}
	return nil
}

func (m *model) acquire(i int, owner string) {
	v, err := m.ids[i].Acquire(m.t.Context(), owner)
	m.steps.add("%d: acquire %s: %d %v", i, owner, v, err)
	if err != nil {
		if !errors.Is(err, ipam.ErrExhausted) && !errors.Is(err, ipam.ErrUnavailable) {
			m.t.Fatalf("%v %s", err, m.steps.String())
		}
		return
	}
	for other, list := range m.owners {
		for _, h := range list {
			kept := h.released.IsZero() || h.pinned || m.now.Before(h.released.Add(modelQuarantine))
			if other != owner && h.value == v && kept {
				m.t.Fatalf("%d of %s is given to %s %s", v, other, owner, m.steps.String())
			}
		}
	}
	have := m.current(owner)
	if have != nil && (have.released.IsZero() || have.pinned) && have.value != v {
		m.t.Fatalf("%s had %d and gets %d %s", owner, have.value, v, m.steps.String())
	}
	m.holds(owner, v)
}

// holds notes that the owner has a value: now, or by a call that failed.
func (m *model) holds(owner string, v uint32) {
	have := m.current(owner)
	if have != nil && have.released.IsZero() {
		return
	}
	m.owners[owner] = append(m.owners[owner], &held{value: v, pinned: have != nil && have.pinned})
	if have != nil {
		have.pinned = false
	}
}

func (m *model) check() {
	by := map[string]string{}
	for _, r := range records(m.t, m.store) {
		if by[r.Value] != "" {
			m.t.Fatalf("%s twice %s", r.Value, m.steps.String())
		}
		by[r.Value] = r.Owner
	}
}
