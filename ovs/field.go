package ovs

import (
	"fmt"
	"iter"
)

// A Field is one that OpenFlow can match or set. The order of the constants is
// the order in which a match lists them: a field comes after what it requires.
type Field uint8

// Fields that travel with a packet, named as in ovs-fields(7).
const (
	FieldPacketType Field = iota
	FieldInPort
	FieldNXMInPort // the 16-bit form, which unlike in_port can be set
	FieldActsetOutput
	FieldDPHash
	FieldRecircID
	FieldMetadata
	FieldTunID
	FieldTunSrc
	FieldTunDst
	FieldTunIPv6Src
	FieldTunIPv6Dst
	FieldTunFlags
	FieldTunGBPID
	FieldTunGBPFlags
	FieldTunERSPANIdx
	FieldTunERSPANVer
	FieldTunERSPANDir
	FieldTunERSPANHWID
	FieldTunGTPUFlags
	FieldTunGTPUMsgType
	FieldPktMark
	FieldReg0      // FieldReg0 + n is register n, to 15
	fieldRegLast   = FieldReg0 + 15
	FieldXReg0     = fieldRegLast + 1 // registers 2n and 2n+1 as one of 64 bits, n to 7
	fieldXRegLast  = FieldXReg0 + 7
	FieldXXReg0    = fieldXRegLast + 1 // registers 4n to 4n+3 as one of 128 bits, n to 3
	fieldXXRegLast = FieldXXReg0 + 3
	// FieldTunMetadata0 + n is GENEVE option n, to 63, of up to 124 bytes. The
	// switch's TLV table says which option it is and how long.
	FieldTunMetadata0    = fieldXXRegLast + 1
	fieldTunMetadataLast = FieldTunMetadata0 + 63
)

// Fields of the packet.
const (
	FieldEthDst Field = fieldTunMetadataLast + 1 + iota
	FieldEthSrc
	FieldEthType
	FieldVLANTCI // the whole tag control; a match has it as vlan_vid and vlan_pcp
	FieldVLANVID
	FieldVLANPCP
	FieldMPLSLabel
	FieldMPLSTC
	FieldMPLSBOS
	FieldMPLSTTL
	FieldIPProto
	FieldIPTOS // the DSCP in its place in the byte; a match has it as ip_dscp
	FieldIPDSCP
	FieldIPECN
	FieldIPTTL
	FieldIPFrag
	FieldIPv4Src
	FieldIPv4Dst
	FieldIPv6Src
	FieldIPv6Dst
	FieldIPv6Label
	FieldCTState
	FieldCTZone
	FieldCTMark
	FieldCTLabel
	FieldCTNWProto
	FieldCTNWSrc
	FieldCTNWDst
	FieldCTIPv6Src
	FieldCTIPv6Dst
	FieldCTTPSrc
	FieldCTTPDst
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
	FieldNDReserved
	FieldNDOptionsType
	FieldARPOp
	FieldARPSpa
	FieldARPTpa
	FieldARPSha
	FieldARPTha
	FieldNSHFlags
	FieldNSHTTL
	FieldNSHMDType
	FieldNSHNP
	FieldNSHSPI
	FieldNSHSI
	FieldNSHC1 // FieldNSHC1 + n is context n+1, to 4
	fieldNSHC2
	fieldNSHC3
	fieldNSHC4
	numFields
)

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

// Bits returns the field's width, as it counts in a [Subfield].
func (f Field) Bits() int { return int(fields[f].width) }

// Bytes returns the size of the field's value on the wire; of a tun_metadata
// it is the most that there may be.
func (f Field) Bytes() int { return int(fields[f].bytes) }

// Maskable reports whether part of the field can be matched and set.
func (f Field) Maskable() bool { return fields[f].does&maskable != 0 }

// Writable reports whether actions can write the field.
func (f Field) Writable() bool { return fields[f].does&writable != 0 }

// Fields returns all fields in order.
func Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for f := Field(0); f < numFields && yield(f); f++ {
		}
	}
}

// onesOnly reports whether Open vSwitch 3.1 takes the value for the mask.
func (f Field) onesOnly() bool {
	return f >= FieldTunERSPANVer && f <= FieldTunGTPUMsgType
}

// isTunMetadata reports whether the field's size is the TLV table's.
func (f Field) isTunMetadata() bool { return f >= FieldTunMetadata0 && f <= fieldTunMetadataLast }

// String returns the name that ovs-ofctl(8) takes in a match.
func (f Field) String() string {
	if f >= numFields {
		return fmt.Sprintf("field(%d)", uint8(f))
	}
	return fields[f].name
}

// aliases are other names of fields.
var aliases = map[string]Field{
	"dl_src": FieldEthSrc, "dl_dst": FieldEthDst, "dl_type": FieldEthType, "ip_proto": FieldIPProto, "ip_ttl": FieldIPTTL,
	"nw_ecn": FieldIPECN, "tunnel_id": FieldTunID, "dl_vlan_pcp": FieldVLANPCP, "nw_frag": FieldIPFrag, "nsp": FieldNSHSPI, "nsi": FieldNSHSI,
	"in_port_oxm": FieldInPort, "gtpu_flags": FieldTunGTPUFlags, "gtpu_msgtype": FieldTunGTPUMsgType,
}

// FieldByName finds a field by the name that it has in a match.
func FieldByName(name string) (Field, bool) {
	f, ok := byName[name]
	return f, ok
}

var byName, byNXMName = func() (names, nxm map[string]Field) {
	names, nxm = map[string]Field{}, map[string]Field{}
	for f := range numFields {
		nxm[fields[f].nxm] = f
		if f != FieldNXMInPort {
			names[fields[f].name] = f
		}
	}
	for name, f := range aliases {
		names[name] = f
	}
	return names, nxm
}()

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
func register(n int) Field { return numbered(FieldReg0, n, 16) }

// numbered returns the nth of count fields from first on, or an invalid field.
func numbered(first Field, n, count int) Field {
	if n < 0 || n >= count {
		return numFields
	}
	return first + Field(n)
}

// valid reports whether the subfield is a run of bits of a field.
func (s Subfield) valid() bool {
	return s.Field < numFields && s.Offset >= 0 && s.Size > 0 && s.Offset+s.Size <= s.Field.Bits()
}

// writable reports whether an action may write the bits.
func (s Subfield) writable() bool { return s.valid() && fields[s.Field].does&writable != 0 }

// Whole returns all bits of the field.
func (f Field) Whole() Subfield { return Subfield{f, 0, f.Bits()} }

// Bits returns size bits of s from offset on.
func (s Subfield) Bits(offset, size int) Subfield { return Subfield{s.Field, s.Offset + offset, size} }

// String returns "NXM_NX_REG5[0..15]", or "NXM_OF_ETH_SRC[]" for all bits.
func (s Subfield) String() string {
	name := s.Field.String()
	if s.Field < numFields {
		name = fields[s.Field].nxm
	}
	switch {
	case s.Offset == 0 && s.Size == s.Field.Bits():
		return name + "[]"
	case s.Size == 1:
		return fmt.Sprintf("%s[%d]", name, s.Offset)
	}
	return fmt.Sprintf("%s[%d..%d]", name, s.Offset, s.Offset+s.Size-1)
}
