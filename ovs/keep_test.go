package ovs_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// A link is a connection to a fake switch that the test ends.
type link struct {
	*fakeSwitch
	ended chan error
	open  *atomic.Int32
	mu    sync.Mutex // held to read the switch, and to meddle with it
}

func (l *link) Flows(ctx context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fakeSwitch.Flows(ctx, cookie, mask)
}

func (l *link) Wait() error { return <-l.ended }

func (l *link) Close() error {
	l.open.Add(-1)
	select {
	case l.ended <- errors.New("closed by us"):
	default:
	}
	return nil
}

// pass lets fake time pass, and what is due then be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestKeep loses flows and connections, and finds the switch as it should be
// each time. The fake clock shows when something is done; no goroutine is left.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := newFake()
		var open atomic.Int32
		var current *link
		refuse := 2
		dial := func(context.Context) (ovs.Link, error) {
			if refuse--; refuse >= 0 {
				return nil, errLost
			}
			open.Add(1)
			current = &link{fakeSwitch: sw, ended: make(chan error, 1), open: &open}
			return current, nil
		}
		var reports []ovs.Report
		var faults []error
		b := ovs.NewBridge(nil, share)
		_, err := b.Sync(t.Context())
		require.ErrorIs(t, err, ovs.ErrNoSwitch)

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- b.Keep(ctx, dial, ovs.KeepConfig{AuditEvery: time.Hour, OnSync: func(r ovs.Report, err error) {
				reports, faults = append(reports, r), append(faults, err)
			}})
		}()
		pass(time.Second)
		require.Equal(t, []error{errLost, errLost, nil}, faults, "two refused connections, then an empty sync")

		// What is set is there without being asked for.
		require.NoError(t, b.Set("a", []ovs.Flow{flow(1, 1), flow(2, 2)}, nil))
		synctest.Wait()
		require.Len(t, sw.flows, 2)

		// A bundle that failed is tried again.
		sw.lose = true
		b.Remove("a")
		require.NoError(t, b.Set("b", []ovs.Flow{flow(1, 1)}, nil))
		pass(time.Second)
		require.Len(t, sw.flows, 1)

		// Owners at odds are told at once when they agree again.
		require.NoError(t, b.Set("c", []ovs.Flow{flow(1, 2)}, nil))
		pass(time.Minute)
		require.ErrorIs(t, faults[len(faults)-1], ovs.ErrConflict)
		reports = nil
		require.NoError(t, b.Set("b", []ovs.Flow{flow(1, 2)}, nil))
		synctest.Wait()
		require.NoError(t, faults[len(faults)-1])
		require.Contains(t, reports, ovs.Report{Modified: 1})

		// The switch restarts without its flows.
		faults, reports = nil, nil
		sw.restart()
		current.ended <- errors.New("reset by peer")
		pass(time.Second)
		require.Len(t, sw.flows, 1)
		require.EqualError(t, faults[0], "reset by peer")
		require.Equal(t, ovs.Report{Added: 1}, reports[1])

		// Somebody removes a flow: it is back soon, for the connection is young,
		// and back within the hour when it is older.
		for _, within := range []time.Duration{time.Second, 4 * time.Second, time.Hour, time.Hour} {
			reports = nil
			current.mu.Lock()
			clear(sw.flows)
			current.mu.Unlock()
			pass(within)
			require.Len(t, sw.flows, 1)
			require.Len(t, reports[0].Repairs, 1)
		}

		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Zero(t, open.Load())
	})
}
