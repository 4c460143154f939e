package ccp_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/ccp"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
)

// stored returns objects as a store would, with revisions.
func stored(t *testing.T, docs ...string) []intent.Object {
	t.Helper()
	s := intent.NewMemory()
	var changes []intent.Change
	for _, d := range docs {
		var o intent.Object
		require.NoError(t, json.Unmarshal([]byte(d), &o), d)
		changes = append(changes, intent.Put(o))
	}
	_, err := s.Apply(t.Context(), changes)
	require.NoError(t, err)
	objs, _, err := s.List(t.Context(), intent.Query{})
	require.NoError(t, err)
	return objs
}

var network = []string{
	`{"resource_type":"Tier0","id":"t0","transit_vni":100}`,
	`{"resource_type":"Tier1","id":"t1","tier0_path":"t0"}`,
	`{"resource_type":"Segment","id":"s","connectivity_path":"t1","vni":5000,"subnets":[{"gateway_address":"10.4.0.1/24"}]}`,
	`{"resource_type":"HostTransportNode","id":"h1","tep":"192.0.2.1","role":"host"}`,
	`{"resource_type":"HostTransportNode","id":"h2","tep":"192.0.2.2","role":"host"}`,
	`{"resource_type":"HostAttachments","id":"h1","iface_ids":["v1"]}`,
	`{"resource_type":"HostAttachments","id":"h2","iface_ids":["v2"]}`,
	`{"resource_type":"SegmentPort","id":"p1","attachment":{"type":"PARENT","id":"v1"}}`,
	`{"resource_type":"SegmentPort","id":"p2","attachment":{"type":"PARENT","id":"v2"}}`,
	`{"resource_type":"Group","id":"g","expression":{"condition":{"operator":"EQUALS","scope":"app","values":["web"]}}}`,
	`{"resource_type":"SecurityPolicy","id":"sec","scope":["g"],"rules":[{"id":"r","sources":["g"],"action":"DROP"}]}`,
}

const (
	podA = `{"resource_type":"SegmentPort","id":"a","segment_path":"s","tags":[{"scope":"app","tag":"web"}],"attachment":{"type":"CHILD","context_id":"p1","traffic_tag":7},"address_bindings":[{"ip_address":"10.4.0.2","mac_address":"02:00:00:00:00:01"}]}`
	podB = `{"resource_type":"SegmentPort","id":"b","segment_path":"s","attachment":{"type":"CHILD","context_id":"p2","traffic_tag":7},"address_bindings":[{"ip_address":"10.4.0.3","mac_address":"02:00:00:00:00:02"}]}`
)

func spanOf(t *testing.T, p *ccp.Plane, host string) (topology.Span, []intent.Object, intent.Status) {
	t.Helper()
	objs, _, err := p.Span(host).List(t.Context(), intent.Query{})
	require.NoError(t, err)
	span, err := ccp.Span(host, topology.RoleHost, objs)
	require.NoError(t, err)
	st, err := p.Span(host).Status(t.Context())
	require.NoError(t, err)
	return span, objs, st
}

func TestAHostGetsWhatItsPortsNeed(t *testing.T) {
	p := ccp.New(intent.NewMemory())
	require.NoError(t, p.Update(t.Context(), stored(t, append(network, podA, podB)...)))
	require.NoError(t, p.Faults())
	h1, objs1, st := spanOf(t, p, "h1")
	require.Len(t, h1.Ports, 2)
	require.Len(t, h1.Neighbors, 1)
	require.Equal(t, "192.0.2.2", h1.Neighbors[0].TEP.String())
	prog, err := ccp.Program(objs1)
	require.NoError(t, err)
	require.Equal(t, policy.Allow, prog.Default)
	require.Len(t, prog.Rules, 2, "in and out")
	_, objs2, _ := spanOf(t, p, "h2")
	prog, err = ccp.Program(objs2)
	require.NoError(t, err)
	require.Empty(t, prog.Rules, "no rule applies to the ports of h2")

	require.NoError(t, p.Update(t.Context(), stored(t, append(network, podA, podB)...)))
	_, _, again := spanOf(t, p, "h1")
	require.Equal(t, st, again, "an unchanged intent changes no span")
}

func TestAcknowledge(t *testing.T) {
	realized := intent.NewMemory()
	p := ccp.New(realized)
	require.NoError(t, p.Update(t.Context(), stored(t, append(network, podA)...)))
	_, _, st := spanOf(t, p, "h1")
	port := func() (model.RealizedPort, error) {
		o, err := intent.Lookup(t.Context(), realized, model.KindRealizedPort, "a")
		if err != nil {
			return model.RealizedPort{}, err
		}
		return model.Decode[model.RealizedPort](o)
	}
	ack := func(a api.Ack) { require.NoError(t, p.Acknowledge(t.Context(), "h1", a)) }
	ack(api.Ack{Epoch: "another", Revision: st.Revision})
	_, err := port()
	require.ErrorIs(t, err, intent.ErrNotFound, "of a span that is no more")
	ack(api.Ack{Epoch: st.Epoch, Revision: st.Revision, Errors: map[string]string{"a": "switch full"}})
	got, err := port()
	require.NoError(t, err)
	require.Equal(t, "switch full", got.Error)
	ack(api.Ack{Epoch: st.Epoch, Revision: st.Revision})
	got, err = port()
	require.NoError(t, err)
	require.Empty(t, got.Error)
	require.Equal(t, "h1", got.Host)

	require.NoError(t, p.Update(t.Context(), stored(t, network...)))
	_, err = port()
	require.NoError(t, err, "gone only when the host says so")
	_, _, st = spanOf(t, p, "h1")
	ack(api.Ack{Epoch: st.Epoch, Revision: st.Revision, Errors: map[string]string{"x": "away"}})
	_, err = port()
	require.NoError(t, err, "the switch may still hold it")
	ack(api.Ack{Epoch: st.Epoch, Revision: st.Revision})
	_, err = port()
	require.ErrorIs(t, err, intent.ErrNotFound)
}

func TestFaultsLeaveTheOthersAlone(t *testing.T) {
	p := ccp.New(intent.NewMemory())
	bad := `{"resource_type":"Segment","id":"bad","vni":"many"}`
	require.NoError(t, p.Update(t.Context(), stored(t, append(network, podA, bad)...)))
	require.ErrorContains(t, p.Faults(), `"bad"`)
	h1, _, _ := spanOf(t, p, "h1")
	require.Len(t, h1.Ports, 2)
}
