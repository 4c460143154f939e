package ipam_test

import (
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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// state returns what is known of a space, one value a line.
func state(r *ipam.Registry) string {
	var out []string
	for rec := range r.Records() {
		line := rec.Value + " " + rec.Owner
		for _, f := range []struct {
			on   bool
			text string
		}{{!rec.Held(), "released"}, {rec.Unacknowledged, "unacknowledged"}, {rec.Pinned, "pinned"}} {
			if f.on {
				line += " " + f.text
			}
		}
		if len(rec.Contested) > 0 {
			line += " contested " + strings.Join(rec.Contested, ",")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func claim(owner, value string, generation uint64) ipam.Claim {
	return ipam.Claim{Owner: owner, Value: value, Generation: generation, Source: "port"}
}

func TestRecover(t *testing.T) {
	const before = "held a 1, rest b 2" // what the store has, generations 1 and 2; 3 is that of b's release
	for name, c := range map[string]struct {
		claims     []ipam.Claim
		want       string
		rolledBack bool
		conflicts  int
		strays     int
	}{
		"nothing lives":          {want: "10.0.0.1 a\n10.0.0.2 b released"},
		"the same":               {claims: []ipam.Claim{claim("a", "10.0.0.1", 1)}, want: "10.0.0.1 a\n10.0.0.2 b released"},
		"unknown to the store":   {claims: []ipam.Claim{claim("c", "10.0.0.3", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released\n10.0.0.3 c"},
		"another's":              {claims: []ipam.Claim{claim("c", "10.0.0.1", 0)}, want: "10.0.0.1 a contested c\n10.0.0.2 b released", conflicts: 1},
		"two of one, not known":  {claims: []ipam.Claim{claim("c", "10.0.0.3", 0), claim("d", "10.0.0.3", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released\n10.0.0.3 c contested d", conflicts: 1},
		"released but alive":     {claims: []ipam.Claim{claim("b", "10.0.0.2", 2)}, want: "10.0.0.1 a\n10.0.0.2 b released unacknowledged", conflicts: 1},
		"owner has another":      {claims: []ipam.Claim{claim("a", "10.0.0.4", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released\n10.0.0.4 a released unacknowledged", conflicts: 1},
		"not of the space":       {claims: []ipam.Claim{claim("a", "10.9.0.4", 0), claim("x", "what", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released", strays: 2},
		"what no lease can be":   {claims: []ipam.Claim{claim("c", "10.0.0.3", 1<<61), claim(strings.Repeat("x", 2000), "10.0.0.4", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released", strays: 2},
		"newer than the store":   {claims: []ipam.Claim{claim("c", "10.0.0.3", 900)}, want: "10.0.0.1 a\n10.0.0.2 b released\n10.0.0.3 c", rolledBack: true},
		"newer, another's":       {claims: []ipam.Claim{claim("c", "10.0.0.1", 900)}, want: "10.0.0.1 c\n10.0.0.2 b released", rolledBack: true},
		"newer, both alive":      {claims: []ipam.Claim{claim("c", "10.0.0.1", 900), claim("a", "10.0.0.1", 1)}, want: "10.0.0.1 c contested a\n10.0.0.2 b released", rolledBack: true, conflicts: 1},
		"newer, moved":           {claims: []ipam.Claim{claim("a", "10.0.0.3", 900)}, want: "10.0.0.1 a released unacknowledged\n10.0.0.2 b released\n10.0.0.3 a", rolledBack: true},
		"newer, released before": {claims: []ipam.Claim{claim("b", "10.0.0.2", 900)}, want: "10.0.0.1 a\n10.0.0.2 b", rolledBack: true},
		"written another way":    {claims: []ipam.Claim{claim("c", "::ffff:10.0.0.3", 0)}, want: "10.0.0.1 a\n10.0.0.2 b released", strays: 1},
	} {
		t.Run(name, func(t *testing.T) {
			everyMode(t, func(t *testing.T, store ipam.Store) {
				r, p := pool(t, store, ipam.Config{Quarantine: time.Hour}, "10.0.0.0/28")
				acquired(t, p, "a")
				acquired(t, p, "b")
				require.NoError(t, p.Release(t.Context(), "b"), before)
				got, err := r.Recover(t.Context(), "p", c.claims)
				require.NoError(t, err)
				require.Equal(t, c.want, state(r))
				require.Equal(t, c.rolledBack, got.RolledBack)
				require.Len(t, got.Conflicts, c.conflicts)
				require.Len(t, got.Strays, c.strays)
				for _, conflict := range got.Conflicts {
					require.NotEmpty(t, conflict.String())
				}
				_, err = r.Recover(t.Context(), "p", c.claims)
				require.NoError(t, err)
				require.Equal(t, c.want, state(r), "a second time changes nothing")
				if c.rolledBack {
					require.Greater(t, acquired(t, p, "new").Generation, uint64(900))
				}
				for range 14 {
					_, _ = p.Acquire(t.Context(), fmt.Sprint("more", rand.Int()))
				}
				require.Subset(t, strings.Split(state(r), "\n"), strings.Split(c.want, "\n"), "nothing of it is given again")
			})
		})
	}
}

// What time has freed, and nobody has asked for since, is free for who is alive.
func TestRecoverAfterQuarantine(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		c := &clock{now: time.Unix(1000, 0)}
		r, p := pool(t, store, ipam.Config{Now: c.read, Quarantine: time.Minute}, "10.0.0.0/30")
		l := acquired(t, p, "a")
		require.NoError(t, p.Release(t.Context(), "a"))
		c.move(2 * time.Minute)
		got, err := r.Recover(t.Context(), "p", []ipam.Claim{claim("a", l.Value, l.Generation)})
		require.NoError(t, err)
		require.Empty(t, got.Conflicts)
		require.Len(t, got.Adopted, 1)
		require.NotEqual(t, l.Value, acquired(t, p, "b").Value)
	})
}

// Since the copy was made owners have moved to each other's values, more of them
// than are committed at once.
func TestRecoverMovedOwners(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		const owners = 100
		r, p := pool(t, store, ipam.Config{}, "10.0.0.0/24")
		var had []ipam.Lease
		for i := range owners {
			had = append(had, acquired(t, p, fmt.Sprint("o", i)))
		}
		rng := rand.New(rand.NewPCG(1, 2))
		order := rng.Perm(owners)
		var claims []ipam.Claim
		for i, l := range had {
			claims = append(claims, claim(l.Owner, had[order[i]].Value, uint64(1<<40+i)))
		}
		got, err := r.Recover(t.Context(), "p", claims)
		require.NoError(t, err)
		require.True(t, got.RolledBack)
		for _, c := range claims {
			l, held := p.Lease(c.Owner)
			require.True(t, held)
			require.Equal(t, c.Value, l.Value)
		}
		require.Empty(t, got.Conflicts)
	})
}

// A live subnet that overlaps another's lease is held back with that.
func TestRecoverOverlap(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		ctx := t.Context()
		r, s := subnets(t, store, ipam.Config{}, "10.0.0.0/24")
		whole, err := s.Acquire(ctx, "a", 24)
		require.NoError(t, err)
		got, err := r.Recover(ctx, "s", []ipam.Claim{claim("live", "10.0.0.0/25", 1)})
		require.NoError(t, err)
		require.Len(t, got.Conflicts, 1)
		require.Equal(t, []string{"live"}, got.Conflicts[0].Record.Contested)
		held, _ := s.Lease("a")
		require.NoError(t, s.Release(ctx, "a"))
		_, err = s.Acquire(ctx, "b", 25)
		require.ErrorIs(t, err, ipam.ErrExhausted)
		require.NoError(t, r.Acknowledge(ctx, held))
		_, err = s.AcquireSpecific(ctx, "b", whole)
		require.NoError(t, err)
	})
}

func TestConflictIsHeldUntilItIsAcknowledged(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r, p := pool(t, store, ipam.Config{}, "10.0.0.1/32")
		l := acquired(t, p, "a")
		_, err := r.Recover(t.Context(), "p", []ipam.Claim{claim("c", l.Value, 0)})
		require.NoError(t, err)
		require.Equal(t, l, acquired(t, p, "a"), "its owner keeps it")
		require.NoError(t, p.Release(t.Context(), "a"))
		for _, owner := range []string{"a", "b", "c"} {
			_, err = p.AcquireSpecific(t.Context(), owner, ip(l.Value))
			require.ErrorIs(t, err, ipam.ErrInUse, owner)
		}
		require.NoError(t, r.Acknowledge(t.Context(), l))
		acquired(t, p, "b")
	})
}

// A copy of a store, put back later, gives what was given since to nobody else
// once it has heard of the live ports.
func TestRolledBackStore(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 21))
		store := ipam.NewMemoryStore()
		_, p := pool(t, store, ipam.Config{}, "10.0.0.0/27")
		work := func(n int) {
			for range n {
				if owner := fmt.Sprint("o", rng.IntN(20)); rng.IntN(3) == 0 {
					require.NoError(t, p.Release(t.Context(), owner))
				} else {
					acquired(t, p, owner)
				}
			}
		}
		work(40)
		old := copied(t, store)
		work(40)
		acquired(t, p, "last")
		var ports []ipam.Claim
		for l := range p.Leases() {
			ports = append(ports, claim(l.Owner, l.Value, l.Generation))
		}
		r, back := pool(t, old, ipam.Config{}, "10.0.0.0/27")
		found, err := r.Recover(t.Context(), "p", ports)
		require.NoError(t, err)
		require.True(t, found.RolledBack, "seed %d", seed)
		require.Empty(t, found.Strays)
		for _, port := range ports {
			l, held := back.Lease(port.Owner)
			require.True(t, held, "seed %d: %s", seed, port.Owner)
			require.Equal(t, port.Value, l.Value, "seed %d: %s", seed, port.Owner)
		}
		require.Empty(t, found.Conflicts, "seed %d", seed)
	}
}

// A store that is put back while a registry uses it is found out.
func TestRolledBackUnderway(t *testing.T) {
	swap := &swapped{ipam.NewMemoryStore()}
	r, p := pool(t, swap, ipam.Config{}, "10.0.0.0/30")
	acquired(t, p, "a")
	l := acquired(t, p, "b")
	swap.Store = ipam.NewMemoryStore()
	got, err := r.Recover(t.Context(), "p", []ipam.Claim{claim("b", l.Value, l.Generation)})
	require.NoError(t, err)
	require.True(t, got.RolledBack)
	require.Equal(t, "10.0.0.2 b", state(r))

	l, _ = p.Lease("b")
	swap.Store = ipam.NewMemoryStore()
	for _, owner := range []string{"c", "b", "c"} {
		_, err = p.Acquire(t.Context(), owner)
		require.ErrorIs(t, err, ipam.ErrRolledBack, "nothing is given")
	}
	other, err := r.Addresses("new", ipam.AddressConfig{Prefixes: []netip.Prefix{pfx("10.1.0.0/30")}})
	require.NoError(t, err)
	acquired(t, other, "c")
	got, err = r.Recover(t.Context(), "p", []ipam.Claim{claim("b", l.Value, l.Generation)})
	require.NoError(t, err)
	require.True(t, got.RolledBack)
	require.Equal(t, l, acquired(t, p, "b"))
	require.NotEqual(t, l.Value, acquired(t, p, "c").Value)
}

// copied returns a store with what another has.
func copied(t *testing.T, store ipam.Store) ipam.Store {
	t.Helper()
	var lines strings.Builder
	require.NoError(t, ipam.Export(t.Context(), store, &lines))
	old := ipam.NewMemoryStore()
	_, err := ipam.Import(t.Context(), old, strings.NewReader(lines.String()))
	require.NoError(t, err)
	return old
}

// Of many who ask at once after a rollback none is given anything.
func TestRolledBackManyAtOnce(t *testing.T) {
	for range 30 {
		swap := &swapped{ipam.NewMemoryStore()}
		_, here := pool(t, slow{swap}, ipam.Config{}, "10.0.0.0/23")
		_, there := pool(t, swap, ipam.Config{}, "10.0.0.0/23")
		for i := range 50 {
			acquired(t, there, fmt.Sprint("there", i))
		}
		_, err := here.AcquireSpecific(t.Context(), "here", ip("10.0.1.200"))
		require.NoError(t, err)
		swap.Store = ipam.NewMemoryStore()
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				if a, err := here.Acquire(t.Context(), fmt.Sprint("new", g)); !errors.Is(err, ipam.ErrRolledBack) {
					t.Errorf("%s is given: %v", a, err)
				}
			})
		}
		wg.Wait()
	}
}

// In the old copy a holds what it has released since and b has: a is not told that
// it has it, and cannot transfer it.
func TestRolledBackHolder(t *testing.T) {
	for _, transfer := range []bool{false, true} {
		ctx := t.Context()
		swap := &swapped{ipam.NewMemoryStore()}
		_, p := pool(t, swap, ipam.Config{}, "10.0.0.0/29")
		l := acquired(t, p, "a")
		old := copied(t, swap.Store)
		require.NoError(t, p.Release(ctx, "a"))
		_, err := p.AcquireSpecific(ctx, "b", ip(l.Value))
		require.NoError(t, err)
		swap.Store = old
		if transfer {
			_, err = p.Transfer(ctx, l, "c")
		} else {
			_, err = p.Acquire(ctx, "a")
		}
		require.ErrorIs(t, err, ipam.ErrRolledBack)
	}
}

// A recovery remembers a live owner whose lease is another by now when an older
// claim of the value is heard.
func TestRecoverOldClaim(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r, p := pool(t, store, ipam.Config{}, "10.0.0.0/29")
		l := acquired(t, p, "a")
		const later = 1 << 40
		_, err := r.Recover(t.Context(), "p", []ipam.Claim{
			claim("a", "10.0.0.3", later+23), claim("a", l.Value, later+17), claim("b", l.Value, later+14),
		})
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1 a released unacknowledged contested b\n10.0.0.3 a", state(r))
	})
}

// Another process has written to a store that was rolled back what is known here
// by the same revision.
func TestRolledBackToOthers(t *testing.T) {
	swap := &swapped{ipam.NewMemoryStore()}
	r, here := pool(t, swap, ipam.Config{}, "10.0.0.0/28")
	acquired(t, here, "a")
	acquired(t, here, "c")
	swap.Store = ipam.NewMemoryStore()
	_, there := pool(t, swap, ipam.Config{}, "10.0.0.0/28")
	b := acquired(t, there, "b")
	_, err := here.Acquire(t.Context(), "a")
	require.ErrorIs(t, err, ipam.ErrRolledBack, "it was granted by a revision that was seen before")
	_, err = r.Recover(t.Context(), "p", nil)
	require.NoError(t, err)
	require.Contains(t, state(r), b.Value+" b")
	require.NotEqual(t, b.Value, acquired(t, here, "a").Value)
}

type swapped struct{ ipam.Store }

func TestRecoverFails(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		store := &faulty{Store: ipam.NewMemoryStore(), exclusive: exclusive}
		r, p := pool(t, store, ipam.Config{}, "10.0.0.0/29")
		claims := []ipam.Claim{claim("a", "10.0.0.1", 0), claim("b", "10.0.0.2", 0)}
		store.before = true
		_, err := r.Recover(t.Context(), "p", claims)
		require.ErrorIs(t, err, ipam.ErrUnavailable)
		store.after = true
		_, err = r.Recover(t.Context(), "p", claims)
		require.ErrorIs(t, err, ipam.ErrUnavailable)
		_, err = r.Recover(t.Context(), "p", claims)
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1 a\n10.0.0.2 b", state(r))
		used, _ := p.Usage()
		require.Equal(t, uint64(2), used)
		_, err = r.Recover(t.Context(), "never opened", claims)
		require.ErrorIs(t, err, ipam.ErrInvalid)
	}
}

func TestCollect(t *testing.T) {
	everyMode(t, func(t *testing.T, store ipam.Store) {
		r, p := pool(t, store, ipam.Config{}, "10.0.0.0/28")
		for _, o := range []string{"dead", "live", "back", "again", "late"} {
			acquired(t, p, o)
		}
		live := []string{"live"}
		calls := 0
		owners := func(context.Context) (iter.Seq[string], error) {
			switch calls++; calls {
			case 1: // this one came when the leases were read already
				acquired(t, p, "newcomer")
				// gone and come back, with another lease
				require.NoError(t, p.Release(t.Context(), "again"))
				acquired(t, p, "again")
			case 2: // who comes back now finds the lease marked, and clears it
				acquired(t, p, "back")
				live = append(live, "late")
			}
			return slices.Values(live), nil
		}
		gone, err := r.Collect(t.Context(), "p", owners)
		require.NoError(t, err)
		require.Len(t, gone, 1)
		require.Equal(t, "dead", gone[0].Owner)
		var left []string
		for l := range p.Leases() {
			left = append(left, l.Owner)
		}
		require.Equal(t, []string{"again", "back", "late", "live", "newcomer"}, left)
		acquired(t, p, "late")
		for rec := range r.Records() {
			require.False(t, rec.Suspect, rec.Owner)
		}

		_, err = r.Collect(t.Context(), "p", func(context.Context) (iter.Seq[string], error) { return nil, errors.New("no answer") })
		require.ErrorContains(t, err, "no answer")
		used, _ := p.Usage()
		require.Equal(t, uint64(5), used, "nothing is released when the owners are not known")
	})
}

func TestImport(t *testing.T) {
	text := `{"space":"p","value":"10.0.0.1","owner":"a","generation":7}
{"space":"p","value":"10.0.0.2","owner":"b","released":"2026-01-02T03:04:05Z","unacknowledged":true}

{"space":"q","value":"10.0.0.1","owner":"a"}
`
	store := ipam.NewMemoryStore()
	n, err := ipam.Import(t.Context(), store, strings.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = ipam.Import(t.Context(), store, strings.NewReader(text))
	require.NoError(t, err)
	require.Zero(t, n, "a second time changes nothing")
	r, p := pool(t, store, ipam.Config{}, "10.0.0.0/29")
	require.Equal(t, "10.0.0.1 a\n10.0.0.2 b released unacknowledged\n10.0.0.1 a", state(r))
	require.Equal(t, uint64(7), acquired(t, p, "a").Generation)

	var out, again strings.Builder
	require.NoError(t, ipam.Export(t.Context(), store, &out))
	other := ipam.NewMemoryStore()
	_, err = ipam.Import(t.Context(), other, strings.NewReader(out.String()))
	require.NoError(t, err)
	require.NoError(t, ipam.Export(t.Context(), other, &again))
	require.ElementsMatch(t, strings.Split(out.String(), "\n"), strings.Split(again.String(), "\n"))
}

func TestImportNamesTheFault(t *testing.T) {
	const good = `{"space":"p","value":"10.0.0.9","owner":"z"}`
	for text, want := range map[string]string{
		`{"space":"p","value":"10.0.0.1"}`:                       `line 2: owner "": invalid`,
		`{"space":"p","value":"10.0.0.1/33x\u0000","owner":"a"}`: `line 2: value "10.0.0.1/33x\x00": invalid`,
		`{"space":"p","value":"fd00::0:1","owner":"a"}`:          `line 2: value "fd00::0:1": invalid: want "fd00::1"`,
		`{"space":"p","value":"10.0.0.1","owner":"a","state":1}`: `unknown field "state"`,
		`{"space":"p","value":"10.0.0.1","owner":"a"} {}`:        `more than one record`,
		`{"space":"p","value":"10.0.0.1","owner":"a"}} {`:        `more than one record`,
		`{"space":"p","value":"10.0.0.1","owner":"a"}]`:          `more than one record`,
		`{"space":"p","value":"1","owner":"a","Owner":"b"}`:      `line 2: invalid: field "owner" twice`,
		"{\"space\":\"p\",\"value\":\"1\",\"owner\":\"\xff\"}":   `line 2: invalid: not UTF-8`,
		`{"space":"p","value":"007","owner":"a"}`:                `line 2: value "007": invalid: want "7"`,
		`{"space":"p","value":"10.0.0.1/24","owner":"a"}`:        `line 2: value "10.0.0.1/24": invalid: want "10.0.0.0/24"`,
		`{"space":"p"`: `line 2: invalid`,
		good:           `line 2: conflict: 10.0.0.9 of "p" is in line 1, too`,
		`{"space":"p","value":"10.0.0.8","owner":"z"}`:                              `line 2: conflict: "z" owns a value of "p" in line 1, too`,
		`{"space":"p","value":"10.0.0.1","owner":"new"}`:                            `line 2: conflict: the store has 10.0.0.1 of "p" leased to "old"`,
		`{"space":"p","value":"10.0.0.2","owner":"old"}`:                            `line 2: conflict: "old" owns 10.0.0.1 of "p"`,
		`{"space":"ipam/turns","value":"x","owner":"x"}`:                            `line 2: space "ipam/turns": invalid`,
		`{"space":"p","value":"10.0.0.3","owner":"` + strings.Repeat("x", 1<<20):    `line 2`,
		`{"space":"p","value":"1","owner":"` + strings.Repeat("x", 2000) + `"}`:     `line 2: owner "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"...: invalid: 2000 bytes long, at most 1024`,
		`{"space":"p","value":"1","owner":"a","contested":["c","b"]}`:               `line 2: contested by owner "b": invalid: want each once, sorted`,
		`{"space":"p","value":"1","owner":"a","generation":2305843009213693952}`:    `line 2: generation 2305843009213693952: invalid`,
		`{"space":"p","value":"1","owner":"a","until":"9999-12-31T23:00:00-23:00"}`: `line 2: time 9999-12-31 23:00:00 -2300 -2300: invalid`,
	} {
		store := ipam.NewMemoryStore()
		require.NoError(t, store.Commit(t.Context(), []ipam.Change{{After: ipam.Record{Space: "p", Value: "10.0.0.1", Owner: "old"}}}))
		_, err := ipam.Import(t.Context(), store, strings.NewReader(good+"\n"+text+"\n"))
		require.ErrorContains(t, err, want)
		require.Len(t, records(t, store), 1, "nothing is put")
	}
	_, err := ipam.Import(t.Context(), ipam.NewMemoryStore(), strings.NewReader(strings.Repeat("x\n", 100)))
	require.ErrorContains(t, err, "100 lines are faulty")
}

func FuzzImport(f *testing.F) {
	f.Add(`{"space":"p","value":"10.0.0.1","owner":"a","since":"2026-01-02T03:04:05Z","contested":["b"]}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		store, other := ipam.NewMemoryStore(), ipam.NewMemoryStore()
		if _, err := ipam.Import(t.Context(), store, strings.NewReader(text)); err != nil {
			return
		}
		var out, again strings.Builder
		require.NoError(t, ipam.Export(t.Context(), store, &out))
		_, err := ipam.Import(t.Context(), other, strings.NewReader(out.String()))
		require.NoError(t, err)
		require.NoError(t, ipam.Export(t.Context(), other, &again))
		require.Len(t, again.String(), out.Len())
		_, err = ipam.Open(t.Context(), store, ipam.Config{})
		require.NoError(t, err)
	})
}
