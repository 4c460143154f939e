package lb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

// ep makes an endpoint from "10.4.0.7:80@n1" and its conditions: r(eady), s(erving), t(erminating).
func ep(where, conditions string) Endpoint {
	at, node, _ := strings.Cut(where, "@")
	ap := netip.MustParseAddrPort(at)
	return Endpoint{
		Addr: ap.Addr(), Port: ap.Port(), Node: node,
		Ready: strings.Contains(conditions, "r"), Serving: strings.Contains(conditions, "s"),
		Terminating: strings.Contains(conditions, "t"),
	}
}

func text(state []Frontend) (out []string) {
	for _, f := range state {
		out = append(out, f.String())
	}
	return out
}

func TestTableBackends(t *testing.T) {
	endpoints := []Endpoint{ep("10.4.0.2:80@n2", "rs"), ep("10.4.0.1:80@n1", "rs"), ep("10.4.0.3:80@n1", "s"), ep("[fd00::1]:80@n1", "rs")}
	draining := []Endpoint{ep("10.4.0.1:80@n1", "st"), ep("10.4.0.2:80@n2", "t"), ep("10.4.0.3:80@n2", "s")}
	web := Service{ID: "d/web", VIPs: addrs("10.96.0.1", "fd96::1"), External: addrs("192.0.2.1"), Ports: []ServicePort{{Protocol: TCP, Port: 80, NodePort: 30080}}}
	local := web
	local.InternalPolicy, local.ExternalPolicy = Local, Local
	sticky := web
	sticky.Affinity = time.Hour
	nodes := addrs("172.16.0.1")

	for _, c := range []struct {
		name      string
		cfg       Config
		service   Service
		endpoints []Endpoint
		want      []string
	}{
		{"pod", Config{}, web, endpoints, []string{
			"10.96.0.1:80/tcp d/web -> 10.4.0.1:80 10.4.0.2:80",
			"192.0.2.1:80/tcp d/web -> 10.4.0.1:80 10.4.0.2:80",
			"[fd96::1]:80/tcp d/web -> [fd00::1]:80"}},
		{"pod, local", Config{Node: "n2", NodeAddrs: nodes}, local, endpoints, []string{
			"10.96.0.1:80/tcp d/web -> 10.4.0.2:80",
			"172.16.0.1:30080/tcp d/web -> 10.4.0.1:80 10.4.0.2:80",
			"192.0.2.1:80/tcp d/web -> 10.4.0.1:80 10.4.0.2:80",
			"[fd96::1]:80/tcp d/web -> none"}},
		{"outside, local", Config{Node: "n1", NodeAddrs: nodes, Outside: true}, local, endpoints, []string{
			"172.16.0.1:30080/tcp d/web -> 10.4.0.1:80",
			"192.0.2.1:80/tcp d/web -> 10.4.0.1:80"}},
		{"edge, local", Config{Outside: true}, local, endpoints, []string{
			"192.0.2.1:80/tcp d/web -> 10.4.0.1:80 10.4.0.2:80"}},
		{"draining", Config{Outside: true}, sticky, draining, []string{
			"192.0.2.1:80/tcp d/web affinity=1h0m0s -> 10.4.0.1:80"}},
		{"no endpoints", Config{Outside: true}, web, nil, []string{"192.0.2.1:80/tcp d/web -> none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewTable(c.cfg)
			require.NoError(t, table.SetEndpoints("d/web", c.endpoints))
			require.Empty(t, table.State())
			require.NoError(t, table.SetService(c.service))
			require.Empty(t, cmp.Diff(c.want, text(table.State())))
			table.DeleteService("d/web")
			require.Empty(t, table.State())
		})
	}
}

func TestTableConflict(t *testing.T) {
	table := NewTable(Config{})
	for _, id := range []string{"b/x", "a/x", "c/x"} {
		require.NoError(t, table.SetService(Service{ID: id, External: addrs("192.0.2.1"), Ports: []ServicePort{{Protocol: UDP, Port: 53}}}))
	}
	require.Equal(t, []string{"192.0.2.1:53/udp a/x -> none"}, text(table.State()))
	want := []Conflict{{Key{addr("192.0.2.1"), UDP, 53}, "a/x", []string{"b/x", "c/x"}}}
	require.Equal(t, want, table.Conflicts())
	table.DeleteService("a/x")
	require.Equal(t, []string{"192.0.2.1:53/udp b/x -> none"}, text(table.State()))
}

func TestValidate(t *testing.T) {
	bad := Service{
		VIPs:     []netip.Addr{{}, addr("10.96.0.1"), addr("10.96.0.1")},
		External: addrs("0.0.0.0", "fe80::1%eth0"),
		Ports: []ServicePort{{Protocol: 1}, {Protocol: TCP, Port: 80, NodePort: 30000},
			{Name: "b", Protocol: TCP, Port: 80, NodePort: 30000}},
		Affinity: -1,
	}
	err := bad.Validate()
	require.ErrorIs(t, err, ErrInvalid)
	require.Equal(t, strings.TrimSpace(`
lb: service "": id is empty: invalid
lb: service "": vips[0]: no address: invalid
lb: service "": vips[2]: 10.96.0.1 is also vips[1]: invalid
lb: service "": external[0]: 0.0.0.0 is not a unicast address of the network: invalid
lb: service "": external[1]: fe80::1%eth0 has a zone: invalid
lb: service "": ports[0].protocol: 1 is none of tcp, udp, sctp: invalid
lb: service "": ports[0].port: 0: invalid
lb: service "": ports[1].name: "" is also ports[0]: invalid
lb: service "": ports[2]: tcp port 80 is also ports[1]: invalid
lb: service "": ports[2].node_port: tcp port 30000 is also ports[1]: invalid
lb: service "": affinity: -1ns is negative: invalid`), err.Error())
	table := NewTable(Config{})
	require.ErrorIs(t, table.SetService(bad), ErrInvalid)
	require.ErrorContains(t, table.SetEndpoints("a", []Endpoint{{Addr: addr("10.0.0.1")}}), `service "a": endpoints[0].port: 0`)
	require.Empty(t, table.State())
}

