package ovs

import "fmt"

// Classes of OXM (OpenFlow 1.5, section 7.2.3.3, and nicira-ext.h) and, for
// the experimenters', who they are.
const (
	classNXM0         = 0x0000
	classNXM1         = 0x0001
	classERIC         = 0x1000
	classOpenFlow     = 0x8000
	classPacketRegs   = 0x8001
	classExperimenter = 0xffff

	experimenterNicira = 0x00002320
	experimenterNSH    = 0x005ad650
	experimenterONF    = 0x4f4e4600
)

// A fieldClass is one of the spaces in which fields are numbered.
type fieldClass uint8

const (
	of fieldClass = iota
	nxm0
	nxm1
	eric
	pktReg
	nx  // NXOXM_ET
	nsh // NXOXM_NSH
	onf // ONFOXM_ET
	numClasses
)

// oxmClasses are the class and the experimenter, if there is one, on the wire.
var oxmClasses = [numClasses]struct {
	class        uint16
	experimenter uint32
}{
	of: {classOpenFlow, 0}, nxm0: {classNXM0, 0}, nxm1: {classNXM1, 0}, eric: {classERIC, 0}, pktReg: {classPacketRegs, 0},
	nx: {classExperimenter, experimenterNicira}, nsh: {classExperimenter, experimenterNSH}, onf: {classExperimenter, experimenterONF},
}

// fieldInfo is what is fixed about a field.
type fieldInfo struct {
	name  string
	nxm   string // name in "field[a..b]"
	class fieldClass
	num   uint8
	bits  uint16
	style style
	needs prereq
	does  ability

	bytes   uint8    // of the value
	full    [16]byte // the exact mask, of the last 16 bytes
	width   uint16   // in an action that names bits of it, in a match there may be more
	plain   bool     // an exact value is as a Match has it, whatever it is
	partial bool     // not all bits of the bytes are the field's
	header  [8]byte  // of an exact value, as long as headerLen
	headLen uint8    // 4, or 8 with an experimenter
}

// style is how ovs-ofctl(8) writes a value.
type style uint8

const (
	styleHex style = iota
	styleDecimal
	styleMAC
	styleIPv4
	styleIPv6
	stylePort
	styleCTState
	styleTCPFlags
	styleTunFlags
	styleFrag
	stylePacketType
)

// ability is what may be done with a field.
type ability uint8

const (
	maskable ability = 1 << iota
	writable
	fixed     ability = 0
	maskWrite         = maskable | writable
)

// fields has an entry for every value of Field; those from numFields on are empty.
var fields = makeFields()

