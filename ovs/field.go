package ovs

import "fmt"

// A Field is one that OpenFlow can match or set. The order of the constants is
// the order in which a match lists them: a field comes after what it requires.
type Field uint8

// Fields, named as in ovs-fields(7).
const (
	FieldInPort    Field = iota
	FieldNXMInPort       // the 16-bit form, which unlike in_port can be set
	FieldMetadata
	FieldTunID
	FieldTunSrc
	FieldTunDst
	FieldTunIPv6Src
	FieldTunIPv6Dst
	FieldPktMark
	FieldReg0    // FieldReg0 + n is register n, to 15
	fieldRegLast = FieldReg0 + 15
)

// Fields of the packet.
const (
	FieldEthDst Field = fieldRegLast + 1 + iota
	FieldEthSrc
	FieldEthType
	FieldVLANVID
	FieldVLANPCP
	FieldIPProto
	FieldIPDSCP
	FieldIPECN
	FieldIPTTL
	FieldIPFrag
	FieldIPv4Src
	FieldIPv4Dst
	FieldIPv6Src
	FieldIPv6Dst
	FieldCTState
	FieldCTZone
	FieldCTMark
	FieldCTLabel
	FieldConjID
	FieldTCPSrc
	FieldTCPDst
	FieldTCPFlags
	FieldUDPSrc
	FieldUDPDst
	FieldSCTPSrc
	FieldSCTPDst
	FieldICMPType
	FieldICMPCode
	FieldICMPv6Type
	FieldICMPv6Code
	FieldNDTarget
	FieldNDSLL
	FieldNDTLL
	FieldARPOp
	FieldARPSpa
	FieldARPTpa
	FieldARPSha
	FieldARPTha
	numFields
)

// OXM classes (OpenFlow 1.5, section 7.2.3.3, and nicira-ext).
const (
	classNXM0     = 0x0000
	classNXM1     = 0x0001
	classOpenFlow = 0x8000
)

// fieldInfo is what is fixed about a field.
type fieldInfo struct {
	name  string
	nxm   string // name in "field[a..b]" where it differs
	class uint16
	num   uint8
	bits  uint16
	// style of printing: decimal, hex, mac, ip
	style style
	// needs lists alternatives of what the field requires; one must hold.
	needs []need
	// ether is the EtherType that is required beside needs, if not zero.
	ether uint16
}

// A need is a value that another field must have.
type need struct {
	field Field
	value uint16
}

type style uint8

const (
	styleHex style = iota
	styleDecimal
	styleMAC
	styleIPv4
	styleIPv6
	styleCTState
)

// Ethernet types and IP protocols that prerequisites name.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// fields has an entry for every value of Field; those from numFields on are empty.
var fields = makeFields()

