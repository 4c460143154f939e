package hostagent_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// plug attaches a new namespace to the bridge as a machine of its own, and
// returns the namespace and its port's intent.
func (h *host) plug(in *ovstest.Instance, id, ip, tags string) (ns, port string) {
	h.t.Helper()
	ns, dev, _ := in.AddNS("br-int", ip+"/24")
	ovstest.Run(h.t, ns, "ethtool", "-K", "eth0", "tx", "off")
	mac := strings.Fields(ovstest.Run(h.t, ns, "cat", "/sys/class/net/eth0/address"))[0]
	_, err := in.Vsctl(h.t.Context(), "set", "Interface", dev, "external_ids:iface-id="+id)
	require.NoError(h.t, err)
	return ns, fmt.Sprintf(`{"resource_type":"SegmentPort","id":%q,"segment_path":"s","tags":[%s],"attachment":{"type":"INDEPENDENT","id":%q},"address_bindings":[{"ip_address":%q,"mac_address":%q}]}`,
		id, tags, id, ip, mac)
}

// has waits until the ports are realized, and a text stands among the flows.
func (h *host) has(in *ovstest.Instance, flow string, ids ...string) {
	h.t.Helper()
	h.eventually(func() bool {
		realized := h.realized()
		for _, id := range ids {
			if !slices.Contains(realized, id) {
				return false
			}
		}
		return strings.Contains(strings.Join(flows(in), "\n"), flow)
	}, "the host has "+flow)
}

func waits(t *testing.T, in *ovstest.Instance) bool {
	out, err := in.Vsctl(t.Context(), "get", "Open_vSwitch", ".", "other_config")
	require.NoError(t, err)
	return strings.Contains(out, `flow-restore-wait="true"`)
}

// While ovs-vswitchd is killed and starts again, no packet gets through that
// the policy drops, and what it allows does afterwards. A switch that starts
// waits for its flows.
func TestAgent_RestartLeaksNothing(t *testing.T) {
	in := ovstest.Start(t)
	h := newHost(t, in.RunDir)
	in.AddBridge("br-int")
	nsA, portA := h.plug(in, "a", "10.4.0.2", "")
	nsB, portB := h.plug(in, "b", "10.4.0.3", `{"scope":"app","tag":"web"}`)
	h.start()
	h.put(append(slices.Clone(network[:4]), portA, portB,
		`{"resource_type":"Group","id":"g","expression":{"condition":{"operator":"EQUALS","scope":"app","values":["web"]}}}`)...)
	h.has(in, "10.4.0.3", "a", "b")

	// Without the policy all packets get through, and are seen.
	allowed := ovstest.StartStream(t, nsA, nsB, "10.4.0.3:8888")
	before := ovstest.StartStream(t, nsA, nsB, "10.4.0.3:9999")
	allowed.AwaitArrival()
	before.AwaitArrival()
	before.Stop()
	h.put(`{"resource_type":"SecurityPolicy","id":"sec","scope":["g"],"rules":[` +
		`{"id":"r","direction":"IN","services":[{"protocol":"udp","destination_ports":["8888"]}],"action":"ALLOW"},{"id":"rest","direction":"IN","action":"DROP"}]}`)
	h.has(in, "8888")
	require.NoError(t, in.PurgeDatapath(t.Context()))
	denied := ovstest.StartStream(t, nsA, nsB, "10.4.0.3:9999")
	allowed.AwaitArrival()
	denied.AwaitSent(100)
	require.Zero(t, denied.Seen(), "the policy drops them")

	want := flows(in)
	for range 3 {
		h.eventually(func() bool { return waits(t, in) }, "a switch that starts is to wait")
		require.NoError(t, in.RestartVSwitchd(t.Context()))
		allowed.AwaitArrival()
		denied.AwaitSent(100)
		h.eventually(func() bool { return slices.Equal(flows(in), want) }, "flows are back")
		require.Zero(t, denied.Seen(), "packets got through that the policy drops")
	}
	h.stop()
	require.False(t, waits(t, in), "nobody is there to end the wait")
}

// ovsdb-server is killed and started again, and a port is plugged in
// afterwards: the agent programs it.
func TestAgent_DatabaseRestarts(t *testing.T) {
	in := ovstest.Start(t)
	h := newHost(t, in.RunDir)
	in.AddBridge("br-int")
	nsA, portA := h.plug(in, "a", "10.4.0.2", "")
	h.start()
	h.put(append(slices.Clone(network[:4]), portA)...)
	h.has(in, "10.4.0.2", "a")
	for i := range 2 {
		in.KillDB()
		h.eventually(func() bool { ok, why := h.well(); return !ok && strings.Contains(why, "switch") }, "the outage is told")
		require.NoError(t, in.StartDB(t.Context()))
		h.eventually(func() bool { ok, _ := h.well(); return ok }, "healthy again")
		id, ip := fmt.Sprintf("b%d", i), fmt.Sprintf("10.4.0.%d", 10+i)
		ns, port := h.plug(in, id, ip, "")
		h.put(port)
		h.has(in, ip, id)
		s := ovstest.StartStream(t, nsA, ns, ip+":8888")
		s.AwaitArrival()
		s.Stop()
	}
	h.stop()
}

// A switch that waits for flows of an agent that was killed is released after
// a while though there is no manager to say which.
func TestAgent_EndsTheWait(t *testing.T) {
	in := ovstest.Start(t)
	in.AddBridge("br-int")
	_, err := in.Vsctl(t.Context(), "set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")
	require.NoError(t, err)
	require.NoError(t, in.RestartVSwitchd(t.Context()))
	h := &host{t: t, api: api.NewClient("http://127.0.0.1:1", &http.Client{}), runDir: in.RunDir, restoreLimit: time.Millisecond}
	h.start()
	h.eventually(func() bool { return !waits(t, in) }, "released")
	h.stop()
	require.Contains(t, h.log.String(), "a switch that waits for them is released")
}
