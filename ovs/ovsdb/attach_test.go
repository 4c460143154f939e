package ovsdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// openBridge starts a switch with br0 and two internal ports.
func openBridge(t *testing.T) (*ovstest.Instance, *ovsdb.Client, *ovsdb.VSwitch) {
	in, c, vs := open(t)
	require.NoError(t, vs.EnsureBridge(within(t), ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev", FailMode: "secure"}))
	numbers, err := vs.EnsurePorts(within(t), []ovsdb.PortSpec{
		{Bridge: "br0", Name: "p0", Type: "internal", OFPortRequest: 5, ExternalIDs: map[string]string{"iface-id": "x", "n": "0"}},
		{Bridge: "br0", Name: "p1", Type: "internal", OFPortRequest: 6, ExternalIDs: map[string]string{"iface-id": "x", "n": "1"}},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]uint32{"p0": 5, "p1": 6}, numbers)
	return in, c, vs
}

func TestEnsurePorts(t *testing.T) {
	in, c, vs := openBridge(t)
	ctx := within(t)
	found, err := vs.PortsWith(ctx, map[string]string{"iface-id": "x"})
	require.NoError(t, err)
	require.Len(t, found, 2)
	found, err = vs.PortsWith(ctx, map[string]string{"iface-id": "x", "n": "1"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "p1", found[0].Name)
	require.Equal(t, uint32(6), found[0].OFPort)

	_, err = vs.EnsurePorts(ctx, []ovsdb.PortSpec{{Bridge: "br0", Name: "a"}, {Bridge: "br0", Name: "a"}, {Name: "b"}})
	require.ErrorContains(t, err, `port "a": asked for twice`)
	require.ErrorContains(t, err, `port "b": no bridge`)
	_, err = vs.EnsurePorts(ctx, []ovsdb.PortSpec{{Bridge: "br0", Name: "new", Type: "internal"}, {Bridge: "absent", Name: "b"}})
	require.ErrorIs(t, err, ovsdb.ErrNotFound)
	require.NotContains(t, in.Ofctl("show", "br0"), "(new)", "all or none")

	numbers, err := vs.EnsurePorts(ctx, []ovsdb.PortSpec{{Bridge: "br0", Name: "absent0"}, {Bridge: "br0", Name: "p0", Type: "internal"}})
	require.ErrorIs(t, err, ovsdb.ErrPortFailed)
	require.ErrorContains(t, err, `port "absent0"`)
	require.Equal(t, map[string]uint32{"p0": 5}, numbers)

	before := nextCfg(t, c)
	_, err = vs.EnsurePorts(ctx, []ovsdb.PortSpec{{Bridge: "br0", Name: "p0", Type: "internal"}, {Bridge: "br0", Name: "p1", Type: "internal"}})
	require.NoError(t, err)
	require.Equal(t, before, nextCfg(t, c), "unchanged sends nothing")
}

// 1,000 ports come in one transaction, each with its number.
func TestThousandPorts(t *testing.T) {
	_, c, vs := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br0", DatapathType: "netdev"}))
	require.NoError(t, vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br1", DatapathType: "netdev"}))
	before := nextCfg(t, c).(int64)
	var specs []ovsdb.PortSpec
	for i := range 500 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		specs = append(specs,
			ovsdb.PortSpec{Bridge: "br0", Name: a, Type: "patch", Options: map[string]string{"peer": b}},
			ovsdb.PortSpec{Bridge: "br1", Name: b, Type: "patch", Options: map[string]string{"peer": a}})
	}
	numbers, err := vs.EnsurePorts(ctx, specs)
	require.NoError(t, err)
	require.Len(t, numbers, 1000)
	require.Equal(t, before+1, nextCfg(t, c), "one transaction")
	ports, err := vs.Ports(ctx, "br0")
	require.NoError(t, err)
	require.Len(t, ports, 501)
	for _, p := range ports {
		if p.Name != "br0" {
			require.Equal(t, numbers[p.Name], p.OFPort, p.Name)
		}
	}
}

func TestTelemetry(t *testing.T) {
	_, c, vs := openBridge(t)
	ctx := within(t)
	rows := func(table string) []ovsdb.Row {
		r, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Select(table, nil))
		require.NoError(t, err)
		return r[0].Rows
	}
	mirror := ovsdb.MirrorSpec{Bridge: "br0", Name: "span", From: []string{"p0"}, Output: "p1"}
	require.NoError(t, vs.EnsureMirror(ctx, mirror))
	before := nextCfg(t, c)
	require.NoError(t, vs.EnsureMirror(ctx, mirror))
	require.Equal(t, before, nextCfg(t, c), "unchanged sends nothing")
	require.Len(t, rows("Mirror"), 1)
	mirror.From, mirror.All = nil, true
	require.NoError(t, vs.EnsureMirror(ctx, mirror))
	require.Equal(t, true, rows("Mirror")[0]["select_all"])
	mirror.Output = "absent"
	require.ErrorIs(t, vs.EnsureMirror(ctx, mirror), ovsdb.ErrNotFound)
	require.ErrorContains(t, vs.EnsureMirror(ctx, ovsdb.MirrorSpec{Bridge: "br0", Name: "m", Output: "p1"}), "all packets or some ports")
	require.NoError(t, vs.DeleteMirror(ctx, "br0", "span"))
	require.NoError(t, vs.DeleteMirror(ctx, "br0", "span"))
	require.Empty(t, rows("Mirror"))

	ipfix := &ovsdb.IPFIXSpec{Targets: []string{"127.0.0.1:4739"}, Sampling: 64, ObsDomain: 3}
	require.NoError(t, vs.SetIPFIX(ctx, "br0", ipfix))
	require.True(t, ovsdb.Equal(rows("IPFIX")[0]["sampling"], 64))
	ipfix.Sampling = 128
	require.NoError(t, vs.SetIPFIX(ctx, "br0", ipfix))
	require.True(t, ovsdb.Equal(rows("IPFIX")[0]["sampling"], 128))
	require.NoError(t, vs.SetIPFIX(ctx, "br0", nil))
	require.Empty(t, rows("IPFIX"))
	sflow := &ovsdb.SFlowSpec{Targets: []string{"127.0.0.1:6343"}, Agent: "lo", Polling: 10}
	require.NoError(t, vs.SetSFlow(ctx, "br0", sflow))
	require.True(t, ovsdb.Equal(rows("sFlow")[0]["agent"], "lo"))
	require.NoError(t, vs.SetSFlow(ctx, "br0", nil))
	require.Empty(t, rows("sFlow"))
	require.ErrorIs(t, vs.SetSFlow(ctx, "absent", sflow), ovsdb.ErrNotFound)
	require.ErrorContains(t, vs.SetIPFIX(ctx, "br0", &ovsdb.IPFIXSpec{}), "no targets")
}

// BFD is read as ovs-vswitchd writes it, on a tunnel without another end.
func TestBFD(t *testing.T) {
	_, c, vs := openBridge(t)
	ctx := within(t)
	_, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br0", Name: "tun0", Type: "geneve", Options: map[string]string{"remote_ip": "127.0.0.9"}})
	require.NoError(t, err)
	status, err := vs.BFD(ctx, "tun0")
	require.NoError(t, err)
	require.Equal(t, ovsdb.BFDStatus{}, status)
	k, err := c.Monitor(ctx, ovsdb.VSwitchDB, ovsdb.TableMonitor{Table: "Interface", Columns: []string{"name", "bfd_status"}})
	require.NoError(t, err)
	require.NoError(t, vs.SetBFD(ctx, "tun0", ovsdb.BFDConfig{Enable: true, MinTx: 500 * time.Millisecond}))
	require.NoError(t, k.WaitFor(ctx, func(v ovsdb.View) (bool, error) {
		row, _ := v.Find("Interface", "name", "tun0")
		m, _ := row["bfd_status"].(ovsdb.Map)
		return m["state"] != nil, nil
	}))
	status, err = vs.BFD(ctx, "tun0")
	require.NoError(t, err)
	require.Equal(t, "down", status.State)
	require.False(t, status.Forwarding)
	_, err = vs.BFD(ctx, "absent")
	require.ErrorIs(t, err, ovsdb.ErrNotFound)
	require.ErrorContains(t, vs.SetBFD(ctx, "tun0", ovsdb.BFDConfig{MinRx: time.Microsecond}), "whole milliseconds")
}

func TestRestoreFlows(t *testing.T) {
	_, c, vs := openBridge(t)
	ctx := within(t)
	waits := func() bool {
		r, err := c.Transact(ctx, ovsdb.VSwitchDB, ovsdb.Select("Open_vSwitch", []string{"other_config"}))
		require.NoError(t, err)
		return strings.Contains(fmt.Sprint(r[0].Rows[0]["other_config"]), "flow-restore-wait:true")
	}
	require.NoError(t, vs.RestoreFlows(ctx, time.Minute, func(context.Context) error {
		require.True(t, waits())
		return nil
	}))
	require.False(t, waits())
	why := errors.New("no flows")
	require.ErrorIs(t, vs.RestoreFlows(ctx, time.Minute, func(context.Context) error { return why }), why)
	require.False(t, waits())
	err := vs.RestoreFlows(ctx, 10*time.Millisecond, func(ctx context.Context) error {
		<-ctx.Done()
		for waits() { // lifted though fn hangs on
		}
		return nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "not restored after 10ms")
	require.ErrorContains(t, vs.RestoreFlows(ctx, 0, nil), "limit 0s")
}
