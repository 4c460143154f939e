package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// run starts a loop and stops it when the test's function ends.
func run[K comparable](t *testing.T, l *Loop[K]) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestLoopDeduplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := map[string]int{}
		l := New(func(_ context.Context, k string) error { calls[k]++; return nil }, Config{})
		l.Enqueue("a", "b", "a")
		l.Enqueue("a")
		run(t, l)
		require.NoError(t, l.Idle(t.Context()))
		require.Equal(t, map[string]int{"a": 1, "b": 1}, calls)
		l.mu.Lock()
		defer l.mu.Unlock()
		require.Empty(t, l.items, "a settled key is forgotten")
	})
}

func TestLoopRunsAgainWhenEnqueuedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, at, most := 0, 0, 0
		var mu sync.Mutex
		l := New(func(context.Context, string) error {
			mu.Lock()
			calls++
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			at--
			mu.Unlock()
			return nil
		}, Config{Workers: 4})
		run(t, l)
		l.Enqueue("a")
		synctest.Wait()
		l.Enqueue("a", "a")
		require.NoError(t, l.Idle(t.Context()))
		require.Equal(t, 2, calls)
		require.Equal(t, 1, most, "one key is never worked on twice at once")
	})
}

func TestLoopBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		other := 0
		l := New(func(_ context.Context, k string) error {
			if k == "good" {
				other++
				return nil
			}
			if at = append(at, time.Since(start)); len(at) == 6 {
				return nil
			}
			return errors.New("no")
		}, Config{Backoff: Backoff{Initial: time.Second, Max: 5 * time.Second, Jitter: -1}})
		run(t, l)
		l.Enqueue("bad", "good")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 1, other, "a failing key holds up no other")
		failing := l.Failing()
		require.Len(t, failing, 1)
		require.EqualError(t, failing[0].Err, "no")
		require.NoError(t, l.Idle(t.Context()))
		s := time.Second
		require.Equal(t, []time.Duration{0, 1 * s, 3 * s, 7 * s, 12 * s, 17 * s}, at)
		require.Empty(t, l.Failing())
	})
}

func TestLoopEnqueueCutsBackoffShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		l := New(func(context.Context, int) error {
			if fail {
				return errors.New("no")
			}
			return nil
		}, Config{Backoff: Backoff{Initial: time.Hour, Max: time.Hour}})
		run(t, l)
		l.Enqueue(1)
		synctest.Wait()
		fail = false
		start := time.Now()
		l.Enqueue(1)
		require.NoError(t, l.Idle(t.Context()))
		require.Zero(t, time.Since(start))
	})
}

func TestLoopPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := false
		l := New(func(_ context.Context, k int) error {
			if k == 1 {
				panic(errPoison)
			}
			good = true
			return nil
		}, Config{})
		run(t, l)
		l.Enqueue(1, 2)
		synctest.Wait()
		require.True(t, good)
		failing := l.Failing()
		require.Len(t, failing, 1)
		require.ErrorIs(t, failing[0].Err, errPoison)
		var p *PanicError
		require.ErrorAs(t, failing[0].Err, &p)
		require.Contains(t, string(p.Stack), "TestLoopPanic")
	})
}

var errPoison = errors.New("poison")

func TestLoopEnqueueAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		l := New(func(context.Context, int) error { at = append(at, time.Since(start)); return nil }, Config{})
		run(t, l)
		l.EnqueueAfter(time.Minute, 1)
		l.EnqueueAfter(time.Second, 1)
		l.EnqueueAfter(time.Hour, 1)
		require.NoError(t, l.Idle(t.Context()), "waiting for a time is idle")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Equal(t, []time.Duration{time.Second}, at)
	})
}

func TestLoopResumesAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := New(func(ctx context.Context, k int) error {
			calls++
			if calls == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.Enqueue(1, 2)
		synctest.Wait()
		require.EqualError(t, l.Run(t.Context()), "reconcile: the loop is already running")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Equal(t, 1, calls)
		run(t, l)
		require.NoError(t, l.Idle(t.Context()))
		require.Equal(t, 3, calls)
	})
}

// TestLoopProperty: whatever happens, each key is worked on, to success, after it was last enqueued,
// and never twice at once.
func TestLoopProperty(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 42))
				var mu sync.Mutex
				wrote, saw, inside := map[int]int{}, map[int]int{}, map[int]bool{}
				chance := rand.New(rand.NewPCG(seed, 43))
				l := New(func(_ context.Context, k int) error {
					mu.Lock()
					require.False(t, inside[k], "key %d is worked on twice at once", k)
					inside[k] = true
					read := wrote[k]
					nap := time.Duration(chance.IntN(200)) * time.Millisecond
					outcome := chance.IntN(4)
					mu.Unlock()
					time.Sleep(nap)
					mu.Lock()
					defer mu.Unlock()
					inside[k] = false
					switch outcome {
					case 0:
						return errors.New("no")
					case 1:
						panic("no")
					}
					saw[k] = read
					return nil
				}, Config{Workers: 1 + rnd.IntN(4)})
				run(t, l)
				for range 300 {
					k := rnd.IntN(10)
					mu.Lock()
					wrote[k]++
					mu.Unlock()
					l.Enqueue(k)
					if rnd.IntN(3) == 0 {
						l.EnqueueAfter(time.Duration(rnd.IntN(300))*time.Millisecond, k)
					}
					time.Sleep(time.Duration(rnd.IntN(50)) * time.Millisecond)
				}
				require.NoError(t, l.Idle(t.Context()))
				time.Sleep(time.Second)
				require.NoError(t, l.Idle(t.Context()))
				mu.Lock()
				defer mu.Unlock()
				require.Equal(t, wrote, saw)
			})
		})
	}
}

func TestBackoffDelay(t *testing.T) {
	for n := 1; n < 200; n++ {
		d := Backoff{}.Delay(n)
		require.Positive(t, d)
		require.LessOrEqual(t, d, time.Minute)
	}
	require.GreaterOrEqual(t, Backoff{}.Delay(100), 48*time.Second)
}
