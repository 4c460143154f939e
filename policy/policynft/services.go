package policynft

import (
	"maps"
	"slices"

	"github.com/tierloom/tierloom/policy"
)

// services matches any of some services, in the fewest ways for each protocol.
func (c *compiler) services(list []policy.Service, f family) [][]term {
	if list == nil {
		return [][]term{nil}
	}
	whole := map[policy.Protocol]bool{}
	ports := map[policy.Protocol][]policy.PortRange{}
	types := map[icmpKey]bool{}
	for _, s := range list {
		switch {
		case len(s.Ports) > 0:
			ports[s.Protocol] = append(ports[s.Protocol], s.Ports...)
		case s.ICMPType != nil:
			k := icmpKey{s.Protocol, *s.ICMPType, -1}
			if s.ICMPCode != nil {
				k.code = int(*s.ICMPCode)
			}
			types[k] = true
		default:
			whole[s.Protocol] = true
		}
	}
	if whole[0] {
		return [][]term{nil}
	}
	var out [][]term
	for _, p := range slices.Sorted(maps.Keys(whole)) {
		if t, ok := transport(p, f); ok {
			out = append(out, t)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(ports)) {
		if !whole[p] {
			out = append(out, []term{protocol(p), c.dport(ports[p])})
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(types), icmpKey.compare) {
		if t, ok := transport(k.protocol, f); ok && !whole[k.protocol] {
			out = append(out, append(t, icmp{k.typ, k.typ, k.code}))
		}
	}
	return out
}

type icmpKey struct {
	protocol policy.Protocol
	typ      uint8
	code     int // -1 for any
}

func (k icmpKey) compare(o icmpKey) int {
	return slices.Compare([]int{int(k.protocol), int(k.typ), k.code}, []int{int(o.protocol), int(o.typ), o.code})
}

// transport matches a protocol. ICMP is of IPv4 and ICMPv6 of IPv6 only; false
// is that a family does not have it.
func transport(p policy.Protocol, f family) ([]term, bool) {
	own := map[policy.Protocol]family{policy.ICMP: ipv4, policy.ICMPv6: ipv6}[p]
	switch {
	case own == anyFamily || own == f:
		return []term{protocol(p)}, true
	case f == anyFamily:
		return []term{own, protocol(p)}, true
	}
	return nil, false
}

// dport matches any of some ports.
func (c *compiler) dport(list []policy.PortRange) dport {
	list = policy.MergePorts(list)
	if len(list) == 1 {
		return dport{ports: list[0]}
	}
	var text []string
	for _, r := range list {
		text = append(text, r.String())
	}
	name := "ports-" + digest(text...)
	c.sets[name] = set{ports: list}
	return dport{set: name}
}
