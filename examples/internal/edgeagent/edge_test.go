package edgeagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbnft"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/reconcile/intent"
	"github.com/tierloom/tierloom/topology"
	"github.com/tierloom/tierloom/topology/topologynft"
)

func objects(t *testing.T, docs ...string) (out []intent.Object) {
	t.Helper()
	for _, d := range docs {
		var o intent.Object
		require.NoError(t, json.Unmarshal([]byte(d), &o), d)
		out = append(out, o)
	}
	return out
}

const (
	server = `{"resource_type":"SpanVirtualServer","id":"vs","ip_address":"203.0.113.17","gateway_path":"t0",` +
		`"ports":[{"protocol":6,"port":80,"members":["10.4.0.2:8080","10.4.0.3:8080"]},{"protocol":17,"port":53,"members":[]}]}`
	badServer = `{"resource_type":"SpanVirtualServer","id":"bad","ip_address":"ten"}`
)

func TestFrontends(t *testing.T) {
	got, err := frontends(objects(t, `{"resource_type":"SpanPort","id":"x"}`, server))
	require.NoError(t, err)
	vip := netip.MustParseAddr("203.0.113.17")
	require.Equal(t, []lb.Frontend{
		{Key: lb.Key{Addr: vip, Proto: 6, Port: 80}, Kind: lb.ExternalIP, Service: "vs", Backends: []lb.Backend{
			{Addr: netip.MustParseAddr("10.4.0.2"), Port: 8080}, {Addr: netip.MustParseAddr("10.4.0.3"), Port: 8080},
		}},
		{Key: lb.Key{Addr: vip, Proto: 17, Port: 53}, Kind: lb.ExternalIP, Service: "vs"},
	}, got)
	got, err = frontends(objects(t, badServer, server))
	require.ErrorContains(t, err, `"bad"`)
	require.Len(t, got, 2, "the other is there")
	got, err = frontends(nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func segment(cidrs ...string) (s topology.SpanSegment) {
	s.ID, s.VNI = "s"+cidrs[0], 5000
	for _, c := range cidrs {
		s.Gateways = append(s.Gateways, netip.MustParsePrefix(c))
	}
	return s
}

func snat(source, to string) topology.NATRule {
	return topology.NATRule{ID: "n" + source, Gateway: "t0", Action: topology.SNAT, Source: netip.MustParsePrefix(source), Translated: netip.MustParseAddr(to)}
}

func edgeSpan() topology.Span {
	return topology.Span{
		Host: "e1", Role: topology.RoleEdge,
		Edges: []topology.SpanEdge{{
			ID: "t0", TEP: netip.MustParseAddr("192.0.2.3"), TransitVNI: 100, RouterMAC: "02:74:6c:00:00:01", ServiceRouterMAC: "02:74:6c:00:00:02",
		}},
		Segments: []topology.SpanSegment{segment("10.4.0.1/24"), segment("10.4.1.1/24")},
		NATRules: []topology.NATRule{snat("10.4.0.0/24", "203.0.113.4")},
	}
}

func TestApply_Refusals(t *testing.T) {
	two := edgeSpan()
	two.Edges = append(two.Edges, topology.SpanEdge{ID: "t1"})
	err := New("up0", slog.New(slog.DiscardHandler)).Apply(t.Context(), two, nil)
	require.ErrorContains(t, err, `edge "e1": serves 2 tier-0 gateways (t0 and more)`)
}

// An edge is a namespace with a downlink, as the switch would give it.
type edge struct {
	*Edge
	t   *testing.T
	ns  string
	log *bytes.Buffer
}

func newEdge(t *testing.T, ns string) *edge {
	e := &edge{t: t, ns: ns, log: &bytes.Buffer{}}
	e.Edge = New("up0", slog.New(slog.NewTextHandler(e.log, nil)))
	return e
}

func (e *edge) apply(span topology.Span, objs ...intent.Object) error {
	e.t.Helper()
	return ovstest.InNS(e.ns, func() error { return e.Apply(e.t.Context(), span, objs) })
}

// state is what the kernel of the namespace holds of ours.
func (e *edge) state() string {
	e.t.Helper()
	out := ovstest.Run(e.t, e.ns, "ip", "-4", "route", "show", "dev", downlink) + ovstest.Run(e.t, e.ns, "ip", "neigh", "show", "dev", downlink)
	require.NoError(e.t, ovstest.InNS(e.ns, func() error {
		nat, err := topologynft.List(e.t.Context(), topologynft.Config{Uplink: "up0"})
		if err != nil {
			return err
		}
		servers, err := lbnft.List(e.t.Context(), lbnft.Config{InputIface: "up0"})
		for _, f := range servers {
			out += fmt.Sprintf("%s:%d %d\n", f.Key.Addr, f.Key.Port, len(f.Backends))
		}
		out += strings.Join(nat, "\n")
		return err
	}))
	return out
}

// The routes, neighbour, NAT and virtual servers of a span are in the kernel;
// a restart changes nothing, and what the span no longer has goes.
func TestApply(t *testing.T) {
	ovstest.Require(t, "root", "ip")
	ns := ovstest.NewNS(t)
	ovstest.Veth(t, ns, downlink, ovstest.NewNS(t), "switch")
	ovstest.Veth(t, ns, "up0", ovstest.NewNS(t), "router")
	ovstest.Run(t, ns, "ip", "route", "add", "10.9.0.0/24", "dev", downlink) // somebody else's
	e := newEdge(t, ns)
	require.NoError(t, e.apply(edgeSpan(), objects(t, server)...))
	first := e.state()
	for _, want := range []string{
		"10.4.0.0/24 via 169.254.64.1", "10.4.1.0/24 via 169.254.64.1", "169.254.64.1 lladdr 02:74:6c:00:00:01 PERMANENT",
		"203.0.113.4", "203.0.113.17:80 2", "10.9.0.0/24",
	} {
		require.Contains(t, first, want)
	}
	require.Contains(t, ovstest.Run(t, ns, "ip", "link", "show", downlink), "02:74:6c:00:00:02")
	require.Equal(t, "1", strings.TrimSpace(ovstest.Run(t, ns, "cat", "/proc/sys/net/ipv4/ip_forward")))
	require.Contains(t, e.log.String(), "added=2 removed=0")

	again := newEdge(t, ns) // a restart
	require.NoError(t, again.apply(edgeSpan(), objects(t, server)...))
	require.Equal(t, first, again.state())
	require.Empty(t, again.log.String(), "no route was written")

	span := edgeSpan()
	span.Segments = []topology.SpanSegment{segment("10.4.1.1/24", "10.5.0.1/16"), segment("10.5.0.2/16")}
	span.NATRules = nil
	err := again.apply(span, objects(t, badServer)...)
	require.ErrorContains(t, err, `"bad"`)
	now := again.state()
	require.Contains(t, again.log.String(), "added=1 removed=1")
	require.Contains(t, now, "10.5.0.0/16 via")
	for _, gone := range []string{"10.4.0.0/24", "203.0.113.4", "203.0.113.17"} {
		require.NotContains(t, now, gone, "one server at fault holds nothing up")
	}

	span.Edges[0].RouterMAC = "nonsense"
	require.ErrorContains(t, again.apply(span), "nonsense")
	require.NoError(t, again.apply(topology.Span{Host: "e1", Role: topology.RoleEdge}))
	now = again.state()
	require.NotContains(t, now, "via 169.254.64.1", "no tier-0, no routes")
	require.Contains(t, now, "10.9.0.0/24", "what is not ours stays")
}

func TestApply_WithoutDownlink(t *testing.T) {
	ovstest.Require(t, "root")
	e := newEdge(t, ovstest.NewNS(t))
	require.ErrorContains(t, e.apply(edgeSpan()), `edge "e1": interface `+downlink)
	ovstest.Veth(t, e.ns, downlink, ovstest.NewNS(t), "switch")
	require.NoError(t, e.apply(edgeSpan()), "heals when it comes")
	// The switch makes its port anew: another device of the name.
	ovstest.Run(t, e.ns, "ip", "link", "del", downlink)
	ovstest.Veth(t, e.ns, downlink, ovstest.NewNS(t), "switch")
	require.NoError(t, e.apply(edgeSpan()))
	require.Contains(t, e.state(), "10.4.0.0/24 via 169.254.64.1")
}
