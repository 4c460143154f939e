package policyovs

import (
	"maps"
	"slices"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// services returns the matches of services in one address family, the fewest
// for each protocol.
func services(list []policy.Service, v4 bool) clause {
	whole := map[policy.Protocol]bool{}
	ports := map[policy.Protocol][]policy.PortRange{}
	icmp := map[[2]int]bool{} // type, code or -1
	for _, s := range list {
		switch {
		case s.Protocol == policy.ICMP && !v4, s.Protocol == policy.ICMPv6 && v4:
		case len(s.Ports) > 0:
			ports[s.Protocol] = append(ports[s.Protocol], s.Ports...)
		case s.ICMPType != nil:
			k := [2]int{int(*s.ICMPType), -1}
			if s.ICMPCode != nil {
				k[1] = int(*s.ICMPCode)
			}
			icmp[k] = true
		default:
			whole[s.Protocol] = true
		}
	}
	if whole[0] {
		return clause{nil}
	}
	var out clause
	for _, p := range slices.Sorted(maps.Keys(whole)) {
		out = append(out, match(ovs.IPProto(uint8(p))))
	}
	for _, p := range slices.Sorted(maps.Keys(ports)) {
		if whole[p] {
			continue
		}
		for _, r := range policy.MergePorts(ports[p]) {
			for _, m := range masks(r) {
				out = append(out, match(ovs.IPProto(uint8(p)), dstPort(p, m)))
			}
		}
	}
	if whole[policy.ICMP] || whole[policy.ICMPv6] {
		return out
	}
	for k := range icmp {
		if k[1] >= 0 && icmp[[2]int{k[0], -1}] {
			continue
		}
		out = append(out, icmpMatch(k, v4))
	}
	return out
}

func icmpMatch(k [2]int, v4 bool) []ovs.FieldMatch {
	if v4 {
		m := match(ovs.IPProto(uint8(policy.ICMP)), ovs.ICMPType(uint8(k[0])))
		if k[1] >= 0 {
			m = append(m, ovs.ICMPCode(uint8(k[1])))
		}
		return m
	}
	m := match(ovs.IPProto(uint8(policy.ICMPv6)), ovs.ICMPv6Type(uint8(k[0])))
	if k[1] >= 0 {
		m = append(m, ovs.ICMPv6Code(uint8(k[1])))
	}
	return m
}

// A mask is the ports that agree with value in the bits of mask.
type mask struct{ value, mask uint16 }

// masks covers a range with the fewest masks: the largest aligned block at
// each step.
func masks(r policy.PortRange) []mask {
	var out []mask
	for from := uint32(r.From); from <= uint32(r.To); {
		size := uint32(1)
		for from%(size*2) == 0 && from+size*2-1 <= uint32(r.To) && size < 1<<16 {
			size *= 2
		}
		out = append(out, mask{uint16(from), uint16(0xffff &^ (size - 1))})
		from += size
	}
	return out
}

func dstPort(p policy.Protocol, m mask) ovs.FieldMatch {
	switch p {
	case policy.TCP:
		return ovs.TCPDstMasked(m.value, m.mask)
	case policy.UDP:
		return ovs.UDPDstMasked(m.value, m.mask)
	}
	// SCTP: the input has been checked.
	return ovs.SCTPDstMasked(m.value, m.mask)
}
