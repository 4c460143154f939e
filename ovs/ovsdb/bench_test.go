package ovsdb_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// fill puts n rows into QoS, a table that ovs-vswitchd leaves alone.
func fill(b *testing.B, c *ovsdb.Client, n int) {
	const batch = 2000
	for i := 0; i < n; i += batch {
		var ops []ovsdb.Operation
		for j := i; j < min(i+batch, n); j++ {
			ops = append(ops, ovsdb.Insert("QoS", "", ovsdb.Row{"type": fmt.Sprintf("type-%d", j),
				"external_ids": map[string]string{"iface-id": fmt.Sprintf("port-%d", j), "attached-mac": "02:00:00:00:00:01", "vm": fmt.Sprintf("vm-%d", j%100)},
				"other_config": map[string]string{"max-rate": fmt.Sprint(j)}}))
		}
		_, err := c.Transact(b.Context(), ovsdb.VSwitchDB, ops...)
		require.NoError(b, err)
	}
}

// The first sync of 20,000 rows, beside reading the same bytes off the socket
// without looking at them.
func BenchmarkFirstSync(b *testing.B) {
	const rows = 20000
	in := ovstest.Start(b)
	in.KillVSwitchd()
	c, err := ovsdb.Dial(b.Context(), "unix", in.DBSock, ovsdb.Config{Probe: -1})
	require.NoError(b, err)
	defer c.Close()
	fill(b, c, rows)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k, err := c.Monitor(b.Context(), ovsdb.VSwitchDB, ovsdb.TableMonitor{Table: "QoS",
				Columns: []string{"type", "external_ids", "other_config"}, Indexes: []ovsdb.Index{{Column: "type"}}})
			require.NoError(b, err)
			b.StopTimer()
			got, err := k.Rows("QoS")
			require.NoError(b, err)
			require.Len(b, got, rows)
			require.NoError(b, k.Close(b.Context()))
			b.StartTimer()
		}
		b.ReportMetric(1.3, "target")
	})
	b.Run("floor", func(b *testing.B) {
		conn, err := net.Dial("unix", in.DBSock)
		require.NoError(b, err)
		defer conn.Close()
		size := replySize(b, conn)
		b.SetBytes(int64(size))
		buf := make([]byte, 64<<10)
		for b.Loop() {
			ask(b, conn)
			for left := size; left > 0; {
				n, err := conn.Read(buf)
				require.NoError(b, err)
				left -= n
			}
			b.StopTimer()
			cancel(b, conn)
			b.StartTimer()
		}
	})
}

func ask(b *testing.B, conn net.Conn) {
	_, err := conn.Write([]byte(`{"id":1,"method":"monitor_cond_since","params":["Open_vSwitch","m",` +
		`{"QoS":[{"columns":["type","external_ids","other_config"]}]},"00000000-0000-0000-0000-000000000000"]}`))
	require.NoError(b, err)
}

func cancel(b *testing.B, conn net.Conn) {
	_, err := conn.Write([]byte(`{"id":1,"method":"monitor_cancel","params":["m"]}`))
	require.NoError(b, err)
	var reply struct{ Error any }
	require.NoError(b, json.NewDecoder(conn).Decode(&reply))
	require.Nil(b, reply.Error)
}

// replySize is how many bytes the server answers with.
func replySize(b *testing.B, conn net.Conn) int {
	ask(b, conn)
	var reply json.RawMessage
	require.NoError(b, json.NewDecoder(conn).Decode(&reply))
	cancel(b, conn)
	return len(reply)
}

// 1,000 ports made in one transaction, until ovs-vswitchd has numbered each.
func BenchmarkThousandPorts(b *testing.B) {
	in := ovstest.Start(b)
	c, err := ovsdb.Dial(b.Context(), "unix", in.DBSock, ovsdb.Config{Probe: -1})
	require.NoError(b, err)
	defer c.Close()
	vs, err := ovsdb.NewVSwitch(b.Context(), c)
	require.NoError(b, err)
	ctx := context.WithoutCancel(b.Context())
	var specs []ovsdb.PortSpec
	for i := range 500 {
		x, y := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		specs = append(specs,
			ovsdb.PortSpec{Bridge: "br0", Name: x, Type: "patch", Options: map[string]string{"peer": y}},
			ovsdb.PortSpec{Bridge: "br1", Name: y, Type: "patch", Options: map[string]string{"peer": x}})
	}
	for b.Loop() {
		b.StopTimer()
		for _, name := range []string{"br0", "br1"} {
			require.NoError(b, vs.DeleteBridge(ctx, name))
			require.NoError(b, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: name, DatapathType: "netdev"}))
		}
		b.StartTimer()
		numbers, err := vs.EnsurePorts(ctx, specs)
		require.NoError(b, err)
		require.Len(b, numbers, 1000)
	}
}