func makeFields() [256]fieldInfo {
	var (
		ipv4  = []need{{FieldEthType, etherIPv4}}
		ipv6  = []need{{FieldEthType, etherIPv6}}
		ip    = []need{{FieldEthType, etherIPv4}, {FieldEthType, etherIPv6}}
		arp   = []need{{FieldEthType, etherARP}}
		proto = func(n uint16) []need { return []need{{FieldIPProto, n}} }
	)
	t := [256]fieldInfo{
		FieldInPort:     {"in_port", "OXM_OF_IN_PORT", classOpenFlow, 0, 32, styleDecimal, nil, 0},
		FieldNXMInPort:  {"in_port", "NXM_OF_IN_PORT", classNXM0, 0, 16, styleDecimal, nil, 0},
		FieldMetadata:   {"metadata", "OXM_OF_METADATA", classOpenFlow, 2, 64, styleHex, nil, 0},
		FieldTunID:      {"tun_id", "NXM_NX_TUN_ID", classOpenFlow, 38, 64, styleHex, nil, 0},
		FieldTunSrc:     {"tun_src", "NXM_NX_TUN_IPV4_SRC", classNXM1, 31, 32, styleIPv4, nil, 0},
		FieldTunDst:     {"tun_dst", "NXM_NX_TUN_IPV4_DST", classNXM1, 32, 32, styleIPv4, nil, 0},
		FieldTunIPv6Src: {"tun_ipv6_src", "NXM_NX_TUN_IPV6_SRC", classNXM1, 109, 128, styleIPv6, nil, 0},
		FieldTunIPv6Dst: {"tun_ipv6_dst", "NXM_NX_TUN_IPV6_DST", classNXM1, 110, 128, styleIPv6, nil, 0},
		FieldPktMark:    {"pkt_mark", "NXM_NX_PKT_MARK", classNXM1, 33, 32, styleHex, nil, 0},
		FieldEthDst:     {"eth_dst", "NXM_OF_ETH_DST", classOpenFlow, 3, 48, styleMAC, nil, 0},
		FieldEthSrc:     {"eth_src", "NXM_OF_ETH_SRC", classOpenFlow, 4, 48, styleMAC, nil, 0},
		FieldEthType:    {"eth_type", "NXM_OF_ETH_TYPE", classOpenFlow, 5, 16, styleHex, nil, 0},
		FieldVLANVID:    {"vlan_vid", "OXM_OF_VLAN_VID", classOpenFlow, 6, 13, styleHex, nil, 0},
		FieldVLANPCP:    {"vlan_pcp", "OXM_OF_VLAN_PCP", classOpenFlow, 7, 3, styleDecimal, nil, 0},
		FieldIPDSCP:     {"ip_dscp", "", classOpenFlow, 8, 6, styleDecimal, ip, 0},
		FieldIPECN:      {"ip_ecn", "", classOpenFlow, 9, 2, styleDecimal, ip, 0},
		FieldIPProto:    {"nw_proto", "NXM_OF_IP_PROTO", classOpenFlow, 10, 8, styleDecimal, ip, 0},
		FieldIPTTL:      {"nw_ttl", "NXM_NX_IP_TTL", classNXM1, 29, 8, styleDecimal, ip, 0},
		FieldIPFrag:     {"ip_frag", "NXM_NX_IP_FRAG", classNXM1, 26, 8, styleHex, ip, 0},
		FieldIPv4Src:    {"ip_src", "NXM_OF_IP_SRC", classOpenFlow, 11, 32, styleIPv4, ipv4, 0},
		FieldIPv4Dst:    {"ip_dst", "NXM_OF_IP_DST", classOpenFlow, 12, 32, styleIPv4, ipv4, 0},
		FieldTCPSrc:     {"tcp_src", "NXM_OF_TCP_SRC", classOpenFlow, 13, 16, styleDecimal, proto(protoTCP), 0},
		FieldTCPDst:     {"tcp_dst", "NXM_OF_TCP_DST", classOpenFlow, 14, 16, styleDecimal, proto(protoTCP), 0},
		FieldTCPFlags:   {"tcp_flags", "", classOpenFlow, 42, 12, styleHex, proto(protoTCP), 0},
		FieldUDPSrc:     {"udp_src", "NXM_OF_UDP_SRC", classOpenFlow, 15, 16, styleDecimal, proto(protoUDP), 0},
		FieldUDPDst:     {"udp_dst", "NXM_OF_UDP_DST", classOpenFlow, 16, 16, styleDecimal, proto(protoUDP), 0},
		FieldSCTPSrc:    {"sctp_src", "OXM_OF_SCTP_SRC", classOpenFlow, 17, 16, styleDecimal, proto(protoSCTP), 0},
		FieldSCTPDst:    {"sctp_dst", "OXM_OF_SCTP_DST", classOpenFlow, 18, 16, styleDecimal, proto(protoSCTP), 0},
		FieldICMPType:   {"icmp_type", "NXM_OF_ICMP_TYPE", classOpenFlow, 19, 8, styleDecimal, proto(protoICMP), etherIPv4},
		FieldICMPCode:   {"icmp_code", "NXM_OF_ICMP_CODE", classOpenFlow, 20, 8, styleDecimal, proto(protoICMP), etherIPv4},
		FieldARPOp:      {"arp_op", "NXM_OF_ARP_OP", classOpenFlow, 21, 16, styleDecimal, arp, 0},
		FieldARPSpa:     {"arp_spa", "NXM_OF_ARP_SPA", classOpenFlow, 22, 32, styleIPv4, arp, 0},
		FieldARPTpa:     {"arp_tpa", "NXM_OF_ARP_TPA", classOpenFlow, 23, 32, styleIPv4, arp, 0},
		FieldARPSha:     {"arp_sha", "NXM_NX_ARP_SHA", classOpenFlow, 24, 48, styleMAC, arp, 0},
		FieldARPTha:     {"arp_tha", "NXM_NX_ARP_THA", classOpenFlow, 25, 48, styleMAC, arp, 0},
		FieldIPv6Src:    {"ipv6_src", "NXM_NX_IPV6_SRC", classOpenFlow, 26, 128, styleIPv6, ipv6, 0},
		FieldIPv6Dst:    {"ipv6_dst", "NXM_NX_IPV6_DST", classOpenFlow, 27, 128, styleIPv6, ipv6, 0},
		FieldICMPv6Type: {"icmpv6_type", "NXM_NX_ICMPV6_TYPE", classOpenFlow, 29, 8, styleDecimal, proto(protoICMPv6), etherIPv6},
		FieldICMPv6Code: {"icmpv6_code", "NXM_NX_ICMPV6_CODE", classOpenFlow, 30, 8, styleDecimal, proto(protoICMPv6), etherIPv6},
		FieldNDTarget:   {"nd_target", "NXM_NX_ND_TARGET", classOpenFlow, 31, 128, styleIPv6, proto(protoICMPv6), etherIPv6},
		FieldNDSLL:      {"nd_sll", "NXM_NX_ND_SLL", classOpenFlow, 32, 48, styleMAC, proto(protoICMPv6), etherIPv6},
		FieldNDTLL:      {"nd_tll", "NXM_NX_ND_TLL", classOpenFlow, 33, 48, styleMAC, proto(protoICMPv6), etherIPv6},
		FieldConjID:     {"conj_id", "", classNXM1, 37, 32, styleDecimal, nil, 0},
		FieldCTState:    {"ct_state", "", classNXM1, 105, 32, styleCTState, ip, 0},
		FieldCTZone:     {"ct_zone", "", classNXM1, 106, 16, styleDecimal, ip, 0},
		FieldCTMark:     {"ct_mark", "NXM_NX_CT_MARK", classNXM1, 107, 32, styleHex, ip, 0},
		FieldCTLabel:    {"ct_label", "NXM_NX_CT_LABEL", classNXM1, 108, 128, styleHex, ip, 0},
	}
	for n := range Field(16) {
		t[FieldReg0+n] = fieldInfo{fmt.Sprintf("reg%d", n), fmt.Sprintf("NXM_NX_REG%d", n), classNXM1, uint8(n), 32, styleHex, nil, 0}
	}
	return t
}

