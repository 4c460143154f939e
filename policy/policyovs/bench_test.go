package policyovs_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// benchLayout is the default.
var benchLayout = policyovs.DefaultLayout()

// addr is the nth address of a set.
func addr(set, n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(set >> 8), byte(set), byte(n)}), 32)
}

// hundred are the hundred addresses of a set.
func hundred(set int) []netip.Prefix {
	var out []netip.Prefix
	for n := range 100 {
		out = append(out, addr(set, n))
	}
	return out
}

// benchRule is the nth rule; it has a priority of its own, or is a peer of all others.
func benchRule(n int, peers bool, set string, ports []string) policy.ProgramRule {
	id := fmt.Sprintf("r%06d", n)
	r := policy.ProgramRule{ID: id, Section: "s", Rule: id, Direction: policy.Ingress, Action: policy.Allow, AppliedTo: ports,
		Peers: &policy.AddressSet{Sets: []string{set}}, Order: policy.Order{Position: n},
		Services: []policy.Service{{Protocol: policy.TCP, Ports: []policy.PortRange{policy.Port(uint16(n + 1))}}}}
	if peers {
		r.Order.Rule = 1
	}
	return r
}

// benchPorts are ports with keys from 1.
func benchPorts(n int) (ids []string, ports []policyovs.Port) {
	for i := range n {
		id := fmt.Sprintf("p%05d", i)
		ids = append(ids, id)
		ports = append(ports, policyovs.Port{ID: id, Key: uint32(i + 1), MAC: ovs.MAC{2}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})}})
	}
	return ids, ports
}

// thousand is a Compiler with a thousand rules of the same hundred ports, each
// with a set of a hundred addresses, and the sum of the sizes of their clauses.
func thousand(b *testing.B) (c *policyovs.Compiler, ports []policyovs.Port, sum int) {
	ids, ports := benchPorts(100)
	p := &policy.Program{Sets: map[string][]netip.Prefix{}}
	for n := range 1000 {
		set := fmt.Sprint("g", n)
		p.Sets[set] = hundred(n)
		p.Rules = append(p.Rules, benchRule(n, false, set, ids))
		sum += len(ids) + len(p.Sets[set])
	}
	c, err := policyovs.NewCompiler(benchLayout)
	if err != nil {
		b.Fatal(err)
	}
	if _, err = c.Apply(policy.Diff(nil, p), policyovs.PortChange{Set: ports}); err != nil {
		b.Fatal(err)
	}
	return c, ports, sum
}

// ruleFlows counts the flows of rules and sets.
func ruleFlows(flows []ovs.Flow) (n int) {
	for _, f := range flows {
		if kind := ovs.CookieFeature(f.Cookie) - benchLayout.Feature; kind == policyovs.FeatureRule || kind == policyovs.FeatureClause {
			n++
		}
	}
	return n
}

// alternate applies two changes in turn, each of which puts and removes flows
// want flows in all, and reports how many and the limit.
func alternate(b *testing.B, c *policyovs.Compiler, there, back policy.Change, portsThere, portsBack policyovs.PortChange, want int, limit float64) {
	b.ReportAllocs()
	undone := true
	for b.Loop() {
		change, ports := there, portsThere
		if undone = !undone; undone {
			change, ports = back, portsBack
		}
		d, err := c.Apply(change, ports)
		if err != nil {
			b.Fatal(err)
		}
		if n := len(d.Put) + len(d.Gone); n != want {
			b.Fatalf("%d flows changed, not %d", n, want)
		}
	}
	if !undone {
		if _, err := c.Apply(back, portsBack); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(want), "flows")
	b.ReportMetric(limit, "limit-ns")
}

// BenchmarkAddressOfSetOf100Rules has an address join and leave a set that 100
// rules name: one flow, whether they share a priority or not.
func BenchmarkAddressOfSetOf100Rules(b *testing.B) {
	for name, peers := range map[string]bool{"peers": true, "priorities": false} {
		b.Run(name+"/ours", func(b *testing.B) {
			ids, ports := benchPorts(100)
			p := &policy.Program{Sets: map[string][]netip.Prefix{"g": hundred(1)}}
			for n := range 100 {
				p.Rules = append(p.Rules, benchRule(n, peers, "g", ids[n:n+1]))
			}
			c, err := policyovs.NewCompiler(benchLayout)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Apply(policy.Diff(nil, p), policyovs.PortChange{Set: ports}); err != nil {
				b.Fatal(err)
			}
			one := []netip.Prefix{addr(2, 2)}
			alternate(b, c, policy.Change{Sets: []policy.SetChange{{ID: "g", Added: one}}}, policy.Change{Sets: []policy.SetChange{{ID: "g", Removed: one}}},
				policyovs.PortChange{}, policyovs.PortChange{}, 1, 60e3)
		})
	}
}

// BenchmarkThousandRules has a thousand rules of 100 x 100 addresses: flows
// are at most 1.05 of the sum of the clauses, and one address one of them.
func BenchmarkThousandRules(b *testing.B) {
	c, ports, sum := thousand(b)
	ratio := float64(ruleFlows(c.Flows())) / float64(sum)
	if ratio > 1.05 {
		b.Fatalf("flows are %.3f of the sum of the clauses", ratio)
	}
	one := []netip.Prefix{addr(500, 200)}
	b.Run("address/ours", func(b *testing.B) {
		alternate(b, c, policy.Change{Sets: []policy.SetChange{{ID: "g500", Added: one}}}, policy.Change{Sets: []policy.SetChange{{ID: "g500", Removed: one}}},
			policyovs.PortChange{}, policyovs.PortChange{}, 1, 60e3)
		b.ReportMetric(ratio, "flows/clauses")
	})
	b.Run("rule/ours", func(b *testing.B) {
		ids, _ := benchPorts(100)
		r := benchRule(500, false, "g500", ids)
		r.ID, r.Rule = "new", "new"
		alternate(b, c, policy.Change{Rules: []policy.ProgramRule{r}}, policy.Change{Gone: []string{r.ID}}, policyovs.PortChange{}, policyovs.PortChange{}, 100, 3e6)
	})
	b.Run("port/ours", func(b *testing.B) {
		last := ports[99]
		// A flow for each rule, 7 in the other stages.
		alternate(b, c, policy.Change{}, policy.Change{}, policyovs.PortChange{Gone: []string{last.ID}}, policyovs.PortChange{Set: []policyovs.Port{last}}, 1000+11, 100e6)
	})
	b.Run("all/ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			thousand(b)
		}
	})
}
