// Command embed-ovs shows package ovs alone in a foreign program: it adds a
// bridge, a port and a flow to the Open vSwitch whose run directory it is given,
// and prints how many packets the flow has matched whenever that changes.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovsdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := append(os.Args[1:], "/run/openvswitch")[0]
	if err := run(ctx, dir, "system", os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "embed-ovs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, datapath string, out io.Writer) error {
	db, err := ovsdb.Dial(ctx, "unix", filepath.Join(dir, "db.sock"), ovsdb.Config{})
	if err != nil {
		return err
	}
	defer db.Close()
	vs, err := ovsdb.NewVSwitch(ctx, db)
	if err != nil {
		return err
	}
	if err = vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br-embed", DatapathType: datapath, FailMode: "secure"}); err != nil {
		return err
	}
	port, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br-embed", Name: "embed0", Type: "internal"})
	if err != nil {
		return err
	}
	conn, err := openflow.Dial(ctx, "unix", filepath.Join(dir, "br-embed.mgmt"), openflow.Config{})
	if err != nil {
		return err
	}
	defer conn.Close()
	bridge := ovs.NewBridge(conn, ovs.Share{Cookie: 1 << 56, Mask: ovs.OwnerMask})
	flow := ovs.Flow{Priority: 10, Cookie: 1 << 56, Match: ovs.NewMatch(ovs.InPort(port)), Actions: []ovs.Action{ovs.Output(ovs.PortLocal)}}
	if err = bridge.Set("watched", []ovs.Flow{flow}, nil); err != nil {
		return err
	}
	if _, err = bridge.Sync(ctx); err != nil { // with nil, the flow is in force
		return err
	}
	fmt.Fprintln(out, "flow", flow)
	for last := uint64(0); err == nil; time.Sleep(50 * time.Millisecond) {
		var stats []openflow.FlowStat
		if stats, err = conn.FlowStats(ctx, 1<<56, ovs.OwnerMask); len(stats) == 1 && stats[0].Packets != last {
			last = stats[0].Packets
			fmt.Fprintln(out, last, "packets")
		}
	}
	return err
}