// OXM returns the class and number that identify the field on the wire
// (OpenFlow 1.5, section 7.2.3.2, and nicira-ext for class 0 and 1).
func (f Field) OXM() (class uint16, num uint8) { return fields[f].class, fields[f].num }

// FieldByOXM finds a field by class and number. Forms that OVS uses for the
// same field map to one: NXM_OF_ETH_DST is eth_dst.
func FieldByOXM(class uint16, num uint8) (Field, bool) {
	f, ok := byOXM[uint32(class)<<8|uint32(num)]
	return f, ok
}

var byOXM = func() map[uint32]Field {
	m := map[uint32]Field{}
	for f := range numFields {
		m[uint32(fields[f].class)<<8|uint32(fields[f].num)] = f
	}
	// The same fields under their older NXM numbers (nicira-ext).
	for _, a := range []struct {
		class uint16
		num   uint8
		f     Field
	}{
		{classNXM0, 1, FieldEthDst}, {classNXM0, 2, FieldEthSrc}, {classNXM0, 3, FieldEthType}, {classNXM0, 6, FieldIPProto},
		{classNXM0, 7, FieldIPv4Src}, {classNXM0, 8, FieldIPv4Dst}, {classNXM0, 9, FieldTCPSrc}, {classNXM0, 10, FieldTCPDst},
		{classNXM0, 11, FieldUDPSrc}, {classNXM0, 12, FieldUDPDst}, {classNXM0, 13, FieldICMPType}, {classNXM0, 14, FieldICMPCode},
		{classNXM0, 15, FieldARPOp}, {classNXM0, 16, FieldARPSpa}, {classNXM0, 17, FieldARPTpa}, {classNXM1, 16, FieldTunID},
		{classNXM1, 17, FieldARPSha}, {classNXM1, 18, FieldARPTha}, {classNXM1, 19, FieldIPv6Src}, {classNXM1, 20, FieldIPv6Dst},
		{classNXM1, 21, FieldICMPv6Type}, {classNXM1, 22, FieldICMPv6Code}, {classNXM1, 23, FieldNDTarget},
		{classNXM1, 24, FieldNDSLL}, {classNXM1, 25, FieldNDTLL}, {classNXM1, 34, FieldTCPFlags},
	} {
		m[uint32(a.class)<<8|uint32(a.num)] = a.f
	}
	return m
}()

