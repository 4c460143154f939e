package openflow_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// TestRandomFlowsReadBack sends random flows to a switch: what it reports must
// be what was sent, in values and in text, so that nothing is ever sent again.
func TestRandomFlowsReadBack(t *testing.T) {
	_, c := dial(t)
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: everyGroup()[:1]}))
	for seed := range uint64(5) {
		r := maker{rand.New(rand.NewPCG(seed, 2))}
		flows := make([]ovs.Flow, 1000)
		for i := range flows {
			flows[i] = r.flow(i)
			require.NoError(t, flows[i].Validate(), "seed %d", seed)
		}
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: flows}), "seed %d", seed)
		got, err := c.Flows(t.Context(), owner<<56, ovs.OwnerMask)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(text(flows), text(got)), "seed %d", seed)
		require.Zero(t, ovs.Diff(flows, nil, got, nil).Len(), "seed %d", seed)
		require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowDelete: got}))
		got, err = c.Flows(t.Context(), 0, 0)
		require.NoError(t, err)
		require.Empty(t, got, "what was read can be deleted")
	}
}

// TestRandomFlowsAsText has ovs-ofctl read what String writes, and ParseFlow too.
func TestRandomFlowsAsText(t *testing.T) {
	in, c := dial(t)
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: everyGroup()[:1]}))
	r := maker{rand.New(rand.NewPCG(9, 9))}
	var flows []ovs.Flow
	for i := range 150 {
		f := r.flow(i)
		again, err := ovs.ParseFlow(f.String())
		require.NoError(t, err)
		require.Equal(t, f.String(), again.String())
		require.Zero(t, ovs.Diff([]ovs.Flow{f}, nil, []ovs.Flow{again}, nil).Len(), "%s", f)
		in.Ofctl("add-flow", "br0", f.String())
		flows = append(flows, f)
	}
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(flows), text(got)))
}
