package ovs_test

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// TestFirstSyncIsNeverMoreOpen looks at the switch after each bundle of a big
// first sync: nothing is there that what outranks it, or lies behind it, is
// not there before.
func TestFirstSyncIsNeverMoreOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var flows []ovs.Flow
	for n := range 4321 {
		f := flow(int(rng.Uint32N(50)), 1)
		f.Table, f.Match = uint8(rng.Uint32N(4)), ovs.NewMatch(ovs.Reg(0, uint32(n)))
		f.Actions = []ovs.Action{ovs.ToGroup(1 + rng.Uint32N(99))}
		flows = append(flows, f)
	}
	var groups []ovs.Group
	for n := range uint32(99) {
		groups = append(groups, group(n+1, 1))
	}
	sw := newFake()
	foreign := ovs.Flow{Table: 1, Priority: 900, Cookie: 5, Match: ovs.NewMatch()}
	require.NoError(t, sw.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{foreign}}))
	rank := func(f ovs.Flow) int { return -int(f.Table)<<16 - int(f.Priority) }
	last := -1 << 30
	sw.applied = func(c ovs.Changes) {
		require.LessOrEqual(t, c.Len(), 1000)
		lowest, highest := 1<<30, -1<<30
		for _, f := range c.FlowAdd {
			lowest, highest = min(lowest, rank(f)), max(highest, rank(f))
		}
		if len(c.FlowAdd) > 0 {
			require.GreaterOrEqual(t, lowest, last)
			last = highest
		}
	}
	b := ovs.NewBridge(sw, share)
	r, err := syncAll(t, b, flows, groups)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 4321, GroupsAdded: 99}, r)
	require.Equal(t, 1+1+5, sw.bundles)

	// Where something is there, however many changes go in one bundle.
	for i := range flows {
		flows[i].Actions = []ovs.Action{ovs.Output(9)}
	}
	sw.applied = func(c ovs.Changes) { require.Equal(t, 4321+99, c.Len()) }
	r, err = syncAll(t, b, flows, nil)
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Modified: 4321, GroupsDeleted: 99}, r)

	// Deletions go the other way round.
	sw.applied = func(c ovs.Changes) {
		require.Len(t, c.FlowDelete, 4321)
		require.True(t, slices.IsSortedFunc(c.FlowDelete, func(a, b ovs.Flow) int { return rank(b) - rank(a) }))
	}
	_, err = syncAll(t, b, nil, nil)
	require.NoError(t, err)

	// A first sync that ended half way goes on where it is.
	b.Use(sw)
	start := sw.bundles
	sw.applied = func(ovs.Changes) { sw.fail = sw.bundles == start+2 }
	_, err = syncAll(t, b, flows, nil)
	require.ErrorIs(t, err, errLost)
	had := len(sw.flows) - 1
	require.Positive(t, had)
	sw.applied = nil
	r, err = b.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 4321 - had}, r)
}

// A streamSwitch takes flows one by one.
type streamSwitch struct {
	*fakeSwitch
	streamed int
}

func (s *streamSwitch) AddFlows(ctx context.Context, flows iter.Seq[ovs.Flow]) (int, error) {
	for f := range flows {
		if err := s.Apply(ctx, ovs.Changes{FlowAdd: []ovs.Flow{f}}); err != nil {
			return s.streamed, err
		}
		s.streamed++
	}
	return s.streamed, nil
}

// TestFirstSyncStreams where the switch can, and only then.
func TestFirstSyncStreams(t *testing.T) {
	sw := &streamSwitch{fakeSwitch: newFake()}
	b := ovs.NewBridge(sw, share)
	var flows []ovs.Flow
	for n := range 1001 {
		f := flow(n, 0)
		f.Actions = []ovs.Action{ovs.ToGroup(7)}
		flows = append(flows, f)
	}
	r, err := syncAll(t, b, flows, []ovs.Group{group(7, 1)})
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 1001, GroupsAdded: 1}, r)
	require.Equal(t, 1001, sw.streamed)
	_, err = syncAll(t, b, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 1001, sw.streamed)

	sw.streamed = 0
	b.Use(sw)
	sw.applied = func(c ovs.Changes) { sw.fail = sw.streamed == 500 }
	_, err = syncAll(t, b, flows, []ovs.Group{group(7, 1)})
	require.ErrorIs(t, err, errLost)
	sw.applied = nil
	r, err = b.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 1001 - 501}, r)
}