// Bits returns the field's width.
func (f Field) Bits() int { return int(fields[f].bits) }

// Bytes returns the size of the field's value on the wire.
func (f Field) Bytes() int { return (int(fields[f].bits) + 7) / 8 }

// String returns the name that ovs-ofctl(8) takes in a match.
func (f Field) String() string {
	if f >= numFields {
		return fmt.Sprintf("field(%d)", uint8(f))
	}
	return fields[f].name
}

// A Subfield is a run of bits of a field.
type Subfield struct {
	Field  Field
	Offset int // of its lowest bit
	Size   int // in bits
}

// RegField returns all 32 bits of register n, 0 to 15.
// Another number gives a field that no switch takes.
func RegField(n int) Subfield { return register(n).Whole() }

// register returns register n, or an invalid field.
func register(n int) Field {
	if n < 0 || n > 15 {
		return numFields
	}
	return FieldReg0 + Field(n)
}

// valid reports whether the subfield is a run of bits of a field.
func (s Subfield) valid() bool {
	return s.Field < numFields && s.Offset >= 0 && s.Size > 0 && s.Offset+s.Size <= s.Field.Bits()
}

// Whole returns all bits of the field.
func (f Field) Whole() Subfield { return Subfield{f, 0, f.Bits()} }

// Bits returns size bits of s from offset on.
func (s Subfield) Bits(offset, size int) Subfield { return Subfield{s.Field, s.Offset + offset, size} }

// Whole fields that actions copy.
var (
	EthSrcField  = FieldEthSrc.Whole()
	EthDstField  = FieldEthDst.Whole()
	IPv4SrcField = FieldIPv4Src.Whole()
	IPv4DstField = FieldIPv4Dst.Whole()
	IPv6SrcField = FieldIPv6Src.Whole()
	IPv6DstField = FieldIPv6Dst.Whole()
	ARPShaField  = FieldARPSha.Whole()
	ARPThaField  = FieldARPTha.Whole()
	ARPSpaField  = FieldARPSpa.Whole()
	ARPTpaField  = FieldARPTpa.Whole()
)

// String returns "NXM_NX_REG5[0..15]", or "NXM_OF_ETH_SRC[]" for all bits.
func (s Subfield) String() string {
	name := fields[s.Field].nxm
	if name == "" {
		name = s.Field.String()
	}
	switch {
	case s.Offset == 0 && s.Size == s.Field.Bits():
		return name + "[]"
	case s.Size == 1:
		return fmt.Sprintf("%s[%d]", name, s.Offset)
	}
	return fmt.Sprintf("%s[%d..%d]", name, s.Offset, s.Offset+s.Size-1)
}
