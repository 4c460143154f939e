package ovs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// TestGroupsAreFoundInActions within actions too.
func TestGroupsAreFoundInActions(t *testing.T) {
	for _, text := range []string{
		"actions=group:7", "actions=output:1,group:7", "actions=clone(output:1,group:7)", "actions=clone(clone(group:7))",
		"actions=write_actions(group:7)", "actions=clone(output:1),write_actions(group:7)",
	} {
		f, err := ovs.ParseFlow("cookie=0x7400000000000000," + text)
		require.NoError(t, err, text)
		b := ovs.NewBridge(newFake(), share)
		require.NoError(t, b.Set("a", []ovs.Flow{f}, nil))
		_, err = b.Sync(t.Context())
		require.ErrorIs(t, err, ovs.ErrInvalid, text)
		require.ErrorContains(t, err, "group 7, which nobody wants", text)
	}
}
