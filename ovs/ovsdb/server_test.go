package ovsdb_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// The client against the real server, beyond what VSwitch uses.
func TestServer(t *testing.T) {
	in := ovstest.Start(t)
	c := dial(t, in)
	ctx := within(t)

	names, err := c.Databases(ctx)
	require.NoError(t, err)
	require.Contains(t, names, ovsdb.VSwitchDB)
	schema, err := c.Schema(ctx, ovsdb.VSwitchDB)
	require.NoError(t, err)
	require.Equal(t, ovsdb.ColumnType{Key: ovsdb.BaseType{Type: "uuid", RefTable: "Bridge"}, Max: ovsdb.Unlimited},
		schema.Tables["Open_vSwitch"].Columns["bridges"].Type)
	_, err = c.Schema(ctx, "absent")
	var refused *ovsdb.Error
	require.ErrorAs(t, err, &refused)

	// QoS is a root table that ovs-vswitchd leaves alone.
	k, err := c.Monitor(ctx, ovsdb.VSwitchDB, ovsdb.TableMonitor{Table: "QoS",
		Columns: []string{"type", "external_ids"}, Where: []ovsdb.Condition{ovsdb.Where("type", "kept")}})
	require.NoError(t, err)
	results, err := c.Transact(ctx, ovsdb.VSwitchDB,
		ovsdb.Insert("QoS", "", ovsdb.Row{"type": "other"}),
		ovsdb.Insert("QoS", "", ovsdb.Row{"type": "kept", "external_ids": map[string]string{"a": "1", "b": "2"}}),
		ovsdb.Comment("two rows"))
	require.NoError(t, err)
	id := results[1].UUID
	require.NoError(t, k.WaitFor(ctx, func(v ovsdb.View) (bool, error) { return len(v.Rows("QoS")) == 1, nil }))
	rows, err := k.Rows("QoS")
	require.NoError(t, err)
	require.Equal(t, []ovsdb.Row{{"_uuid": id, "type": "kept", "external_ids": ovsdb.Map{"a": "1", "b": "2"}}}, rows)

	results, err = c.Transact(ctx, ovsdb.VSwitchDB,
		ovsdb.Mutate("QoS", []ovsdb.Mutation{{Column: "external_ids", Mutator: "delete", Value: []string{"a"}}}, ovsdb.Where("_uuid", id)),
		ovsdb.Select("QoS", []string{"external_ids"}, ovsdb.Where("_uuid", id)))
	require.NoError(t, err)
	require.Equal(t, 1, results[0].Count)
	require.Equal(t, ovsdb.Map{"b": "2"}, results[1].Rows[0]["external_ids"])
	require.NoError(t, k.WaitFor(ctx, func(v ovsdb.View) (bool, error) {
		row, ok := v.Row("QoS", id)
		return ok && ovsdb.Equal(row["external_ids"], ovsdb.Map{"b": "2"}), nil
	}))

	t.Run("all or nothing", func(t *testing.T) {
		_, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Insert("QoS", "", ovsdb.Row{"type": "kept"}), ovsdb.Abort())
		require.ErrorAs(t, err, &refused)
		require.Equal(t, ovsdb.CodeAborted, refused.Code)
		require.Equal(t, 1, refused.Op)
		results, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Select("QoS", []string{"type"}))
		require.NoError(t, err)
		require.Len(t, results[0].Rows, 2)
	})

	t.Run("wait", func(t *testing.T) {
		never := ovsdb.Wait("QoS", 0, []string{"type"}, true, []ovsdb.Row{{"type": "absent"}})
		_, err := c.Transact(ctx, ovsdb.VSwitchDB, never)
		require.ErrorAs(t, err, &refused)
		require.Equal(t, ovsdb.CodeTimedOut, refused.Code)

		// One that waits is cancelled with its context, and the connection goes on.
		long := ovsdb.Wait("QoS", time.Hour, []string{"type"}, true, []ovsdb.Row{{"type": "absent"}})
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err = c.Transact(short, ovsdb.VSwitchDB, long)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Echo(ctx))
	})

	require.NoError(t, k.Close(ctx))
	require.NoError(t, k.Close(ctx))
	_, err = k.Rows("QoS")
	require.ErrorIs(t, err, ovsdb.ErrDisconnected)
	require.NoError(t, c.Echo(ctx))
}
