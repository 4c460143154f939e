package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

var share = ovs.Share{Cookie: 0x74 << 56, Mask: ovs.OwnerMask, GroupMin: 1, GroupMax: 99}

func flow(n int, out uint32) ovs.Flow {
	return ovs.Flow{Table: 1, Priority: uint16(n), Cookie: ovs.MakeCookie(0x74, 0, 0), Match: ovs.NewMatch(ovs.InPort(1)), Actions: []ovs.Action{ovs.Output(out)}}
}

func group(id, out uint32) ovs.Group {
	return ovs.Group{ID: id, Type: ovs.Select, Buckets: []ovs.Bucket{{ID: 1, Weight: 1, Actions: []ovs.Action{ovs.Output(out)}}}}
}

// syncAll makes one owner want all, and the switch follow.
func syncAll(t testing.TB, b *ovs.Bridge, flows []ovs.Flow, groups []ovs.Group) (ovs.Report, error) {
	t.Helper()
	require.NoError(t, b.Set("all", flows, groups))
	return b.Sync(t.Context())
}

// A world is owners with what they want, a switch, and a slow reference that
// says what must be on it.
type world struct {
	sw     *fakeSwitch
	b      *ovs.Bridge
	flows  map[string][]ovs.Flow
	groups map[string][]ovs.Group
	others []string // texts of what is not of the share
	drift  bool     // somebody meddled since the last audit
	steps  []string
}

