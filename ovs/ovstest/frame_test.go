package ovstest_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

const (
	tcpFrame = "ffffffffffff020000000001" + "81000005" + "0800" +
		"4500002800000000400600000a0000010a000002" + "03e8005000000000000000005002000000000000"
	arpFrame = "ffffffffffff020000000001" + "0806" + "0001080006040001" + "020000000001" + "0a000001" + "000000000000" + "0a000002"
)

func TestParseFrame(t *testing.T) {
	for _, c := range []struct{ frame, want string }{
		{tcpFrame, "in_port=1,eth_dst=ff:ff:ff:ff:ff:ff,eth_src=02:00:00:00:00:01,eth_type=0x800,vlan_vid=0x1005,nw_proto=6,nw_ttl=64,ip_src=10.0.0.1,ip_dst=10.0.0.2,tcp_src=1000,tcp_dst=80,tcp_flags=0x2"},
		{arpFrame, "in_port=1,eth_dst=ff:ff:ff:ff:ff:ff,eth_src=02:00:00:00:00:01,eth_type=0x806,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01"},
	} {
		frame, err := hex.DecodeString(c.frame)
		require.NoError(t, err)
		p, err := ovstest.ParseFrame(1, frame)
		require.NoError(t, err)
		want, err := ovs.ParseFlow(c.want + " actions=drop")
		require.NoError(t, err)
		require.Equal(t, want.Match.String(), p.String())
		_, err = ovstest.ParseFrame(1, frame[:30])
		require.ErrorContains(t, err, "ends within a header")
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range []string{tcpFrame, arpFrame} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ovstest.ParseFrame(1, b); err == nil {
			require.NoError(t, ovstest.NewBridge().Trace(p, ovstest.TraceConfig{}).Err)
		}
	})
}

func ExampleBridge_Trace() {
	b := ovstest.NewBridge()
	in, _ := ovs.ParseFlow("table=0,priority=1,in_port=1 actions=push_vlan:0x8100,set_field:4101->vlan_vid,goto_table:1")
	out, _ := ovs.ParseFlow("table=1,priority=1,vlan_vid=0x1005 actions=output:2")
	if err := b.Apply(context.Background(), ovs.Changes{FlowAdd: []ovs.Flow{in, out}}); err != nil {
		fmt.Println(err)
	}
	fmt.Print(b.Trace(ovstest.NewPacket(ovs.InPort(1)), ovstest.TraceConfig{}))
	// Output:
	// 0. priority 1, in_port=1, cookie 0x0
	//     push_vlan:0x8100
	//     set_field:4101->vlan_vid
	//     goto_table:1
	// 1. priority 1, vlan_vid=0x1005, cookie 0x0
	//     output:2
	// port 2: in_port=1,vlan_vid=0x1005
}
