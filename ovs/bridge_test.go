package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// A fakeSwitch keeps flows and groups by their text, and counts.
type fakeSwitch struct {
	flows  map[ovs.Key]ovs.Flow
	groups map[uint32]ovs.Group
	// fail and lose make the next Apply fail: before it, and after it was in force.
	fail, lose  bool
	sent, dumps int
}

func newFake() *fakeSwitch {
	return &fakeSwitch{flows: map[ovs.Key]ovs.Flow{}, groups: map[uint32]ovs.Group{}}
}

var errLost = errors.New("lost")

func (s *fakeSwitch) Apply(_ context.Context, c ovs.Changes) error {
	if s.fail {
		s.fail = false
		return errLost
	}
	s.sent += c.Len()
	for _, g := range c.GroupAdd {
		if _, ok := s.groups[g.ID]; ok {
			return fmt.Errorf("group %d exists", g.ID)
		}
		s.groups[g.ID] = g
	}
	for _, g := range c.GroupModify {
		if _, ok := s.groups[g.ID]; !ok {
			return fmt.Errorf("no group %d", g.ID)
		}
		s.groups[g.ID] = g
	}
	for _, f := range c.FlowAdd {
		s.flows[f.Key()] = f
	}
	for _, f := range c.FlowDelete {
		delete(s.flows, f.Key())
	}
	for _, id := range c.GroupDelete {
		delete(s.groups, id)
	}
	if s.lose {
		s.lose = false
		return errLost
	}
	return nil
}

func (s *fakeSwitch) Flows(_ context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	s.dumps++
	var out []ovs.Flow
	for _, f := range s.flows {
		if f.Cookie&mask == cookie&mask {
			out = append(out, f)
		}
	}
	return out, nil
}

func (s *fakeSwitch) Groups(context.Context) ([]ovs.Group, error) {
	var out []ovs.Group
	for _, g := range s.groups {
		out = append(out, g)
	}
	return out, nil
}

var share = ovs.Owner{Cookie: 0x74 << 56, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 99}

func flow(n int, out uint32) ovs.Flow {
	return ovs.Flow{Table: 1, Priority: uint16(n), Cookie: ovs.MakeCookie(0x74, 0, 0), Match: ovs.NewMatch(ovs.InPort(1)), Actions: []ovs.Action{ovs.Output(out)}}
}

func group(id, out uint32) ovs.Group {
	return ovs.Group{ID: id, Type: ovs.Select, Buckets: []ovs.Bucket{{ID: 1, Weight: 1, Actions: []ovs.Action{ovs.Output(out)}}}}
}

// TestSyncProperty takes random steps, some of which fail, and holds what is
// on the switch against what was asked for.
func TestSyncProperty(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		sw := newFake()
		foreign := ovs.Flow{Table: 1, Priority: 900, Cookie: 5, Match: ovs.NewMatch()}
		foreignGroup := group(500, 1)
		require.NoError(t, sw.Apply(t.Context(), ovs.Changes{FlowAdd: []ovs.Flow{foreign, flow(800, 3)}, GroupAdd: []ovs.Group{foreignGroup, group(77, 1)}}))
		b := ovs.NewBridge(sw, share)
		for step := range 20 {
			want, wantGroups := map[string]bool{foreign.String(): true}, map[string]bool{foreignGroup.String(): true}
			var flows []ovs.Flow
			var groups []ovs.Group
			for n := range 8 {
				if rng.IntN(2) == 0 {
					f := flow(n, rng.Uint32N(3)+1)
					flows, want[f.String()] = append(flows, f), true
				}
				if rng.IntN(2) == 0 {
					g := group(uint32(n)+1, rng.Uint32N(3)+1)
					groups, wantGroups[g.String()] = append(groups, g), true
				}
			}
			switch rng.IntN(6) {
			case 0:
				sw.fail = true
			case 1:
				sw.lose = true
			case 2:
				clear(sw.flows)
				sw.flows[foreign.Key()] = foreign
				b.Invalidate()
			}
			broken := sw.fail || sw.lose
			if _, err := b.Sync(t.Context(), flows, groups); broken && err != nil {
				require.ErrorIs(t, err, errLost)
				_, err = b.Sync(t.Context(), flows, groups)
				require.NoError(t, err, "seed %d, step %d", seed, step)
			} else {
				require.NoError(t, err)
			}
			sw.fail, sw.lose = false, false
			got, gotGroups := map[string]bool{}, map[string]bool{}
			for _, f := range sw.flows {
				got[f.String()] = true
			}
			for _, g := range sw.groups {
				gotGroups[g.String()] = true
			}
			require.Equal(t, want, got, "seed %d, step %d", seed, step)
			require.Equal(t, wantGroups, gotGroups, "seed %d, step %d", seed, step)
			before, dumps := sw.sent, sw.dumps
			r, err := b.Sync(t.Context(), flows, groups)
			require.NoError(t, err)
			require.False(t, r.Changed())
			require.Equal(t, []int{before, dumps}, []int{sw.sent, sw.dumps}, "an unchanged Sync says nothing")
		}
	}
}

func TestSyncRefusesBeforeSending(t *testing.T) {
	stranger := flow(1, 1)
	stranger.Cookie = 5
	for want, in := range map[string]struct {
		flows  []ovs.Flow
		groups []ovs.Group
	}{
		"cookie is not the owner's":           {flows: []ovs.Flow{stranger}},
		"same table, priority and match as":   {flows: []ovs.Flow{flow(1, 1), flow(1, 2)}},
		"id is not among the owner's 1 to 99": {groups: []ovs.Group{group(100, 1)}},
		"given twice":                         {groups: []ovs.Group{group(1, 1), group(1, 2)}},
		"want 1":                              {groups: []ovs.Group{{ID: 1, Type: ovs.Indirect}}},
	} {
		sw := newFake()
		_, err := ovs.NewBridge(sw, share).Sync(t.Context(), in.flows, in.groups)
		require.ErrorIs(t, err, ovs.ErrInvalid)
		require.ErrorContains(t, err, want)
		require.Zero(t, sw.dumps+sw.sent)
	}
}

func TestChangesAsText(t *testing.T) {
	c := ovs.Diff([]ovs.Flow{flow(1, 1), flow(2, 2)}, []ovs.Group{group(1, 1), group(2, 2)},
		[]ovs.Flow{flow(2, 1), flow(3, 3)}, []ovs.Group{group(2, 1), group(3, 3)})
	require.Equal(t, 6, c.Len())
	require.Equal(t, `add-group group_id=1,type=select,bucket=bucket_id:1,weight:1,actions=output:1
mod-group group_id=2,type=select,bucket=bucket_id:1,weight:1,actions=output:2
add-flow cookie=0x7400000000000000,table=1,priority=1,in_port=1 actions=output:1
add-flow cookie=0x7400000000000000,table=1,priority=2,in_port=1 actions=output:2
del-flow cookie=0x7400000000000000,table=1,priority=3,in_port=1 actions=output:3
del-group group_id=3
`, c.String())
}
