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

// A shaky store is slow, and now and then fails a question, or a commit before or
// after it is made, until it is calm.
type shaky struct {
	slow
	exclusive bool
	calm      *bool
}

func (s shaky) Exclusive() bool { return s.exclusive }

func (s shaky) Find(ctx context.Context, space, owner string, values ...string) ([]ipam.Record, error) {
	if !*s.calm && rand.IntN(40) == 0 {
		return nil, errors.New("no answer")
	}
	return s.slow.Find(ctx, space, owner, values...)
}

func (s shaky) Commit(ctx context.Context, changes []ipam.Change) error {
	if *s.calm {
		return s.slow.Commit(ctx, changes)
	}
	switch rand.IntN(20) {
	case 0:
		return errors.New("not made")
	case 1:
		_ = s.slow.Commit(ctx, changes)
		return errors.New("answer lost")
	}
	return s.slow.Commit(ctx, changes)
}

// A party is what the owners of a chaos go through.
type party struct {
	registry *ipam.Registry
	space    string
	acquire  func(ctx context.Context, owner string) (netip.Prefix, error)
	release  func(ctx context.Context, owner string) error
	pin      func(ctx context.Context, owner string) error
	unpin    func(ctx context.Context, owner string) error
	used     func() int
}

func addressParty(t *testing.T, store ipam.Store, cfg ipam.Config) party {
	r, p := pool(t, store, cfg, "10.0.0.0/28")
	acquire := func(ctx context.Context, owner string) (netip.Prefix, error) {
		a, err := p.Acquire(ctx, owner)
		return netip.PrefixFrom(a, 32), err
	}
	used := func() int {
		n, _ := p.Usage()
		return int(n)
	}
	return party{r, "p", acquire, p.Release, p.Pin, p.Unpin, used}
}

func subnetParty(t *testing.T, store ipam.Store, cfg ipam.Config) party {
	r, s := subnets(t, store, cfg, "10.0.0.0/25")
	acquire := func(ctx context.Context, owner string) (netip.Prefix, error) {
		return s.Acquire(ctx, owner, 27+int(owner[1])%3)
	}
	return party{r, "s", acquire, s.Release, s.Pin, s.Unpin, s.Usage}
}

// Owners acquire and release through several registries, pin and unpin, what is
// released is acknowledged, time goes on and registries recover, while the store
// fails now and then. No two owners are told the same or what overlaps, who holds
// is told the same again, and in the end nothing is taken but what records keep.
func TestChaos(t *testing.T) {
	for name, newParty := range map[string]func(*testing.T, ipam.Store, ipam.Config) party{"addresses": addressParty, "subnets": subnetParty} {
		for _, registries := range []int{1, 2} {
			for _, cfg := range []ipam.Config{{}, {Quarantine: 3 * time.Second}, {Quarantine: 3 * time.Second, Acknowledge: true}} {
				t.Run(fmt.Sprint(name, " of ", registries, " with ", cfg.Quarantine, " ", cfg.Acknowledge), func(t *testing.T) {
					for range 3 {
						calm := false
						memory := ipam.NewMemoryStore()
						store := shaky{slow{memory}, registries == 1, &calm}
						c := &clock{now: time.Unix(1000, 0)}
						cfg.Now = c.read
						var parties []party
						for range registries {
							parties = append(parties, newParty(t, store, cfg))
						}
						chaos(t, parties, c)
						calm = true
						c.move(time.Hour)
						for _, p := range parties {
							_, err := p.registry.Recover(t.Context(), p.space, nil)
							require.NoError(t, err)
							kept := 0
							for r := range p.registry.Records() {
								if !r.Free(c.read()) {
									kept++
								}
							}
							require.Equal(t, kept, p.used(), "%v", records(t, memory))
						}
					}
				})
			}
		}
	}
}

func chaos(t *testing.T, parties []party, c *clock) {
	ctx := t.Context()
	expected := func(err error) bool {
		for _, want := range []error{ipam.ErrUnavailable, ipam.ErrExhausted, ipam.ErrNotFound, ipam.ErrNotOwner, ipam.ErrInUse, ipam.ErrConflict} {
			if errors.Is(err, want) {
				return true
			}
		}
		return false
	}
	var mu sync.Mutex // protects held
	held := map[string]netip.Prefix{}
	told := func(owner string, p netip.Prefix) {
		mu.Lock()
		defer mu.Unlock()
		if had, holds := held[owner]; holds && had != p {
			t.Errorf("%s had %s and is told %s", owner, had, p)
		}
		for other, q := range held {
			if other != owner && q.Overlaps(p) {
				t.Errorf("%s is told %s while %s has %s", owner, p, other, q)
			}
		}
		held[owner] = p
	}
	acknowledge := func(p party) (err error) {
		for r := range p.registry.Records() {
			if r.Unacknowledged && err == nil {
				err = p.registry.Acknowledge(ctx, ipam.Lease{Space: r.Space, Owner: r.Owner, Value: r.Value, Generation: r.Generation})
			}
		}
		return err
	}
	var wg sync.WaitGroup
	for g := range 14 {
		wg.Go(func() {
			owner := fmt.Sprint("o", g)
			for range 60 {
				p := parties[rand.IntN(len(parties))]
				var err error
				switch rand.IntN(8) {
				case 0, 1, 2:
					var got netip.Prefix
					if got, err = p.acquire(ctx, owner); err == nil {
						told(owner, got)
					}
				case 3, 4:
					mu.Lock()
					delete(held, owner)
					mu.Unlock()
					err = p.release(ctx, owner)
				case 5:
					err = []func(context.Context, string) error{p.pin, p.unpin}[rand.IntN(2)](ctx, owner)
				case 6:
					err = acknowledge(p)
				case 7:
					if c.move(time.Duration(rand.IntN(1000)) * time.Millisecond); rand.IntN(6) == 0 {
						_, err = p.registry.Recover(ctx, p.space, nil)
					}
				}
				if err != nil && !expected(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