func (w *world) note(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

// want returns the texts of all that must be there; false if owners are at
// odds or a group is lacking.
func (w *world) want() ([]string, bool) {
	byKey, byID := map[ovs.Key]string{}, map[uint32]string{}
	texts := slices.Clone(w.others)
	for _, groups := range w.groups {
		for _, g := range groups {
			if old, ok := byID[g.ID]; ok && old != g.String() {
				return nil, false
			} else if !ok {
				texts = append(texts, g.String())
			}
			byID[g.ID] = g.String()
		}
	}
	for _, flows := range w.flows {
		for _, f := range flows {
			if old, ok := byKey[f.Key()]; ok && old != f.String() {
				return nil, false
			} else if !ok {
				texts = append(texts, f.String())
			}
			byKey[f.Key()] = f.String()
			if id := groupOf(f); id != 0 && byID[id] == "" {
				return nil, false
			}
		}
	}
	slices.Sort(texts)
	return texts, true
}

// step changes what one owner wants, or the switch.
func (w *world) step(rng *rand.Rand) {
	switch rng.IntN(12) {
	case 0:
		owner := fmt.Sprint("owner", rng.IntN(4))
		w.note("remove %s", owner)
		delete(w.flows, owner)
		delete(w.groups, owner)
		w.b.Remove(owner)
	case 1:
		w.note("the next bundle fails")
		w.sw.fail = true
	case 2:
		w.note("the answer to the next bundle is lost")
		w.sw.lose = true
	case 3:
		w.note("the switch restarts")
		w.sw.restart()
		w.b.Use(w.sw)
	case 4:
		w.note("another program does\n%s", w.sw.meddle(rng))
		w.drift = true
	case 5, 6:
		w.update(rng, fmt.Sprint("owner", rng.IntN(4)))
	default:
		w.set(rng, fmt.Sprint("owner", rng.IntN(4)))
	}
}

// update takes away some of what an owner wants and adds some.
func (w *world) update(rng *rand.Rand, owner string) {
	var stay, put, gone []ovs.Flow
	for _, f := range w.flows[owner] {
		if rng.IntN(2) == 0 {
			gone = append(gone, f)
		} else {
			stay = append(stay, f)
		}
	}
	for n := range 6 {
		f := flow(n, 1+rng.Uint32N(12)/11)
		if rng.IntN(3) > 0 || slices.ContainsFunc(gone, func(g ovs.Flow) bool { return g.Key() == f.Key() }) {
			continue
		}
		put = append(put, f)
		stay = slices.DeleteFunc(stay, func(g ovs.Flow) bool { return g.Key() == f.Key() })
	}
	w.note("%s wants %v more and %v no more", owner, put, gone)
	w.flows[owner] = append(stay, put...)
	if err := w.b.Update(owner, put, gone); err != nil {
		panic(err)
	}
}

func (w *world) set(rng *rand.Rand, owner string) {
	var flows []ovs.Flow
	var groups []ovs.Group
	for n := range 6 {
		if rng.IntN(4) == 0 {
			flows = append(flows, flow(n, 1+rng.Uint32N(12)/11)) // mostly as others want it
		}
		if rng.IntN(3) == 0 {
			groups = append(groups, group(uint32(n)+1, 1+rng.Uint32N(12)/11))
			f := flow(10+n, 0)
			f.Actions = []ovs.Action{ovs.ToGroup(uint32(n) + 1 - rng.Uint32N(12)/11)}
			flows = append(flows, f)
		}
	}
	w.note("%s wants %v and %v", owner, flows, groups)
	w.flows[owner], w.groups[owner] = flows, groups
	if err := w.b.Set(owner, flows, groups); err != nil {
		panic(err)
	}
}

// sync syncs, or audits where a sync can't see what is wrong.
func (w *world) sync(ctx context.Context) error {
	if !w.drift {
		_, err := w.b.Sync(ctx)
		return err
	}
	_, err := w.b.Audit(ctx)
	w.drift = err != nil
	return err
}

// TestSyncProperty takes random steps, some of which fail, and holds what is
// on the switch against what the owners want.
func TestSyncProperty(t *testing.T) {
	synced := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		foreign, foreignGroup := ovs.Flow{Table: 1, Priority: 900, Cookie: 5, Match: ovs.NewMatch()}, group(500, 1)
		w := &world{
			sw: newFake(), flows: map[string][]ovs.Flow{}, groups: map[string][]ovs.Group{},
			others: []string{foreign.String(), foreignGroup.String()},
		}
		leftover := ovs.Changes{FlowAdd: []ovs.Flow{foreign, flow(800, 3)}, GroupAdd: []ovs.Group{foreignGroup, group(77, 1)}}
		require.NoError(t, w.sw.Apply(t.Context(), leftover))
		if w.b = ovs.NewBridge(w.sw, share); seed%2 == 1 {
			ovs.Age(w.b)
		}
		for range 30 {
			w.step(rng)
			because := fmt.Sprintf("seed %d:\n%s", seed, strings.Join(w.steps, "\n"))
			before := w.sw.texts()
			err := w.sync(t.Context())
			want, clear := w.want()
			if !clear {
				require.True(t, errors.Is(err, ovs.ErrConflict) || errors.Is(err, ovs.ErrInvalid), "%v: %s", err, because)
				require.Equal(t, before, w.sw.texts(), because)
				continue
			}
			for tries := 0; err != nil && tries < 2; tries++ {
				require.ErrorIs(t, err, errLost, because)
				err = w.sync(t.Context())
			}
			require.NoError(t, err, because)
			require.Equal(t, want, w.sw.texts(), because)
			sent, dumps := w.sw.sent, w.sw.dumps
			r, err := w.b.Sync(t.Context())
			require.NoError(t, err)
			require.False(t, r.Changed())
			require.Equal(t, []int{sent, dumps}, []int{w.sw.sent, w.sw.dumps}, "an unchanged Sync says nothing")
			synced++
		}
	}
	require.Greater(t, synced, 3000, "most steps are not in conflict")
}

func TestUpdateRefuses(t *testing.T) {
	b := ovs.NewBridge(newFake(), share)
	require.NoError(t, b.Set("a", []ovs.Flow{flow(1, 1), flow(2, 1)}, nil))
	require.NoError(t, b.Set("b", []ovs.Flow{flow(3, 1)}, nil))
	foreign := flow(4, 1)
	foreign.Cookie = 1
	for _, c := range []struct {
		put, gone []ovs.Flow
		want      string
	}{
		{nil, []ovs.Flow{flow(5, 1)}, "gone, but not wanted"},
		{nil, []ovs.Flow{flow(3, 1)}, "gone, but not wanted"},
		{nil, []ovs.Flow{flow(1, 1), flow(1, 1)}, "given twice"},
		{[]ovs.Flow{flow(1, 2)}, []ovs.Flow{flow(1, 1)}, "given twice"},
		{[]ovs.Flow{flow(5, 1), flow(5, 2)}, nil, "same table, priority and match"},
		{[]ovs.Flow{foreign}, nil, "not the share's"},
	} {
		err := b.Update("a", c.put, c.gone)
		require.ErrorIs(t, err, ovs.ErrInvalid)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, `owner "a"`)
	}
	r, err := b.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 3}, r)
	require.NoError(t, b.Update("a", nil, []ovs.Flow{flow(1, 1), flow(2, 1)}))
	require.Equal(t, []string{"b"}, b.Owners())
}