// TestTableAgainstReference changes services and endpoints at random and holds
// the Table against a computation from scratch, and each Diff against what it
// is to lead to.
func TestTableAgainstReference(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{Node: "n1", NodeAddrs: addrs("172.16.0.1"), Outside: seed%2 == 1}
		table := NewTable(cfg)
		services, endpoints := map[string]Service{}, map[string][]Endpoint{}
		var steps []string
		var before []Frontend
		for range 60 {
			id := fmt.Sprintf("d/s%d", rng.IntN(4))
			switch rng.IntN(4) {
			case 0:
				delete(services, id)
				table.DeleteService(id)
				steps = append(steps, "delete "+id)
			case 1:
				s := Service{ID: id, VIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(1 + rng.IntN(3))})},
					External: addrs("192.0.2.1"), Ports: []ServicePort{{Protocol: TCP, Port: uint16(80 + rng.IntN(2))}},
					InternalPolicy: Policy(rng.IntN(2)), ExternalPolicy: Policy(rng.IntN(2))}
				services[id] = s
				require.NoError(t, table.SetService(s))
				steps = append(steps, fmt.Sprintf("set %+v", s))
			default:
				var list []Endpoint
				for range rng.IntN(4) {
					list = append(list, ep(fmt.Sprintf("10.4.0.%d:80@n%d", 1+rng.IntN(4), 1+rng.IntN(2)), []string{"rs", "st", "s", ""}[rng.IntN(4)]))
				}
				endpoints[id] = list
				require.NoError(t, table.SetEndpoints(id, list))
				steps = append(steps, fmt.Sprintf("endpoints %s %+v", id, list))
			}
			got := table.State()
			want := reference(cfg, services, endpoints)
			require.Empty(t, cmp.Diff(want, text(got)), "seed %d:\n%s", seed, strings.Join(steps, "\n"))
			require.Empty(t, cmp.Diff(got, apply(before, got), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()), "seed %d", seed)
			require.Zero(t, Diff(got, got).Len())
			before = got
		}
	}
}

// apply brings old to desired by Diff alone, and checks Removals on the way.
func apply(old, desired []Frontend) (out []Frontend) {
	m := map[Key]Frontend{}
	pairs := map[Removal]bool{}
	for _, f := range old {
		m[f.Key] = f
		for _, b := range f.Backends {
			pairs[Removal{f.Key, b}] = true
		}
	}
	c := Diff(old, desired)
	for _, k := range c.Delete {
		delete(m, k)
	}
	for _, f := range slices.Concat(c.Add, c.Update) {
		m[f.Key] = f
	}
	for _, r := range Removals(old, desired) {
		delete(pairs, r)
	}
	for p := range pairs {
		if !slices.Contains(m[p.Frontend].Backends, p.Backend) {
			return nil
		}
	}
	for _, f := range m {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Frontend) int { return a.Key.Compare(b.Key) })
	return out
}

// reference is the slow way: for every address and port, who claims it, and what stands behind.
func reference(cfg Config, services map[string]Service, endpoints map[string][]Endpoint) (out []string) {
	claims := map[Key]Service{}
	for _, s := range services {
		list := s.External
		if !cfg.Outside {
			list = slices.Concat(list, s.VIPs)
		}
		for _, a := range list {
			k := Key{a, s.Ports[0].Protocol, s.Ports[0].Port}
			if held, ok := claims[k]; !ok || s.ID < held.ID {
				claims[k] = s
			}
		}
	}
	keys := []Key{}
	for k := range claims {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.Compare)
	for _, k := range keys {
		s := claims[k]
		local := s.InternalPolicy == Local
		if slices.Contains(s.External, k.Addr) {
			local = s.ExternalPolicy == Local && cfg.Outside
		}
		pick := func(want func(Endpoint) bool) string {
			set := map[string]bool{}
			for _, e := range endpoints[s.ID] {
				if want(e) && (!local || e.Node == cfg.Node) {
					set[fmt.Sprintf(" %s:%d", e.Addr, e.Port)] = true
				}
			}
			list := []string{}
			for b := range set {
				list = append(list, b)
			}
			slices.Sort(list)
			return strings.Join(list, "")
		}
		backends := pick(func(e Endpoint) bool { return e.Ready })
		if backends == "" {
			backends = pick(func(e Endpoint) bool { return !e.Ready && e.Serving && e.Terminating })
		}
		if backends == "" {
			backends = " none"
		}
		out = append(out, fmt.Sprintf("%s %s ->%s", k, s.ID, backends))
	}
	return out
}
