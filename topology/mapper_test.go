package topology_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/topology"
)

func mapper() topology.Mapper {
	return topology.Mapper{
		Subnets: topology.SubnetsFunc(func(_ context.Context, _ string, bits int) (netip.Prefix, error) {
			return netip.PrefixFrom(netip.MustParseAddr("10.4.7.0"), bits), nil
		}),
		SNAT: topology.AddressesFunc(func(context.Context, string) (netip.Addr, error) { return netip.MustParseAddr("192.0.2.10"), nil }),
		VNIs: topology.IDsFunc(func(context.Context, string) (uint32, error) { return 5001, nil }),
	}
}

func ExampleMapper() {
	net, err := mapper().Namespace(context.Background(), topology.Namespace{Cluster: "k8s", Name: "db", UID: "1234", Tier0: "t0"})
	if err != nil {
		fmt.Println(err)
	}
	for _, v := range []any{net.Tier1, net.Segment, net.NATRules[0]} {
		raw, _ := json.Marshal(v)
		fmt.Println(string(raw))
	}
	// Output:
	// {"id":"k8s-ns-1234","display_name":"k8s-db","tier0_path":"t0"}
	// {"id":"k8s-ns-1234","display_name":"k8s-db","connectivity_path":"k8s-ns-1234","vni":5001,"subnets":[{"gateway_address":"10.4.7.1/24"}]}
	// {"id":"k8s-ns-1234-snat","display_name":"k8s-db","gateway_path":"t0","action":"SNAT","source_network":"10.4.7.0/24","translated_network":"192.0.2.10"}
}

func TestMapper(t *testing.T) {
	n := topology.Namespace{Cluster: "k8s", Name: "db", UID: "1", Tier0: "t0", NoSNAT: true}
	m := mapper()
	m.SNAT = nil
	net, err := m.Namespace(t.Context(), n)
	require.NoError(t, err)
	require.Empty(t, net.NATRules)
	n.NoSNAT = false
	_, err = m.Namespace(t.Context(), n)
	require.ErrorIs(t, err, topology.ErrInvalid)
	_, err = mapper().Namespace(t.Context(), topology.Namespace{Name: "db"})
	require.ErrorContains(t, err, "uid: missing")
	full := errors.New("no free subnet")
	m = mapper()
	m.Subnets = topology.SubnetsFunc(func(context.Context, string, int) (netip.Prefix, error) { return netip.Prefix{}, full })
	_, err = m.Namespace(t.Context(), n)
	require.ErrorIs(t, err, full)
	require.EqualError(t, err, `topology: network for namespace "db": subnet: no free subnet`)
}

// random returns a model of hosts, segments and ports with some that are broken.
func random(rnd *rand.Rand) topology.Model {
	m := topology.Model{
		Tier0s:   []topology.Tier0{{ID: "t0", TransitVNI: 1}, {ID: "t9", TransitVNI: 2}},
		Hosts:    []topology.Host{{ID: "e", TEP: netip.MustParseAddr("1.1.1.9"), Role: topology.RoleEdge}},
		PortHost: map[string]string{},
	}
	for i := range 4 {
		m.Hosts = append(m.Hosts, topology.Host{ID: fmt.Sprint("h", i), TEP: netip.AddrFrom4([4]byte{1, 1, 1, byte(i)}), Role: topology.RoleHost})
	}
	for i := range 5 {
		m.Segments = append(m.Segments, topology.Segment{ID: fmt.Sprint("s", i), VNI: uint32(100 + i), Tier1: []string{"t0", "t9", ""}[rnd.IntN(3)]})
	}
	for i := range 20 {
		id := fmt.Sprint("p", i)
		m.Ports = append(m.Ports, topology.Port{ID: id, Segment: fmt.Sprint("s", rnd.IntN(6)), // s5 is not there
			Attachment: topology.Attachment{Type: topology.AttachmentIndependent, ID: "if" + id},
			Addresses:  []topology.AddressBinding{{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), MAC: fmt.Sprintf("02:00:00:00:00:%02x", i)}}})
		if rnd.IntN(5) > 0 {
			m.PortHost[id] = fmt.Sprint("h", rnd.IntN(4))
		}
	}
	return m
}

// TestSpan compares spans with what the definition says of each pair of ports.
func TestSpan(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := random(rnd)
		segment := map[string]topology.Segment{}
		for _, s := range m.Segments {
			segment[s.ID] = s
		}
		for i, span := range m.Spans() {
			one, err := m.Span(span.Host)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(one, span, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})), "seed %d host %d", seed, i)
			at := map[string]bool{}    // segments with local ports
			reach := map[string]bool{} // routers
			for _, p := range m.Ports {
				if s, ok := segment[p.Segment]; ok && m.PortHost[p.ID] == span.Host {
					at[s.ID], reach[s.Tier1] = true, s.Tier1 != "" || reach[s.Tier1]
				}
			}
			if span.Role == topology.RoleEdge {
				reach = map[string]bool{"t0": true, "t9": true}
			}
			var local, remote []string
			for _, p := range m.Ports {
				s, ok := segment[p.Segment]
				host, located := m.PortHost[p.ID]
				switch {
				case !ok || !located:
				case host == span.Host:
					local = append(local, p.ID)
				case at[s.ID] || s.Tier1 != "" && reach[s.Tier1]:
					remote = append(remote, p.ID)
				}
			}
			var gotLocal, gotRemote []string
			for _, p := range span.Ports {
				gotLocal = append(gotLocal, p.ID)
			}
			for _, p := range span.Neighbors {
				gotRemote = append(gotRemote, p.ID)
			}
			require.ElementsMatch(t, local, gotLocal, "seed %d host %s", seed, span.Host)
			require.ElementsMatch(t, remote, gotRemote, "seed %d host %s", seed, span.Host)
			for _, f := range span.TEPs {
				require.True(t, at[f.ID], "seed %d host %s floods %s without a port in it", seed, span.Host, f.ID)
			}
		}
		rnd.Shuffle(len(m.Ports), func(i, j int) { m.Ports[i], m.Ports[j] = m.Ports[j], m.Ports[i] })
		want, err := m.Span("h1")
		require.NoError(t, err)
		raw, err := json.Marshal(want)
		require.NoError(t, err)
		var back topology.Span
		require.NoError(t, json.Unmarshal(raw, &back))
		require.Empty(t, cmp.Diff(want, back, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})))
	}
	_, err := topology.Model{}.Span("x")
	require.ErrorIs(t, err, topology.ErrNotFound)
}

func TestValidate(t *testing.T) {
	err := topology.Model{
		Tier0s:   []topology.Tier0{{ID: "t0", TransitVNI: 7}, {ID: "t1", RouterMAC: "x"}},
		Segments: []topology.Segment{{ID: "a", VNI: 7}, {ID: "b", VNI: 8, Tier1: "gone"}, {ID: "c", VNI: 9}, {ID: "c", VNI: 10}},
		Ports:    []topology.Port{{ID: "p", Segment: "c", Attachment: topology.Attachment{Type: topology.AttachmentChild, Parent: "q", VLAN: 1}, Addresses: []topology.AddressBinding{{MAC: "02:00:00:00:00:01"}}}},
		Hosts:    []topology.Host{{ID: "h"}},
	}.Validate()
	for _, want := range []string{`tier-0 "t1": transit_vni 0`, `router_mac "x"`, `segment "a": vni 7: also of tier-0 "t0"`, `segment "b": connectivity_path "gone"`,
		`segment "c": twice`, `port "p": attachment.context_id "q"`, `host "h": tep: missing`} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, err, topology.ErrInvalid)
}
