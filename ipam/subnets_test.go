package ipam_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

// What is in quarantine here does not keep from the core what is pinned within
// it, which was granted where the clock is ahead.
func TestPinnedWithinQuarantine(t *testing.T) {
	for _, behind := range []time.Duration{0, time.Second} {
		for range 20 { // tables have no order
			ctx := t.Context()
			store := ipam.NewMemoryStore()
			slow, fast := &clock{now: time.Unix(1000, 0)}, &clock{now: time.Unix(1000, 0)}
			r, here := subnets(t, store, ipam.Config{Now: slow.read, Quarantine: time.Minute}, "10.0.0.0/24")
			_, there := subnets(t, store, ipam.Config{Now: fast.read, Quarantine: time.Minute}, "10.0.0.0/24")
			_, err := here.Acquire(ctx, "a", 25)
			require.NoError(t, err)
			require.NoError(t, here.Release(ctx, "a"))
			slow.move(time.Minute - behind)
			fast.move(time.Minute)
			pinned, err := there.Acquire(ctx, "b", 26)
			require.NoError(t, err)
			require.NoError(t, there.Pin(ctx, "b"))
			require.NoError(t, there.Release(ctx, "b"))
			_, err = r.Recover(ctx, "s", nil)
			require.NoError(t, err)
			got, err := here.Acquire(ctx, "a", 25)
			require.NoError(t, err)
			require.False(t, got.Overlaps(pinned), "%s and %s, %s behind", got, pinned, behind)
			back, err := there.Acquire(ctx, "b", 26)
			require.NoError(t, err)
			require.Equal(t, pinned, back)
		}
	}
}

// A process starts again with a clock that is behind: what it thinks is in
// quarantine is a part of what was granted since.
func TestClockBehindAfterRestart(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		ctx := t.Context()
		store := &faulty{Store: ipam.NewMemoryStore(), exclusive: exclusive}
		c := &clock{now: time.Unix(1000, 0)}
		cfg := ipam.Config{Now: c.read, Quarantine: time.Minute}
		_, s := subnets(t, store, cfg, "10.0.0.0/23")
		_, err := s.Acquire(ctx, "a", 25)
		require.NoError(t, err)
		require.NoError(t, s.Release(ctx, "a"))
		c.move(time.Minute)
		whole, err := s.Acquire(ctx, "b", 24)
		require.NoError(t, err)
		c.move(-time.Second)
		_, s = subnets(t, store, cfg, "10.0.0.0/23")
		again, err := s.Acquire(ctx, "a", 25)
		require.NoError(t, err)
		require.False(t, again.Overlaps(whole), "%s and %s", again, whole)
	}
}

// Of two quarantines that overlap the last counts: the other is over, where the
// clock is ahead.
func TestLastQuarantineCounts(t *testing.T) {
	for range 20 { // tables have no order
		ctx := t.Context()
		store := ipam.NewMemoryStore()
		ahead, behind := &clock{now: time.Unix(1060, 0)}, &clock{now: time.Unix(1000, 0)}
		_, s := subnets(t, store, ipam.Config{Now: ahead.read, Quarantine: time.Hour}, "10.0.0.0/24")
		_, err := s.Acquire(ctx, "a", 26)
		require.NoError(t, err)
		require.NoError(t, s.Release(ctx, "a"))
		ahead.move(time.Hour)
		behind.move(time.Hour)
		_, err = s.Acquire(ctx, "b", 24)
		require.NoError(t, err)
		require.NoError(t, s.Release(ctx, "b"))
		_, s = subnets(t, store, ipam.Config{Now: behind.read, Quarantine: time.Hour}, "10.0.0.0/24")
		got, err := s.Acquire(ctx, "c", 25)
		require.ErrorIs(t, err, ipam.ErrExhausted, got)
	}
}

// What a recovery holds back in one process, another does not give a part of.
func TestHeldBackByAnother(t *testing.T) {
	for _, after := range []time.Duration{30 * time.Second, 2 * time.Minute} {
		ctx := t.Context()
		c := &clock{now: time.Unix(1000, 0)}
		store := ipam.NewMemoryStore()
		cfg := ipam.Config{Now: c.read, Quarantine: time.Minute}
		r, _ := subnets(t, store, cfg, "10.0.0.0/24")
		_, there := subnets(t, store, cfg, "10.0.0.0/24")
		_, err := there.Acquire(ctx, "z", 26)
		require.NoError(t, err)
		half, err := there.Acquire(ctx, "d", 25)
		require.NoError(t, err)
		require.NoError(t, there.Release(ctx, "d"))
		c.move(after)
		owner := "d" // whose port is there still
		if after > time.Minute {
			owner = "z" // who owns another
		}
		got, err := r.Recover(ctx, "s", []ipam.Claim{claim(owner, half.String(), 1)})
		require.NoError(t, err)
		require.Len(t, got.Conflicts, 1)
		c.move(2 * time.Minute)
		var given []netip.Prefix
		for _, owner := range []string{"e1", "e2"} {
			if p, err := there.Acquire(ctx, owner, 26); err == nil {
				given = append(given, p)
			} else {
				require.ErrorIs(t, err, ipam.ErrExhausted)
			}
		}
		require.Len(t, given, 1)
		require.False(t, given[0].Overlaps(half), "%s is a part of %s", given[0], half)
	}
}
