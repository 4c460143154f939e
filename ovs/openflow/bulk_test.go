package openflow_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
)

func TestAddFlows(t *testing.T) {
	_, c := dial(t)
	n, err := c.AddFlows(t.Context(), typicals(0))
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.AddFlows(t.Context(), typicals(12345))
	require.NoError(t, err)
	require.Equal(t, 12345, n)
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	var want []ovs.Flow
	for f := range typicals(12345) {
		want = append(want, f)
	}
	require.Empty(t, cmp.Diff(text(want), text(got)))

	// A flow that is refused keeps its bundle and what follows out.
	bad := ovs.Flow{Table: 9, Actions: []ovs.Action{ovs.ToGroup(77)}}
	n, err = c.AddFlows(t.Context(), func(yield func(ovs.Flow) bool) {
		for i := range 20000 {
			f := ovs.Flow{Table: 9, Match: ovs.NewMatch(ovs.Reg(0, uint32(i))), Actions: []ovs.Action{ovs.Goto(10)}}
			if i == 12345 {
				f = bad
			}
			if !yield(f) {
				return
			}
		}
	})
	var refused *openflow.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "add-flow "+bad.String(), refused.About)
	require.Equal(t, 12000, n)
	got, err = c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, got, 12345+12000)
}

func TestAddFlowsThatCannotBeSaid(t *testing.T) {
	_, c := dial(t)
	n, err := c.AddFlows(t.Context(), func(yield func(ovs.Flow) bool) {
		for i := range 1500 {
			f := typical(i)
			if i == 1200 {
				f.Actions = make([]ovs.Action, 5000)
				for j := range f.Actions {
					f.Actions[j] = ovs.SetField(ovs.Reg(0, 1))
				}
			}
			if !yield(f) {
				return
			}
		}
	})
	require.ErrorContains(t, err, "a message holds")
	require.Equal(t, 1000, n)
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, got, 1000)
}

func TestAddFlowsUntilTheContextEnds(t *testing.T) {
	_, c := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	n, err := c.AddFlows(ctx, func(yield func(ovs.Flow) bool) {
		for i := range 100_000 {
			if i == 7777 {
				cancel()
			}
			if !yield(typical(i)) {
				return
			}
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Contains(t, []int{n, n + 1000}, len(got))
}

// TestManyCallersAtOnce mixes all that waits for answers, from many
// goroutines, some of whose contexts end at any moment.
func TestManyCallersAtOnce(t *testing.T) {
	_, c := dial(t)
	_, err := c.AddFlows(t.Context(), typicals(3000))
	require.NoError(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for id := range 12 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(id)))
			for range 30 {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if r.IntN(3) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(3000))*time.Microsecond)
				}
				var err error
				switch r.IntN(5) {
				case 0:
					var flows []ovs.Flow
					if flows, err = c.Flows(ctx, owner<<56, ovs.OwnerMask); err == nil && len(flows) != 3000 {
						t.Errorf("%d flows", len(flows))
					}
				case 1:
					err = c.Barrier(ctx)
				case 2:
					err = c.Apply(ctx, ovs.Changes{FlowAdd: []ovs.Flow{{Table: 3, Priority: uint16(id), Match: ovs.NewMatch(ovs.Reg(1, r.Uint32N(50)))}}})
				case 3:
					_, err = c.PortDesc(ctx)
				case 4:
					_, err = c.AddFlows(ctx, typicals(r.IntN(1500)))
				}
				cancel()
				if err != nil && (ctx == t.Context() || !errors.Is(err, context.DeadlineExceeded)) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, c.Barrier(t.Context()))
}

func TestAddFlowsLosesTheSwitch(t *testing.T) {
	in, c := dial(t)
	n, err := c.AddFlows(t.Context(), func(yield func(ovs.Flow) bool) {
		for i := range 100_000 {
			if i == 5555 {
				in.KillVSwitchd()
			}
			if !yield(typical(i)) {
				return
			}
		}
	})
	require.ErrorIs(t, err, openflow.ErrClosed)
	require.LessOrEqual(t, n, 5000)
	_, err = c.AddFlows(t.Context(), typicals(1))
	require.ErrorIs(t, err, openflow.ErrClosed)
}