func makeFields() [256]fieldInfo {
	row := func(name, nxm string, class fieldClass, num uint8, bits uint16, s style, needs prereq, does ability) fieldInfo {
		return fieldInfo{name: name, nxm: nxm, class: class, num: num, bits: bits, style: s, needs: needs, does: does}
	}
	t := [256]fieldInfo{
		FieldPacketType:     row("packet_type", "OXM_OF_PACKET_TYPE", of, 44, 32, stylePacketType, needsNone, fixed),
		FieldInPort:         row("in_port", "OXM_OF_IN_PORT", of, 0, 32, stylePort, needsNone, fixed),
		FieldNXMInPort:      row("in_port", "NXM_OF_IN_PORT", nxm0, 0, 16, stylePort, needsNone, writable),
		FieldActsetOutput:   row("actset_output", "ONFOXM_ET_ACTSET_OUTPUT", of, 43, 32, stylePort, needsNone, fixed),
		FieldDPHash:         row("dp_hash", "NXM_NX_DP_HASH", nxm1, 35, 32, styleHex, needsNone, maskable),
		FieldRecircID:       row("recirc_id", "NXM_NX_RECIRC_ID", nxm1, 36, 32, styleHex, needsNone, fixed),
		FieldMetadata:       row("metadata", "OXM_OF_METADATA", of, 2, 64, styleHex, needsNone, maskWrite),
		FieldTunID:          row("tun_id", "NXM_NX_TUN_ID", of, 38, 64, styleHex, needsNone, maskWrite),
		FieldTunSrc:         row("tun_src", "NXM_NX_TUN_IPV4_SRC", nxm1, 31, 32, styleIPv4, needsNone, maskWrite),
		FieldTunDst:         row("tun_dst", "NXM_NX_TUN_IPV4_DST", nxm1, 32, 32, styleIPv4, needsNone, maskWrite),
		FieldTunIPv6Src:     row("tun_ipv6_src", "NXM_NX_TUN_IPV6_SRC", nxm1, 109, 128, styleIPv6, needsNone, maskWrite),
		FieldTunIPv6Dst:     row("tun_ipv6_dst", "NXM_NX_TUN_IPV6_DST", nxm1, 110, 128, styleIPv6, needsNone, maskWrite),
		FieldTunFlags:       row("tun_flags", "NXM_NX_TUN_FLAGS", nxm1, 104, 16, styleTunFlags, needsNone, maskWrite),
		FieldTunGBPID:       row("tun_gbp_id", "NXM_NX_TUN_GBP_ID", nxm1, 38, 16, styleDecimal, needsNone, maskWrite),
		FieldTunGBPFlags:    row("tun_gbp_flags", "NXM_NX_TUN_GBP_FLAGS", nxm1, 39, 8, styleHex, needsNone, maskWrite),
		FieldTunERSPANIdx:   row("tun_erspan_idx", "NXOXM_ET_ERSPAN_IDX", nx, 11, 20, styleHex, needsNone, maskWrite),
		FieldTunERSPANVer:   row("tun_erspan_ver", "NXOXM_ET_ERSPAN_VER", nx, 12, 4, styleDecimal, needsNone, maskWrite),
		FieldTunERSPANDir:   row("tun_erspan_dir", "NXOXM_ET_ERSPAN_DIR", nx, 13, 1, styleDecimal, needsNone, maskWrite),
		FieldTunERSPANHWID:  row("tun_erspan_hwid", "NXOXM_ET_ERSPAN_HWID", nx, 14, 6, styleHex, needsNone, maskWrite),
		FieldTunGTPUFlags:   row("tun_gtpu_flags", "NXOXM_ET_GTPU_FLAGS", nx, 15, 8, styleHex, needsNone, maskable),
		FieldTunGTPUMsgType: row("tun_gtpu_msgtype", "NXOXM_ET_GTPU_MSGTYPE", nx, 16, 8, styleDecimal, needsNone, maskable),
		FieldPktMark:        row("pkt_mark", "NXM_NX_PKT_MARK", nxm1, 33, 32, styleHex, needsNone, maskWrite),
		FieldEthDst:         row("eth_dst", "NXM_OF_ETH_DST", of, 3, 48, styleMAC, needsEther, maskWrite),
		FieldEthSrc:         row("eth_src", "NXM_OF_ETH_SRC", of, 4, 48, styleMAC, needsEther, maskWrite),
		FieldEthType:        row("eth_type", "NXM_OF_ETH_TYPE", of, 5, 16, styleHex, needsEther, fixed),
		FieldVLANTCI:        row("vlan_tci", "NXM_OF_VLAN_TCI", nxm0, 4, 16, styleHex, needsEther, maskWrite),
		FieldVLANVID:        row("vlan_vid", "OXM_OF_VLAN_VID", of, 6, 13, styleHex, needsEther, maskWrite),
		FieldVLANPCP:        row("vlan_pcp", "OXM_OF_VLAN_PCP", of, 7, 3, styleDecimal, needsVLAN, writable),
		FieldMPLSLabel:      row("mpls_label", "OXM_OF_MPLS_LABEL", of, 34, 20, styleDecimal, needsMPLS, writable),
		FieldMPLSTC:         row("mpls_tc", "OXM_OF_MPLS_TC", of, 35, 3, styleDecimal, needsMPLS, writable),
		FieldMPLSBOS:        row("mpls_bos", "OXM_OF_MPLS_BOS", of, 36, 1, styleDecimal, needsMPLS, fixed),
		FieldMPLSTTL:        row("mpls_ttl", "NXM_NX_MPLS_TTL", nxm1, 30, 8, styleDecimal, needsMPLS, writable),
		FieldIPProto:        row("nw_proto", "NXM_OF_IP_PROTO", of, 10, 8, styleDecimal, needsIP, fixed),
		FieldIPTOS:          row("nw_tos", "NXM_OF_IP_TOS", nxm0, 5, 8, styleDecimal, needsIP, writable),
		FieldIPDSCP:         row("ip_dscp", "OXM_OF_IP_DSCP", of, 8, 6, styleDecimal, needsIP, writable),
		FieldIPECN:          row("ip_ecn", "NXM_NX_IP_ECN", of, 9, 2, styleDecimal, needsIP, writable),
		FieldIPTTL:          row("nw_ttl", "NXM_NX_IP_TTL", nxm1, 29, 8, styleDecimal, needsIP, writable),
		FieldIPFrag:         row("ip_frag", "NXM_NX_IP_FRAG", nxm1, 26, 2, styleFrag, needsIP, maskable),
		FieldIPv4Src:        row("ip_src", "NXM_OF_IP_SRC", of, 11, 32, styleIPv4, needsIPv4, maskWrite),
		FieldIPv4Dst:        row("ip_dst", "NXM_OF_IP_DST", of, 12, 32, styleIPv4, needsIPv4, maskWrite),
		FieldIPv6Src:        row("ipv6_src", "NXM_NX_IPV6_SRC", of, 26, 128, styleIPv6, needsIPv6, maskWrite),
		FieldIPv6Dst:        row("ipv6_dst", "NXM_NX_IPV6_DST", of, 27, 128, styleIPv6, needsIPv6, maskWrite),
		FieldIPv6Label:      row("ipv6_label", "NXM_NX_IPV6_LABEL", of, 28, 20, styleHex, needsIPv6, maskWrite),
		FieldCTState:        row("ct_state", "NXM_NX_CT_STATE", nxm1, 105, 32, styleCTState, needsNone, maskable),
		FieldCTZone:         row("ct_zone", "NXM_NX_CT_ZONE", nxm1, 106, 16, styleDecimal, needsNone, fixed),
		FieldCTMark:         row("ct_mark", "NXM_NX_CT_MARK", nxm1, 107, 32, styleHex, needsNone, maskWrite),
		FieldCTLabel:        row("ct_label", "NXM_NX_CT_LABEL", nxm1, 108, 128, styleHex, needsNone, maskWrite),
		FieldCTNWProto:      row("ct_nw_proto", "NXM_NX_CT_NW_PROTO", nxm1, 119, 8, styleDecimal, needsCT, fixed),
		FieldCTNWSrc:        row("ct_nw_src", "NXM_NX_CT_NW_SRC", nxm1, 120, 32, styleIPv4, needsCTIPv4, maskable),
		FieldCTNWDst:        row("ct_nw_dst", "NXM_NX_CT_NW_DST", nxm1, 121, 32, styleIPv4, needsCTIPv4, maskable),
		FieldCTIPv6Src:      row("ct_ipv6_src", "NXM_NX_CT_IPV6_SRC", nxm1, 122, 128, styleIPv6, needsCTIPv6, maskable),
		FieldCTIPv6Dst:      row("ct_ipv6_dst", "NXM_NX_CT_IPV6_DST", nxm1, 123, 128, styleIPv6, needsCTIPv6, maskable),
		FieldCTTPSrc:        row("ct_tp_src", "NXM_NX_CT_TP_SRC", nxm1, 124, 16, styleDecimal, needsCTProto, maskable),
		FieldCTTPDst:        row("ct_tp_dst", "NXM_NX_CT_TP_DST", nxm1, 125, 16, styleDecimal, needsCTProto, maskable),
		FieldConjID:         row("conj_id", "NXM_NX_CONJ_ID", nxm1, 37, 32, styleDecimal, needsNone, fixed),
		FieldTCPSrc:         row("tcp_src", "NXM_OF_TCP_SRC", of, 13, 16, styleDecimal, needsTCP, maskWrite),
		FieldTCPDst:         row("tcp_dst", "NXM_OF_TCP_DST", of, 14, 16, styleDecimal, needsTCP, maskWrite),
		FieldTCPFlags:       row("tcp_flags", "NXM_NX_TCP_FLAGS", of, 42, 12, styleTCPFlags, needsTCP, maskable),
		FieldUDPSrc:         row("udp_src", "NXM_OF_UDP_SRC", of, 15, 16, styleDecimal, needsUDP, maskWrite),
		FieldUDPDst:         row("udp_dst", "NXM_OF_UDP_DST", of, 16, 16, styleDecimal, needsUDP, maskWrite),
		FieldSCTPSrc:        row("sctp_src", "OXM_OF_SCTP_SRC", of, 17, 16, styleDecimal, needsSCTP, maskWrite),
		FieldSCTPDst:        row("sctp_dst", "OXM_OF_SCTP_DST", of, 18, 16, styleDecimal, needsSCTP, maskWrite),
		FieldICMPType:       row("icmp_type", "NXM_OF_ICMP_TYPE", of, 19, 8, styleDecimal, needsICMP, writable),
		FieldICMPCode:       row("icmp_code", "NXM_OF_ICMP_CODE", of, 20, 8, styleDecimal, needsICMP, writable),
		FieldICMPv6Type:     row("icmpv6_type", "NXM_NX_ICMPV6_TYPE", of, 29, 8, styleDecimal, needsICMPv6, writable),
		FieldICMPv6Code:     row("icmpv6_code", "NXM_NX_ICMPV6_CODE", of, 30, 8, styleDecimal, needsICMPv6, writable),
		FieldNDTarget:       row("nd_target", "NXM_NX_ND_TARGET", of, 31, 128, styleIPv6, needsND, maskWrite),
		FieldNDSLL:          row("nd_sll", "NXM_NX_ND_SLL", of, 32, 48, styleMAC, needsNDSolicit, maskWrite),
		FieldNDTLL:          row("nd_tll", "NXM_NX_ND_TLL", of, 33, 48, styleMAC, needsNDAdvert, maskWrite),
		FieldNDReserved:     row("nd_reserved", "ERICOXM_OF_ICMPV6_ND_RESERVED", eric, 1, 32, styleDecimal, needsND, writable),
		FieldNDOptionsType:  row("nd_options_type", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", eric, 2, 8, styleDecimal, needsND, writable),
		FieldARPOp:          row("arp_op", "NXM_OF_ARP_OP", of, 21, 16, styleDecimal, needsARP, writable),
		FieldARPSpa:         row("arp_spa", "NXM_OF_ARP_SPA", of, 22, 32, styleIPv4, needsARP, maskWrite),
		FieldARPTpa:         row("arp_tpa", "NXM_OF_ARP_TPA", of, 23, 32, styleIPv4, needsARP, maskWrite),
		FieldARPSha:         row("arp_sha", "NXM_NX_ARP_SHA", of, 24, 48, styleMAC, needsARP, maskWrite),
		FieldARPTha:         row("arp_tha", "NXM_NX_ARP_THA", of, 25, 48, styleMAC, needsARP, maskWrite),
		FieldNSHFlags:       row("nsh_flags", "NXOXM_NSH_FLAGS", nsh, 1, 8, styleDecimal, needsNSH, maskWrite),
		FieldNSHTTL:         row("nsh_ttl", "NXOXM_NSH_TTL", nsh, 10, 8, styleDecimal, needsNSH, writable),
		FieldNSHMDType:      row("nsh_mdtype", "NXOXM_NSH_MDTYPE", nsh, 2, 8, styleDecimal, needsNSH, fixed),
		FieldNSHNP:          row("nsh_np", "NXOXM_NSH_NP", nsh, 3, 8, styleDecimal, needsNSH, fixed),
		FieldNSHSPI:         row("nsh_spi", "NXOXM_NSH_SPI", nsh, 4, 24, styleHex, needsNSH, writable),
		FieldNSHSI:          row("nsh_si", "NXOXM_NSH_SI", nsh, 5, 8, styleDecimal, needsNSH, writable),
	}
	t[FieldVLANVID].width, t[FieldTunFlags].width = 12, 1
	series := func(first Field, count int, from int, info fieldInfo, number uint8) {
		for n := range count {
			one := info
			one.name, one.nxm = fmt.Sprintf(info.name, n+from), fmt.Sprintf(info.nxm, n+from)
			one.num = number + uint8(n)
			t[first+Field(n)] = one
		}
	}
	series(FieldReg0, 16, 0, row("reg%d", "NXM_NX_REG%d", nxm1, 0, 32, styleHex, needsNone, maskWrite), 0)
	series(FieldXReg0, 8, 0, row("xreg%d", "OXM_OF_PKT_REG%d", pktReg, 0, 64, styleHex, needsNone, maskWrite), 0)
	series(FieldXXReg0, 4, 0, row("xxreg%d", "NXM_NX_XXREG%d", nxm1, 0, 128, styleHex, needsNone, maskWrite), 111)
	series(FieldTunMetadata0, 64, 0, row("tun_metadata%d", "NXM_NX_TUN_METADATA%d", nxm1, 0, 8*maxTunMetadata, styleHex, needsNone, maskWrite), 40)
	series(FieldNSHC1, 4, 1, row("nsh_c%d", "NXOXM_NSH_C%d", nsh, 0, 32, styleHex, needsNSH, maskWrite), 6)
	for f := range numFields {
		t[f].finish()
		t[f].plain = !t[f].partial && t[f].headLen == 4 && f != FieldPacketType && f != FieldIPTOS && f != FieldVLANTCI &&
			!f.onesOnly() && !f.isTunMetadata() && (f < FieldXReg0 || f > fieldXXRegLast)
	}
	return t
}

// finish fills in what follows from the rest.
func (i *fieldInfo) finish() {
	if i.width == 0 {
		i.width = i.bits
	}
	if i.bytes = uint8((i.bits + 7) / 8); i.bytes == 3 {
		i.bytes = 4
	}
	for k := range min(i.bits, 128) {
		i.full[min(i.bytes, 16)-1-uint8(k/8)] |= 1 << (k % 8)
	}
	i.partial = i.bits < 8*uint16(i.bytes)
	c := oxmClasses[i.class]
	i.headLen = 4
	h := append(i.header[:0], byte(c.class>>8), byte(c.class), i.num<<1, i.bytes)
	if c.experimenter != 0 {
		i.headLen, h[3] = 8, i.bytes+4
		copy(i.header[4:], []byte{byte(c.experimenter >> 24), byte(c.experimenter >> 16), byte(c.experimenter >> 8), byte(c.experimenter)})
	}
}

// maxTunMetadata is the most bytes that a GENEVE option holds.
const maxTunMetadata = 124

// byNumber finds fields by class and number; numFields is none.
var byNumber = func() (t [numClasses][128]Field) {
	for c := range t {
		for n := range t[c] {
			t[c][n] = numFields
		}
	}
	for f := range numFields {
		t[fields[f].class][fields[f].num] = f
	}
	// The same fields under their older or newer numbers.
	for _, a := range []struct {
		class fieldClass
		num   uint8
		f     Field
	}{
		{nxm0, 1, FieldEthDst}, {nxm0, 2, FieldEthSrc}, {nxm0, 3, FieldEthType}, {nxm0, 6, FieldIPProto},
		{nxm0, 7, FieldIPv4Src}, {nxm0, 8, FieldIPv4Dst}, {nxm0, 9, FieldTCPSrc}, {nxm0, 10, FieldTCPDst},
		{nxm0, 11, FieldUDPSrc}, {nxm0, 12, FieldUDPDst}, {nxm0, 13, FieldICMPType}, {nxm0, 14, FieldICMPCode},
		{nxm0, 15, FieldARPOp}, {nxm0, 16, FieldARPSpa}, {nxm0, 17, FieldARPTpa}, {nxm1, 16, FieldTunID},
		{nxm1, 17, FieldARPSha}, {nxm1, 18, FieldARPTha}, {nxm1, 19, FieldIPv6Src}, {nxm1, 20, FieldIPv6Dst},
		{nxm1, 21, FieldICMPv6Type}, {nxm1, 22, FieldICMPv6Code}, {nxm1, 23, FieldNDTarget},
		{nxm1, 24, FieldNDSLL}, {nxm1, 25, FieldNDTLL}, {nxm1, 27, FieldIPv6Label}, {nxm1, 28, FieldIPECN}, {nxm1, 34, FieldTCPFlags},
		{nx, 0, FieldDPHash}, {onf, 42, FieldTCPFlags}, {onf, 43, FieldActsetOutput},
	} {
		t[a.class][a.num] = a.f
	}
	return t
}()
