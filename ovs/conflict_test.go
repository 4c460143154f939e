package ovs_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

func TestConflictsAreNamedBeforeAnythingIsSent(t *testing.T) {
	uses := flow(4, 0)
	uses.Actions = []ovs.Action{ovs.ToGroup(7)}
	for name, c := range map[string]struct {
		a, b             []ovs.Flow
		groupsA, groupsB []ovs.Group
		is               error
		want             string
	}{
		"flow": {
			a: []ovs.Flow{flow(1, 1)}, b: []ovs.Flow{flow(1, 2)}, is: ovs.ErrConflict,
			want: fmt.Sprintf("ovs: conflict: owner \"a\" wants flow %s, owner \"b\" wants flow %s", flow(1, 1), flow(1, 2)),
		},
		"group": {
			groupsA: []ovs.Group{group(7, 1)}, groupsB: []ovs.Group{group(7, 2)}, is: ovs.ErrConflict,
			want: fmt.Sprintf("ovs: conflict: owner \"a\" wants group %s, owner \"b\" wants group %s", group(7, 1), group(7, 2)),
		},
		"lacking group": {
			a: []ovs.Flow{uses}, is: ovs.ErrInvalid,
			want: fmt.Sprintf("ovs: invalid: group 7, which nobody wants, is used by owner \"a\" in flow %s", uses),
		},
		"agreed":      {a: []ovs.Flow{flow(1, 1), uses}, b: []ovs.Flow{flow(1, 1)}, groupsA: []ovs.Group{group(7, 2)}, groupsB: []ovs.Group{group(7, 2)}},
		"of another":  {a: []ovs.Flow{uses}, groupsB: []ovs.Group{group(7, 2)}},
		"nothing new": {},
	} {
		t.Run(name, func(t *testing.T) {
			sw := newFake()
			b := ovs.NewBridge(sw, share)
			_, err := b.Sync(t.Context())
			require.NoError(t, err)
			dumps := sw.dumps
			require.NoError(t, b.Set("a", c.a, c.groupsA))
			require.NoError(t, b.Set("b", c.b, c.groupsB))
			for range 2 {
				_, err = b.Sync(t.Context())
				if c.is == nil {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, c.is)
				require.EqualError(t, err, c.want)
				require.Equal(t, dumps, sw.dumps)
				require.Zero(t, sw.sent)
			}
			b.Remove("a")
			_, err = b.Sync(t.Context())
			require.NoError(t, err, "with one owner less nobody is at odds")
			require.Len(t, sw.flows, len(c.b))
			require.Equal(t, len(c.groupsB) > 0, len(sw.groups) > 0)
		})
	}
}

func TestManyConflictsAreCounted(t *testing.T) {
	b := ovs.NewBridge(newFake(), share)
	for out, owner := range []string{"a", "b"} {
		var flows []ovs.Flow
		for n := range 30 {
			flows = append(flows, flow(n, uint32(out)+1))
		}
		require.NoError(t, b.Set(owner, flows, nil))
	}
	_, err := b.Sync(t.Context())
	require.ErrorContains(t, err, "; and 20 more")
}
