package ovsdb_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

func TestLock(t *testing.T) {
	in := ovstest.Start(t)
	a, b := dial(t, in), dial(t, in)
	ctx := within(t)
	gone := func(l *ovsdb.Lock) {
		t.Helper()
		select {
		case <-l.Done():
		case <-ctx.Done():
			t.Fatal("the lock is not lost")
		}
	}
	asserted := func(c *ovsdb.Client) error {
		_, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Assert("l"), ovsdb.Comment("x"))
		return err
	}

	first, err := a.Lock(ctx, "l")
	require.NoError(t, err)
	require.Equal(t, "l", first.Name())
	require.NoError(t, asserted(a))
	_, err = a.Lock(ctx, "l")
	require.ErrorIs(t, err, ovsdb.ErrLockTaken)
	var refused *ovsdb.Error
	require.ErrorAs(t, asserted(b), &refused)
	require.Equal(t, ovsdb.CodeNotOwner, refused.Code)

	t.Run("gives up with the context", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := b.Lock(short, "l")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("waits its turn", func(t *testing.T) {
		got := make(chan *ovsdb.Lock, 1)
		go func() {
			l, err := b.Lock(ctx, "l")
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		require.NoError(t, first.Unlock(ctx))
		gone(first)
		require.NoError(t, first.Unlock(ctx), "twice is once")
		second := <-got
		require.NoError(t, asserted(b))

		thief, err := a.Steal(ctx, "l")
		require.NoError(t, err)
		gone(second)
		require.ErrorAs(t, asserted(b), &refused)
		require.NoError(t, second.Unlock(ctx))
		require.NoError(t, a.Close())
		gone(thief)
		_, err = b.Lock(ctx, "l")
		require.NoError(t, err, "a lock goes with its connection")
	})
	_, err = b.Lock(ctx, "no-id")
	require.ErrorAs(t, err, &refused)
}

func TestServerID(t *testing.T) {
	in := ovstest.Start(t)
	ctx := within(t)
	a, b := dial(t, in), dial(t, in)
	one, err := a.ServerID(ctx)
	require.NoError(t, err)
	two, err := b.ServerID(ctx)
	require.NoError(t, err)
	require.Equal(t, one, two)
	require.NoError(t, a.SetDBChangeAware(ctx, true))
	require.NoError(t, in.RestartDB(ctx))
	three, err := dial(t, in).ServerID(ctx)
	require.NoError(t, err)
	require.NotEqual(t, one, three)
}
