package openflow_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// syncAll makes one owner want all, and the switch follow.
func syncAll(t testing.TB, b *ovs.Bridge, flows []ovs.Flow, groups []ovs.Group) (ovs.Report, error) {
	t.Helper()
	require.NoError(t, b.Set("all", flows, groups))
	return b.Sync(t.Context())
}