func TestSyncRefusesBeforeSending(t *testing.T) {
	stranger := flow(1, 1)
	stranger.Cookie = 5
	for want, in := range map[string]struct {
		flows  []ovs.Flow
		groups []ovs.Group
	}{
		"cookie is not the share's":           {flows: []ovs.Flow{stranger}},
		"same table, priority and match as":   {flows: []ovs.Flow{flow(1, 1), flow(1, 2)}},
		"id is not among the share's 1 to 99": {groups: []ovs.Group{group(100, 1)}},
		"given twice":                         {groups: []ovs.Group{group(1, 1), group(1, 2)}},
		"want 1":                              {groups: []ovs.Group{{ID: 1, Type: ovs.Indirect}}},
	} {
		sw := newFake()
		err := ovs.NewBridge(sw, share).Set("web", in.flows, in.groups)
		require.ErrorIs(t, err, ovs.ErrInvalid)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, `owner "web"`)
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

// TestFlowMovesBetweenOwners in either order of the two calls.
func TestFlowMovesBetweenOwners(t *testing.T) {
	sw := newFake()
	b := ovs.NewBridge(sw, share)
	for i, owners := range [][2]string{{"a", "b"}, {"b", "a"}} {
		require.NoError(t, b.Set(owners[0], []ovs.Flow{flow(1, 1)}, nil))
		_, err := b.Sync(t.Context())
		require.NoError(t, err)
		sent := sw.sent
		if i == 0 {
			require.NoError(t, b.Set(owners[1], []ovs.Flow{flow(1, 1)}, nil))
			b.Remove(owners[0])
		} else {
			b.Remove(owners[0])
			require.NoError(t, b.Set(owners[1], []ovs.Flow{flow(1, 1)}, nil))
		}
		require.Equal(t, []string{owners[1]}, b.Owners())
		r, err := b.Sync(t.Context())
		require.NoError(t, err)
		require.False(t, r.Changed())
		require.Equal(t, sent, sw.sent)
		b.Remove(owners[1])
		_, err = b.Sync(t.Context())
		require.NoError(t, err)
		require.Empty(t, sw.flows)
	}
}

func TestAuditNamesWhatItRepaired(t *testing.T) {
	sw := newFake()
	b := ovs.NewBridge(sw, share)
	require.NoError(t, b.Set("web", []ovs.Flow{flow(1, 1), flow(2, 2)}, []ovs.Group{group(1, 1), group(2, 2)}))
	r, err := b.Audit(t.Context())
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 2, GroupsAdded: 2}, r)

	require.NoError(t, apply(sw.flows, sw.groups, ovs.Changes{
		FlowDelete: []ovs.Flow{flow(1, 1)}, FlowAdd: []ovs.Flow{flow(2, 9), flow(3, 3)},
		GroupDelete: []uint32{1}, GroupModify: []ovs.Group{group(2, 9)}, GroupAdd: []ovs.Group{group(3, 3)},
	}))
	// What the owner changed itself is no repair.
	require.NoError(t, b.Set("web", []ovs.Flow{flow(1, 1), flow(2, 2), flow(4, 4)}, []ovs.Group{group(1, 1), group(2, 2)}))
	r, err = b.Audit(t.Context())
	require.NoError(t, err)
	var got []string
	for _, x := range r.Repairs {
		got = append(got, x.String())
	}
	require.ElementsMatch(t, []string{
		fmt.Sprintf("missing flow %s of owner \"web\"", flow(1, 1)),
		fmt.Sprintf("altered flow %s of owner \"web\", found flow %s", flow(2, 2), flow(2, 9)),
		fmt.Sprintf("unwanted flow %s", flow(3, 3)),
		fmt.Sprintf("missing group %s of owner \"web\"", group(1, 1)),
		fmt.Sprintf("altered group %s of owner \"web\", found group %s", group(2, 2), group(2, 9)),
		fmt.Sprintf("unwanted group %s", group(3, 3)),
	}, got)
	require.Equal(t, ovs.Report{Added: 2, Modified: 1, Deleted: 1, GroupsAdded: 1, GroupsModified: 1, GroupsDeleted: 1, Repairs: r.Repairs}, r)
	r, err = b.Audit(t.Context())
	require.NoError(t, err)
	require.Zero(t, r)
}

