package policynft_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/policynft"
)

// address returns one of many addresses.
func address(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// hundred returns a program of 100 rules that name a group of some addresses.
func hundred(members int) *policy.Program {
	var list []netip.Prefix
	for i := range members {
		list = append(list, address(2*i))
	}
	var rules []policy.ProgramRule
	for i := range 100 {
		rules = append(rules, in(fmt.Sprint("r", i), i, policy.Allow, from("g"), service(policy.TCP, uint16(i+1))))
	}
	return policy.NewProgram(policy.Drop, rules, map[string][]netip.Prefix{"g": list})
}

// An address that joins a group used by 100 rules, and leaves it again: two
// transactions. The floor is two of one element in a set that no rule is about.
func BenchmarkElement(b *testing.B) {
	const members = 1000
	for _, kind := range []string{"ours", "floor"} {
		b.Run(kind, func(b *testing.B) {
			ns := ovstest.NewNS(b)
			change := policy.SetChange{ID: "g", Added: []netip.Prefix{address(2*members + 1)}}
			step := floor(b, ns, members)
			if kind == "ours" {
				f := firewall(b, ns, policynft.Config{})
				require.NoError(b, f.Sync(b.Context(), hundred(members), []policynft.Port{{ID: "p", Interface: "eth0"}}))
				step = func(add bool) error {
					c := change
					if !add {
						c.Added, c.Removed = nil, change.Added
					}
					return f.Apply(b.Context(), policy.Change{Sets: []policy.SetChange{c}})
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, step(true))
				require.NoError(b, step(false))
			}
			if kind == "ours" {
				b.ReportMetric(1.3, "target")
			}
		})
	}
}

// floor returns a function that adds an element to a set, or removes it.
func floor(b *testing.B, ns string, members int) func(add bool) error {
	file, err := os.Open(ovstest.NSPath(ns))
	require.NoError(b, err)
	b.Cleanup(func() { file.Close() })
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(file.Fd())))
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.CloseLasting() })
	interval := func(i int) []nftables.SetElement {
		p := address(i)
		return []nftables.SetElement{{Key: p.Addr().AsSlice()}, {Key: p.Addr().Next().AsSlice(), IntervalEnd: true}}
	}
	set := &nftables.Set{Table: conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "floor"}), Name: "g", Interval: true, KeyType: nftables.TypeIPAddr}
	require.NoError(b, conn.AddSet(set, nil))
	var list []nftables.SetElement
	for i := range members {
		list = append(list, interval(2*i)...)
	}
	for some := range slices.Chunk(list, 500) {
		require.NoError(b, conn.SetAddElements(set, some))
	}
	require.NoError(b, conn.Flush())
	return func(add bool) error {
		one := interval(2*members + 1)
		if !add {
			if err := conn.SetDeleteElements(set, one); err != nil {
				return err
			}
		} else if err := conn.SetAddElements(set, one); err != nil {
			return err
		}
		return conn.Flush()
	}
}

// One of 100 rules changes: chains are made anew. The floor is the bare transaction of one element.
func BenchmarkRule(b *testing.B) {
	f := firewall(b, ovstest.NewNS(b), policynft.Config{})
	prog := hundred(1000)
	require.NoError(b, f.Sync(b.Context(), prog, []policynft.Port{{ID: "p", Interface: "eth0"}}))
	rule := prog.Rules[50]
	i := 0
	for b.Loop() {
		rule.Action = []policy.Action{policy.Drop, policy.Allow}[i%2]
		require.NoError(b, f.Apply(b.Context(), policy.Change{Rules: []policy.ProgramRule{rule}}))
		i++
	}
}

// A fresh Firewall takes the table of one before it over: 1,000 rules, 100 ports, 10,000 addresses.
func BenchmarkSync(b *testing.B) {
	ns := ovstest.NewNS(b)
	prog, ports := thousand(), hundredPorts()
	for b.Loop() {
		require.NoError(b, firewall(b, ns, policynft.Config{}).Sync(b.Context(), prog, ports))
	}
}

// thousand returns a program of 1,000 rules that name one group of 10,000 addresses.
func thousand() *policy.Program {
	prog := hundred(10000)
	for i := 100; i < 1000; i++ {
		prog.Rules = append(prog.Rules, in(fmt.Sprint("r", i), i, policy.Allow, from("g"), service(policy.TCP, uint16(i+1))))
	}
	return prog
}

func hundredPorts() (ports []policynft.Port) {
	for i := range 100 {
		ports = append(ports, policynft.Port{ID: fmt.Sprint("p", i), Interface: fmt.Sprint("if", i)})
	}
	return ports
}

// The same, without the kernel.
func BenchmarkCompile(b *testing.B) {
	prog, ports := thousand(), hundredPorts()
	b.ReportAllocs()
	for b.Loop() {
		_, err := policynft.Compile(prog, ports, policynft.Config{})
		require.NoError(b, err)
	}
}
