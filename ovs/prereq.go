package ovs

import (
	"fmt"
	"slices"
	"strings"
)

// prereq is what a field requires of the rest of the match (ovs-fields(7)).
type prereq uint8

const (
	needsNone prereq = iota
	needsEther
	needsVLAN
	needsMPLS
	needsIP
	needsIPv4
	needsIPv6
	needsARP
	needsNSH
	needsTCP
	needsUDP
	needsSCTP
	needsICMP
	needsICMPv6
	needsND
	needsNDSolicit
	needsNDAdvert
	needsCT // the fields of a connection's original tuple
	needsCTIPv4
	needsCTIPv6
	needsCTProto
)

// Ethernet types and IP protocols that prerequisites name.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherRARP  = 0x8035
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherMPLSM = 0x8848 // multicast
	etherNSH   = 0x894f

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132

	ndSolicit = 135
	ndAdvert  = 136
)

// A requirement lists, for each field that a prereq is about, the values of
// which it must have one.
type requirement struct {
	ether []uint16
	proto uint8
	types []uint8 // of an ICMPv6 message
}

var (
	anyIP   = []uint16{etherIPv4, etherIPv6}
	onlyIP6 = []uint16{etherIPv6}
)

var requirements = [...]requirement{
	needsNone: {}, needsEther: {}, needsVLAN: {},
	needsCT:        {ether: anyIP},
	needsCTIPv4:    {ether: []uint16{etherIPv4}},
	needsCTIPv6:    {ether: onlyIP6},
	needsCTProto:   {ether: anyIP},
	needsMPLS:      {ether: []uint16{etherMPLS, etherMPLSM}},
	needsIP:        {ether: anyIP},
	needsIPv4:      {ether: []uint16{etherIPv4}},
	needsIPv6:      {ether: onlyIP6},
	needsARP:       {ether: []uint16{etherARP, etherRARP}},
	needsNSH:       {ether: []uint16{etherNSH}},
	needsTCP:       {ether: anyIP, proto: protoTCP},
	needsUDP:       {ether: anyIP, proto: protoUDP},
	needsSCTP:      {ether: anyIP, proto: protoSCTP},
	needsICMP:      {ether: []uint16{etherIPv4}, proto: protoICMP},
	needsICMPv6:    {ether: onlyIP6, proto: protoICMPv6},
	needsND:        {ether: onlyIP6, proto: protoICMPv6, types: []uint8{ndSolicit, ndAdvert}},
	needsNDSolicit: {ether: onlyIP6, proto: protoICMPv6, types: []uint8{ndSolicit}},
	needsNDAdvert:  {ether: onlyIP6, proto: protoICMPv6, types: []uint8{ndAdvert}},
}

// addNeeds adds what the fields of list require, where there is only one
// possibility. ARP is meant by what ARP and RARP have alike.
func addNeeds(list []FieldMatch) []FieldMatch {
	for i := len(list) - 1; i >= 0; i-- { // what is added comes before
		p := fields[list[i].Field].needs
		if p == needsNone {
			continue
		}
		r, n := &requirements[p], len(list)
		if p == needsVLAN {
			list = put(list, masked(FieldVLANVID, vlanPresent, vlanPresent), false)
		}
		if len(r.types) == 1 {
			list = put(list, exact(FieldICMPv6Type, uint64(r.types[0])), false)
		}
		if r.proto != 0 {
			list = put(list, exact(FieldIPProto, uint64(r.proto)), false)
		}
		if (len(r.ether) == 1 || p == needsARP) && !has(list, FieldPacketType) {
			list = put(list, exact(FieldEthType, uint64(r.ether[0])), false)
		}
		i += len(list) - n
	}
	return list
}

func has(list []FieldMatch, f Field) bool {
	return slices.ContainsFunc(list, func(m FieldMatch) bool { return m.Field == f })
}

// A setting is what prerequisites look at in a match; -1 is not exactly matched.
type setting struct {
	ether, proto, icmpType, icmpCode, ctProto int
	tagged, conn, ethernet, later             bool // later: not the first fragment
}

// settingOf gathers the values that prerequisites ask for.
func settingOf(m Match) setting {
	value := func(f Field) int {
		if v, ok := m.Field(f); ok && v.IsExact() {
			return int(v.Uint())
		}
		return -1
	}
	s := setting{ether: value(FieldEthType), proto: value(FieldIPProto), ctProto: value(FieldCTNWProto), icmpType: value(FieldICMPv6Type), icmpCode: value(FieldICMPv6Code), ethernet: true}
	if v := value(FieldPacketType); v != -1 {
		if s.ethernet = v == 0; v>>16 == packetTypeEther {
			s.ether = v & 0xffff
		}
	}
	vlan, _ := m.Field(FieldVLANVID)
	s.tagged = vlan.Uint()&vlanPresent != 0
	frag, _ := m.Field(FieldIPFrag)
	s.later = frag.Uint()&2 != 0
	state, _ := m.Field(FieldCTState)
	set, mask := CTStateBits(state.Uint()), CTStateBits(number(state.Mask[:4]))
	s.conn = set&(CTNew|CTEst|CTRel|CTRpl|CTSNAT|CTDNAT) != 0 || set&CTTrk != 0 && mask&CTInv != 0 && set&CTInv == 0
	return s
}

// unmet says what of p is missing; "" is nothing.
func (s setting) unmet(p prereq) string {
	r := &requirements[p]
	switch {
	case len(r.ether) > 0 && (s.ether < 0 || !slices.Contains(r.ether, uint16(s.ether))):
		return alternatives(FieldEthType, "%#x", r.ether)
	case r.proto != 0 && s.proto != int(r.proto):
		return fmt.Sprintf("%s=%d", FieldIPProto, r.proto)
	case p >= needsTCP && p <= needsSCTP && s.later:
		return "ip_frag=not_later, or none"
	case len(r.types) > 0 && (s.icmpType < 0 || !slices.Contains(r.types, uint8(s.icmpType))):
		return alternatives(FieldICMPv6Type, "%d", r.types)
	case len(r.types) > 0 && s.icmpCode > 0:
		return "icmpv6_code=0"
	case (p == needsEther || p == needsVLAN) && !s.ethernet:
		return "packet_type=(0,0x0)"
	case p == needsVLAN && !s.tagged:
		return "vlan_vid with a tag"
	case p >= needsCT && !s.conn:
		return "ct_state with a connection (+new, +est, +rel, +rpl, +snat, +dnat or +trk-inv)"
	case p == needsCTProto && s.ctProto <= 0:
		return "ct_nw_proto"
	}
	return ""
}

func alternatives[T uint8 | uint16](f Field, format string, values []T) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprintf("%s="+format, f, v)
	}
	return strings.Join(list, " or ")
}
