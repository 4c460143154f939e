package overlayovs_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/overlay/overlayovs"
	"github.com/tierloom/tierloom/ovs"
)

var update = flag.Bool("update", false, "write testdata; read the difference before you commit it")

func text(flows []ovs.Flow) string {
	var b strings.Builder
	for _, f := range flows {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func golden(t *testing.T, name string, flows []ovs.Flow) {
	t.Helper()
	file := "testdata/" + name + ".txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text(flows)), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), text(flows)))
}

var host = overlayovs.Input{Tunnel: 9, Ports: []overlayovs.Port{
	{ID: "a", Key: 1, OFPort: 3, VLAN: 100, VNI: 5000},
	{ID: "b", Key: 2, OFPort: 3, VLAN: 101, VNI: 5000},
	{ID: "metal", Key: 3, OFPort: 4, VNI: 5001},
}}

func TestFlowsOfAHost(t *testing.T) {
	flows, err := overlayovs.Flows(host, overlayovs.DefaultLayout())
	require.NoError(t, err)
	golden(t, "host", flows)
}

func TestFlowsOfAnEdge(t *testing.T) {
	flows, err := overlayovs.Flows(overlayovs.Input{Tunnel: 9, Downlink: &overlayovs.Downlink{OFPort: 5, TransitVNI: 100}}, overlayovs.DefaultLayout())
	require.NoError(t, err)
	golden(t, "edge", flows)
}

func TestFlowsNamesEveryFault(t *testing.T) {
	_, err := overlayovs.Flows(overlayovs.Input{Tunnel: 9, Ports: []overlayovs.Port{
		{ID: "k", Key: 0, OFPort: 1, VLAN: 1, VNI: 1}, {ID: "v", Key: 5, OFPort: 1, VLAN: 4095, VNI: 1},
		{ID: "n", Key: 6, OFPort: 1, VLAN: 2}, {ID: "x", Key: 6, OFPort: 1, VLAN: 2, VNI: 1}, {ID: "t", Key: 7, OFPort: 9, VNI: 1},
	}}, overlayovs.DefaultLayout())
	require.ErrorIs(t, err, ovs.ErrInvalid)
	for _, want := range []string{`"k": invalid: key 0`, "vlan 4095", "vni 0", `key 6: also of port "n"`, `ofport 1, vlan 2: also of port "n"`, "ofport 9: not"} {
		require.ErrorContains(t, err, want)
	}
	_, err = overlayovs.Flows(overlayovs.Input{Tunnel: 9, Ports: []overlayovs.Port{{ID: "a", Key: 1, OFPort: 5, VNI: 1}}, Downlink: &overlayovs.Downlink{OFPort: 5}}, overlayovs.DefaultLayout())
	require.ErrorContains(t, err, "transit overlay: vni 0")
	require.ErrorContains(t, err, `ofport 5: also of port "a"`)
	_, err = overlayovs.Flows(overlayovs.Input{Tunnel: 9, Downlink: &overlayovs.Downlink{OFPort: 9, TransitVNI: 1}}, overlayovs.DefaultLayout())
	require.ErrorContains(t, err, "downlink: invalid: ofport 9: not")
}