// A slowSwitch lets the test do something while a bundle is on the way.
type slowSwitch struct {
	*fakeSwitch
	meanwhile func()
}

func (s *slowSwitch) Apply(ctx context.Context, c ovs.Changes) error {
	err := s.fakeSwitch.Apply(ctx, c)
	if s.meanwhile != nil {
		s.meanwhile()
	}
	return err
}

func (s *slowSwitch) Flows(ctx context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	flows, err := s.fakeSwitch.Flows(ctx, cookie, mask)
	if s.meanwhile != nil {
		s.meanwhile()
	}
	return flows, err
}

// TestSetDuringSync changes what is wanted while the switch is at work.
func TestSetDuringSync(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 4))
		sw := &slowSwitch{fakeSwitch: newFake()}
		b := ovs.NewBridge(sw, share)
		var flows []ovs.Flow
		sw.meanwhile = func() {
			flows = nil
			for n := range 6 {
				if rng.IntN(2) == 0 {
					flows = append(flows, flow(n, rng.Uint32N(3)+1))
				}
			}
			require.NoError(t, b.Set("a", flows, nil))
		}
		for range 10 {
			sw.meanwhile()
			_, err := b.Sync(t.Context())
			require.NoError(t, err)
			if rng.IntN(4) == 0 {
				_, err = b.Audit(t.Context())
				require.NoError(t, err)
			}
		}
		sw.meanwhile = nil
		_, err := b.Sync(t.Context())
		require.NoError(t, err)
		var want []string
		for _, f := range flows {
			want = append(want, f.String())
		}
		require.ElementsMatch(t, want, sw.texts(), "seed %d", seed)
	}
}

// TestSyncWaitsForItsTurn, but not longer than its context.
func TestSyncWaitsForItsTurn(t *testing.T) {
	sw := &slowSwitch{fakeSwitch: newFake()}
	b := ovs.NewBridge(sw, share)
	sw.meanwhile = func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.Sync(ctx)
		require.ErrorIs(t, err, context.Canceled)
	}
	_, err := syncAll(t, b, []ovs.Flow{flow(1, 1)}, nil)
	require.NoError(t, err)
}

// TestUseDuringSync changes the switch while another is at work: the next
// Sync reads it.
func TestUseDuringSync(t *testing.T) {
	first, second := &slowSwitch{fakeSwitch: newFake()}, newFake()
	b := ovs.NewBridge(first, share)
	first.meanwhile = func() { b.Use(second) }
	_, err := syncAll(t, b, []ovs.Flow{flow(1, 1)}, nil)
	require.NoError(t, err)
	require.Empty(t, second.flows)
	r, err := b.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, ovs.Report{Added: 1}, r)
	require.Equal(t, 1, second.dumps)
	require.Equal(t, first.texts(), second.texts())
}

// TestNothingIsKept of owners that are gone.
func TestNothingIsKept(t *testing.T) {
	sw := newFake()
	b := ovs.NewBridge(sw, share)
	for n := range 100 {
		require.NoError(t, b.Set(fmt.Sprint(n), []ovs.Flow{flow(n, 1)}, []ovs.Group{group(1, 1)}))
	}
	_, err := b.Sync(t.Context())
	require.NoError(t, err)
	for _, owner := range b.Owners() {
		b.Remove(owner)
	}
	_, err = b.Sync(t.Context())
	require.NoError(t, err)
	require.Empty(t, b.Owners())
	require.Zero(t, ovs.Slots(b))
}
