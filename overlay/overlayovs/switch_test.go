package overlayovs_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/overlay/overlayovs"
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// sync sends the flows to a bridge by OpenFlow, twice: the switch has them as
// they were sent, so the second time there is nothing to do.
func sync(t *testing.T, in *ovstest.Instance, flows []ovs.Flow) {
	t.Helper()
	conn, err := openflow.Dial(t.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	share := ovs.Share{Cookie: uint64(overlayovs.DefaultLayout().Owner) << 56, Mask: ovs.OwnerMask}
	for _, added := range []int{len(flows), 0} {
		bridge := ovs.NewBridge(conn, share)
		require.NoError(t, bridge.Set("overlay", flows, nil))
		report, err := bridge.Sync(t.Context())
		require.NoError(t, err)
		require.Equal(t, ovs.Report{Added: added}, report)
	}
}

// between is a flow of a stage that another package compiles.
func between(l overlayovs.Layout, table uint8, m ovs.Match, actions ...ovs.Action) ovs.Flow {
	return ovs.Flow{Table: table, Cookie: ovs.MakeCookie(l.Owner, 0xff, 1), Match: m, Actions: actions}
}

// TestHostOnRealSwitch lets a packet of one VLAN of a vNIC leave by the same
// vNIC with the tag of another port, and by a VIF without.
func TestHostOnRealSwitch(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	_, _, vnic := in.AddNS("br0")
	_, _, vif := in.AddNS("br0")
	l := overlayovs.DefaultLayout()
	flows, err := overlayovs.Flows(overlayovs.Input{Ports: []overlayovs.Port{
		{ID: "a", Key: 1, OFPort: vnic, VLAN: 100, VNI: 5000}, {ID: "b", Key: 2, OFPort: vnic, VLAN: 101, VNI: 5000}, {ID: "c", Key: 3, OFPort: vif, VNI: 5000},
	}}, l)
	require.NoError(t, err)
	sync(t, in, append(flows, between(l, l.Spoofguard, ovs.NewMatch(ovs.Reg(l.Source, 1), ovs.Reg(l.Zone, 1), ovs.Metadata(5000)),
		ovs.SetField(ovs.Reg(l.Dest, 2)), ovs.Resubmit(l.Output), ovs.SetField(ovs.Reg(l.Dest, 3)), ovs.Resubmit(l.Output))))

	trace := in.Trace("br0", fmt.Sprintf("in_port=%d,dl_vlan=100", vnic))
	// The second copy is untagged: it does not inherit the tag of the first.
	require.Regexp(t, `Datapath actions: pop_vlan,push_vlan\(vid=101,pcp=0\),\d+,pop_vlan,\d+\n`, trace)
	for _, stranger := range []string{
		fmt.Sprintf("in_port=%d,dl_vlan=102", vnic), fmt.Sprintf("in_port=%d,vlan_tci=0", vnic), fmt.Sprintf("in_port=%d,dl_vlan=100", vif),
	} {
		require.Contains(t, in.Trace("br0", stranger), "Datapath actions: drop", stranger)
	}
}

// TestEdgeOnRealSwitch hands the transit network from the tunnel to the
// downlink, and the downlink's packets to the stage l2 as the transit
// network's. What arrives for other networks is not the downlink's.
func TestEdgeOnRealSwitch(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br0")
	spec := overlayovs.TunnelPort("tun0")
	settings := []string{"type=" + spec.Type}
	for k, v := range spec.Options {
		settings = append(settings, "options:"+k+"="+v)
	}
	tunnel := in.AddPort("br0", spec.Name, settings...)
	downlink := in.AddPort("br0", "down0", "type=internal")
	_, _, reached := in.AddNS("br0")
	l := overlayovs.DefaultLayout()
	flows, err := overlayovs.Flows(overlayovs.Input{Tunnel: tunnel, Downlink: &overlayovs.Downlink{OFPort: downlink, TransitVNI: 100}}, l)
	require.NoError(t, err)
	sync(t, in, append(flows,
		between(l, l.L2, ovs.NewMatch(ovs.InPort(downlink), ovs.Metadata(100)), ovs.Output(reached)),
		between(l, l.L2, ovs.NewMatch(ovs.InPort(tunnel), ovs.Metadata(5000)), ovs.Goto(l.Output)),
	))
	output := func(port uint32) string { return fmt.Sprintf("output:%d\n", port) }

	transit := in.Trace("br0", fmt.Sprintf("in_port=%d,tun_id=100,tun_src=192.0.2.2,tun_dst=192.0.2.1", tunnel))
	require.Contains(t, transit, output(downlink))
	require.NotContains(t, transit, "Datapath actions: drop")
	require.Contains(t, in.Trace("br0", fmt.Sprintf("in_port=%d", downlink)), output(reached))
	other := in.Trace("br0", fmt.Sprintf("in_port=%d,tun_id=5000,tun_src=192.0.2.2,tun_dst=192.0.2.1", tunnel))
	require.NotContains(t, other, output(downlink))
	require.Contains(t, other, "Datapath actions: drop", "nothing goes back by the tunnel that it came from")
}
