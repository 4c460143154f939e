package ovs

import (
	"encoding/binary"
	"net/netip"
)

// exact returns a match of all bits of v.
func exact(f Field, v uint64) FieldMatch {
	return masked(f, v, ^uint64(0))
}

func masked(f Field, v, mask uint64) FieldMatch {
	var b, m [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	binary.BigEndian.PutUint64(m[:], mask)
	n := 8 - f.Bytes()
	return NewFieldMatch(f, b[n:], m[n:])
}

func prefix(f Field, p netip.Prefix) FieldMatch {
	var mask [16]byte
	for i := range max(p.Bits(), 0) {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	v := make([]byte, 16)
	copy(v, p.Addr().AsSlice())
	return NewFieldMatch(f, v, mask[:])
}

// InPort matches the port that the packet came in by.
func InPort(ofport uint32) FieldMatch { return exact(FieldInPort, uint64(ofport)) }

// EthSrc matches the source MAC.
func EthSrc(m MAC) FieldMatch { return NewFieldMatch(FieldEthSrc, m[:], nil) }

// EthDst matches the destination MAC.
func EthDst(m MAC) FieldMatch { return NewFieldMatch(FieldEthDst, m[:], nil) }

// EthDstMasked matches the bits of mask of the destination MAC.
func EthDstMasked(m, mask MAC) FieldMatch { return NewFieldMatch(FieldEthDst, m[:], mask[:]) }

// Multicast matches every group address, broadcast among them.
func Multicast() FieldMatch { return EthDstMasked(MAC{1}, MAC{1}) }

// EthType matches the EtherType behind VLAN tags.
func EthType(t uint16) FieldMatch { return exact(FieldEthType, uint64(t)) }

// vlanPresent is OFPVID_PRESENT (OpenFlow 1.5, section 7.2.3.8).
const vlanPresent = 0x1000

// VLANVID matches a VLAN tag with the id, 0 to 4095; set, it writes the id
// into the tag.
func VLANVID(id uint16) FieldMatch { return exact(FieldVLANVID, uint64(id&0xfff|vlanPresent)) }

// NoVLAN matches packets without a VLAN tag.
func NoVLAN() FieldMatch { return exact(FieldVLANVID, 0) }

// IPProto matches the IANA protocol number.
func IPProto(p uint8) FieldMatch { return exact(FieldIPProto, uint64(p)) }

// IPTTL matches the IPv4 TTL or IPv6 hop limit.
func IPTTL(n uint8) FieldMatch { return exact(FieldIPTTL, uint64(n)) }

// IPv4Src matches the source address.
func IPv4Src(p netip.Prefix) FieldMatch { return prefix(FieldIPv4Src, p) }

// IPv4Dst matches the destination address.
func IPv4Dst(p netip.Prefix) FieldMatch { return prefix(FieldIPv4Dst, p) }

// IPv6Src matches the source address.
func IPv6Src(p netip.Prefix) FieldMatch { return prefix(FieldIPv6Src, p) }

// IPv6Dst matches the destination address.
func IPv6Dst(p netip.Prefix) FieldMatch { return prefix(FieldIPv6Dst, p) }

// IPSrc is [IPv4Src] or [IPv6Src], as the prefix is.
func IPSrc(p netip.Prefix) FieldMatch {
	if p.Addr().Is4() {
		return IPv4Src(p)
	}
	return IPv6Src(p)
}

// IPDst is [IPv4Dst] or [IPv6Dst], as the prefix is.
func IPDst(p netip.Prefix) FieldMatch {
	if p.Addr().Is4() {
		return IPv4Dst(p)
	}
	return IPv6Dst(p)
}

// TCPSrc matches the source port.
func TCPSrc(port uint16) FieldMatch { return exact(FieldTCPSrc, uint64(port)) }

// TCPDst matches the destination port.
func TCPDst(port uint16) FieldMatch { return exact(FieldTCPDst, uint64(port)) }

// TCPDstMasked matches the bits of mask of the destination port.
func TCPDstMasked(port, mask uint16) FieldMatch {
	return masked(FieldTCPDst, uint64(port), uint64(mask))
}

// TCPSrcMasked matches the bits of mask of the source port.
func TCPSrcMasked(port, mask uint16) FieldMatch {
	return masked(FieldTCPSrc, uint64(port), uint64(mask))
}

// UDPSrc matches the source port.
func UDPSrc(port uint16) FieldMatch { return exact(FieldUDPSrc, uint64(port)) }

// UDPDst matches the destination port.
func UDPDst(port uint16) FieldMatch { return exact(FieldUDPDst, uint64(port)) }

// UDPSrcMasked matches the bits of mask of the source port.
func UDPSrcMasked(port, mask uint16) FieldMatch {
	return masked(FieldUDPSrc, uint64(port), uint64(mask))
}

// UDPDstMasked matches the bits of mask of the destination port.
func UDPDstMasked(port, mask uint16) FieldMatch {
	return masked(FieldUDPDst, uint64(port), uint64(mask))
}

// SCTPSrc matches the source port.
func SCTPSrc(port uint16) FieldMatch { return exact(FieldSCTPSrc, uint64(port)) }

// SCTPDst matches the destination port.
func SCTPDst(port uint16) FieldMatch { return exact(FieldSCTPDst, uint64(port)) }

// SCTPSrcMasked matches the bits of mask of the source port.
func SCTPSrcMasked(port, mask uint16) FieldMatch {
	return masked(FieldSCTPSrc, uint64(port), uint64(mask))
}

// SCTPDstMasked matches the bits of mask of the destination port.
func SCTPDstMasked(port, mask uint16) FieldMatch {
	return masked(FieldSCTPDst, uint64(port), uint64(mask))
}

// ICMPType matches the type of an ICMPv4 message.
func ICMPType(t uint8) FieldMatch { return exact(FieldICMPType, uint64(t)) }

// ICMPCode matches the code of an ICMPv4 message.
func ICMPCode(c uint8) FieldMatch { return exact(FieldICMPCode, uint64(c)) }

// ICMPv6Type matches the type of an ICMPv6 message.
func ICMPv6Type(t uint8) FieldMatch { return exact(FieldICMPv6Type, uint64(t)) }

// ICMPv6Code matches the code of an ICMPv6 message.
func ICMPv6Code(c uint8) FieldMatch { return exact(FieldICMPv6Code, uint64(c)) }

// NDTarget matches the target of a neighbour solicitation or advertisement.
func NDTarget(a netip.Addr) FieldMatch { return NewFieldMatch(FieldNDTarget, pad16(a), nil) }

// NDSLL matches the source link-layer address option.
func NDSLL(m MAC) FieldMatch { return NewFieldMatch(FieldNDSLL, m[:], nil) }

// NDTLL matches the target link-layer address option.
func NDTLL(m MAC) FieldMatch { return NewFieldMatch(FieldNDTLL, m[:], nil) }

func pad16(a netip.Addr) []byte {
	b := make([]byte, 16)
	copy(b, a.AsSlice())
	return b
}

// ARPOp matches the operation: 1 request, 2 reply.
func ARPOp(op uint16) FieldMatch { return exact(FieldARPOp, uint64(op)) }

// ARPSpa matches the sender's protocol address.
func ARPSpa(p netip.Prefix) FieldMatch { return prefix(FieldARPSpa, p) }

// ARPTpa matches the target's protocol address.
func ARPTpa(p netip.Prefix) FieldMatch { return prefix(FieldARPTpa, p) }

// ARPSha matches the sender's hardware address.
func ARPSha(m MAC) FieldMatch { return NewFieldMatch(FieldARPSha, m[:], nil) }

// ARPTha matches the target's hardware address.
func ARPTha(m MAC) FieldMatch { return NewFieldMatch(FieldARPTha, m[:], nil) }

// Reg matches register n, 0 to 15.
func Reg(n int, v uint32) FieldMatch { return exact(register(n), uint64(v)) }

// RegMasked matches the bits of mask of register n.
func RegMasked(n int, v, mask uint32) FieldMatch {
	return masked(register(n), uint64(v), uint64(mask))
}

// Metadata matches the metadata that travels with the packet between tables.
func Metadata(v uint64) FieldMatch { return exact(FieldMetadata, v) }

// MetadataMasked matches the bits of mask of the metadata.
func MetadataMasked(v, mask uint64) FieldMatch { return masked(FieldMetadata, v, mask) }

// TunID matches the tunnel key; for GENEVE the VNI.
func TunID(v uint64) FieldMatch { return exact(FieldTunID, v) }

// TunSrc matches the outer source, which is tun_src or tun_ipv6_src as the address is.
func TunSrc(a netip.Addr) FieldMatch {
	if a.Is6() {
		return NewFieldMatch(FieldTunIPv6Src, pad16(a), nil)
	}
	return NewFieldMatch(FieldTunSrc, pad16(a), nil)
}

// TunDst matches the outer destination, which is tun_dst or tun_ipv6_dst as
// the address is; set, it says where a tunnel sends.
func TunDst(a netip.Addr) FieldMatch {
	if a.Is6() {
		return NewFieldMatch(FieldTunIPv6Dst, pad16(a), nil)
	}
	return NewFieldMatch(FieldTunDst, pad16(a), nil)
}

// PktMark matches the packet's mark in the kernel.
func PktMark(v uint32) FieldMatch { return exact(FieldPktMark, uint64(v)) }

// TCPFlags matches the flags of a TCP segment.
func TCPFlags(v, mask uint16) FieldMatch { return masked(FieldTCPFlags, uint64(v), uint64(mask)) }

// ConjID matches packets for which all clauses of a conjunction matched.
func ConjID(id uint32) FieldMatch { return exact(FieldConjID, uint64(id)) }

// CTMark matches the mark of the packet's connection.
func CTMark(v uint32) FieldMatch { return exact(FieldCTMark, uint64(v)) }

// CTMarkMasked matches the bits of mask of the connection's mark.
func CTMarkMasked(v, mask uint32) FieldMatch { return masked(FieldCTMark, uint64(v), uint64(mask)) }

// CTLabel matches the 128 bits of the connection's label.
func CTLabel(high, low uint64) FieldMatch {
	v := label(high, low)
	return NewFieldMatch(FieldCTLabel, v[:], nil)
}

// CTLabelMasked matches the bits of a mask of the connection's label.
func CTLabelMasked(high, low, maskHigh, maskLow uint64) FieldMatch {
	v, m := label(high, low), label(maskHigh, maskLow)
	return NewFieldMatch(FieldCTLabel, v[:], m[:])
}

func label(high, low uint64) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return b
}

// CTZone matches the zone that the packet was tracked in.
func CTZone(z uint16) FieldMatch { return exact(FieldCTZone, uint64(z)) }
