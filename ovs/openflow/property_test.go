package openflow_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// differential is how many random flows go each way between us and ovs-ofctl.
const differential = 10000

// dialPrepared returns a bridge that has what random flows refer to.
func dialPrepared(t *testing.T) (*ovstest.Instance, *openflow.Conn) {
	in, c := dial(t)
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{GroupAdd: everyGroup()[:1]}))
	ofctl(t, in, "add-meter", "meter=1,kbps,band=type=drop,rate=1000")
	var tlvs []string
	for n := range ovs.Field(tlvLast + 1) {
		tlvs = append(tlvs, fmt.Sprintf("{class=0x102,type=%d,len=%d}->tun_metadata%d", n, tlvLen(n), n))
	}
	ofctl(t, in, "add-tlv-map", strings.Join(tlvs, ","))
	return in, c
}

// ofctl runs ovs-ofctl on the bridge, in OpenFlow 1.5.
func ofctl(t *testing.T, in *ovstest.Instance, command string, args ...string) string {
	t.Helper()
	out, err := ovstest.Exec(t.Context(), in.NetNS, append([]string{"ovs-ofctl", "-O", "OpenFlow15", "--no-stats", command, in.Mgmt("br0")}, args...)...)
	require.NoError(t, err)
	return out
}

// refusedLine returns the line of a file that an error of ovs-ofctl names.
func refusedLine(flows []ovs.Flow, err error) string {
	if err == nil {
		return ""
	}
	for part := range strings.SplitSeq(err.Error(), ":") {
		if n, fault := strconv.Atoi(part); fault == nil && n > 0 && n <= len(flows) {
			return flows[n-1].String()
		}
	}
	return ""
}

// TestRandomFlowsAreWhatOfctlReads sends random flows: what ovs-ofctl dumps,
// and what we read back, is what was sent, so that nothing is ever sent again.
func TestRandomFlowsAreWhatOfctlReads(t *testing.T) {
	in, c := dialPrepared(t)
	const seed = 1
	r := maker{rand.New(rand.NewPCG(seed, 2))}
	flows := make([]ovs.Flow, differential)
	for i := range flows {
		flows[i] = r.flow(i)
		require.NoError(t, flows[i].Validate(), "seed %d", seed)
	}
	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowAdd: flows}), "seed %d", seed)
	want := text(flows)

	got, err := c.Flows(t.Context(), owner<<56, ovs.OwnerMask)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, text(got)), "seed %d", seed)
	require.Zero(t, ovs.Diff(flows, nil, got, nil).Len(), "seed %d", seed)

	dumped := map[string]bool{}
	for line := range strings.Lines(ofctl(t, in, "dump-flows")) {
		f, err := ovs.ParseFlow(strings.TrimSpace(line))
		require.NoError(t, err, "seed %d", seed)
		dumped[f.String()] = true
	}
	require.Empty(t, cmp.Diff(want, dumped), "seed %d", seed)

	require.NoError(t, c.Apply(t.Context(), ovs.Changes{FlowDelete: got}))
	got, err = c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, got, "what was read can be deleted")
}

// TestRandomTextIsOfctls has ovs-ofctl read what String writes, and ParseFlow too.
func TestRandomTextIsOfctls(t *testing.T) {
	in, c := dialPrepared(t)
	const seed = 1
	r := maker{rand.New(rand.NewPCG(seed, 9))}
	flows := make([]ovs.Flow, differential)
	var file strings.Builder
	for i := range flows {
		flows[i] = r.flow(i)
		line := flows[i].String()
		again, err := ovs.ParseFlow(line)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, line, again.String())
		require.Zero(t, ovs.Diff(flows[i:i+1], nil, []ovs.Flow{again}, nil).Len(), "%s", line)
		file.WriteString(line + "\n")
	}
	path := filepath.Join(t.TempDir(), "flows")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	_, err := ovstest.Exec(t.Context(), in.NetNS, "ovs-ofctl", "-O", "OpenFlow15", "add-flows", in.Mgmt("br0"), path)
	require.NoError(t, err, "seed %d\n%s", seed, refusedLine(flows, err))
	got, err := c.Flows(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(text(flows), text(got)), "seed %d", seed)
	require.Zero(t, ovs.Diff(flows, nil, got, nil).Len(), "seed %d", seed)
}
