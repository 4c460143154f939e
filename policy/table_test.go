package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/internal/world"
)

// A table decides as the program that it is made of.
func TestTableProperty(t *testing.T) {
	counts := map[policy.Action]int{}
	for seed := range world.Worlds(t, 120) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		w := world.New(rnd)
		e, err := w.Engine(rnd)
		require.NoError(t, err)
		p := e.Program(w.Local)
		for _, port := range w.Local {
			table := p.Table(port)
			for range 30 {
				k := w.Packet(rnd)
				for _, d := range []policy.Direction{policy.Egress, policy.Ingress} {
					q := k
					q.SrcPort, q.DstPort = "", ""
					if d == policy.Egress {
						q.SrcPort = port
					} else {
						q.DstPort = port
					}
					want := p.Eval(q)
					verdict := want.Egress
					if d == policy.Ingress {
						verdict = want.Ingress
					}
					counts[verdict.Action]++
					require.Equal(t, *verdict, table.Lookup(d, &q), "seed %d %s at %s: %s\n%s", seed, d, port, q, text(t, p))
				}
			}
		}
	}
	for _, a := range []policy.Action{policy.Allow, policy.Drop, policy.Reject} {
		require.Greater(t, counts[a], 500, "%s is hardly tried", a)
	}
}

// thousandRules is the program of a port with 1,000 rules, each from a group
// of some members to ports of its own.
func thousandRules(tb testing.TB, members int) *policy.Table {
	sets := map[string][]netip.Prefix{}
	var rules []policy.ProgramRule
	for i := range 1000 {
		id := fmt.Sprint("set-", i)
		for j := range members {
			n := i*members + j
			sets[id] = append(sets[id], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32))
		}
		rules = append(rules, policy.ProgramRule{
			ID: fmt.Sprint(i), Section: "s", Rule: fmt.Sprint(i), Order: policy.Order{Category: policy.Application, Position: i}, Direction: policy.Ingress, Action: policy.Allow,
			Peers:    &policy.AddressSet{Sets: []string{id}},
			Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(uint16(1000 + i%50))}}},
		})
	}
	return policy.NewProgram(policy.Drop, rules, sets).Table("p")
}

// BenchmarkLookup looks packets up at a port with 1,000 rules.
func BenchmarkLookup(b *testing.B) {
	for _, members := range []int{1, 100, 1000} {
		table := thousandRules(b, members)
		rnd := rand.New(rand.NewPCG(1, 1))
		packets := make([]policy.Packet, 4096)
		for i := range packets {
			rule := rnd.IntN(1000)
			n := rule*members + rnd.IntN(members)
			packets[i] = policy.Packet{Src: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Dst: netip.MustParseAddr("10.255.0.1"),
				Proto: uint8(policy.TCP), DstPortNo: uint16(1000 + (rule+i%2)%50)}
			want := policy.Verdict{}
			if i%2 == 0 {
				want = policy.Verdict{Action: policy.Allow, Section: "s", Rule: fmt.Sprint(rule)}
			}
			require.Equal(b, want, table.Lookup(policy.Ingress, &packets[i]))
		}
		b.Run(fmt.Sprintf("members-%d/ours", members), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.Lookup(policy.Ingress, &packets[i%len(packets)])
			}
			b.ReportMetric(100, "limit-ns")
		})
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := thousandRules(t, 10)
	p := policy.Packet{Src: netip.MustParseAddr("10.0.0.7"), Dst: netip.MustParseAddr("10.255.0.1"), Proto: 6, DstPortNo: 1000}
	require.Equal(t, policy.Allow, table.Lookup(policy.Ingress, &p).Action)
	require.Zero(t, testing.AllocsPerRun(100, func() { table.Lookup(policy.Ingress, &p) }))
}
