package ovs

import (
	"fmt"
	"strings"
)

// Actions on headers.
type (
	// PushMPLSAction adds a label of EtherType 0x8847 or 0x8848.
	PushMPLSAction struct{ EtherType uint16 }
	// PopMPLSAction removes the outermost label; EtherType is what is then outermost.
	PopMPLSAction struct{ EtherType uint16 }
	// SetMPLSTTLAction writes the TTL of the outermost label.
	SetMPLSTTLAction struct{ TTL uint8 }
	// DecMPLSTTLAction subtracts one from it.
	DecMPLSTTLAction struct{}
	// SetTTLAction writes TTL or hop limit.
	SetTTLAction struct{ TTL uint8 }
	// DecTTLIDsAction is DecTTLAction that tells these controllers of packets
	// whose TTL ran out.
	DecTTLIDsAction struct{ IDs []uint16 }
	// DecNSHTTLAction subtracts one from the TTL of a network service header.
	DecNSHTTLAction struct{}
	// EncapAction puts a header in front.
	EncapAction struct {
		PacketType uint32 // PacketEthernet, PacketNSH, PacketMPLS or PacketMPLSMulticast
		MDType     uint8  // of an NSH: 1 or 2, 0 is 1
		TLVs       []NSHTLV
	}
	// DecapAction takes the outermost header off.
	DecapAction struct{ PacketType uint32 } // PacketNext, or what is then outermost
	// DeleteFieldAction removes a tun_metadata.
	DeleteFieldAction struct{ Field Field }
)

// An NSHTLV is metadata of a network service header of type 2 (RFC 8300, section 2.5.1).
type NSHTLV struct {
	Class uint16
	Type  uint8
	Value string // to 127 bytes
}

// Packet types (OpenFlow 1.5, section 7.2.3.11): a name space and a type in it.
const (
	PacketEthernet      uint32 = 0
	PacketNSH           uint32 = packetTypeEther<<16 | etherNSH
	PacketMPLS          uint32 = packetTypeEther<<16 | etherMPLS
	PacketMPLSMulticast uint32 = packetTypeEther<<16 | etherMPLSM
	PacketNext          uint32 = 0xfffe // what the header that is taken off says
)

var packetNames = map[uint32]string{
	PacketEthernet: "ethernet", PacketNSH: "nsh", PacketMPLS: "mpls", PacketMPLSMulticast: "mpls_mc",
}

const etherVLAN = 0x8100

func (PushMPLSAction) action()    {}
func (PopMPLSAction) action()     {}
func (SetMPLSTTLAction) action()  {}
func (DecMPLSTTLAction) action()  {}
func (SetTTLAction) action()      {}
func (DecTTLIDsAction) action()   {}
func (DecNSHTTLAction) action()   {}
func (EncapAction) action()       {}
func (DecapAction) action()       {}
func (DeleteFieldAction) action() {}

// PushMPLS adds a label of EtherType 0x8847 or 0x8848.
func PushMPLS(etherType uint16) Action { return PushMPLSAction{etherType} }

// PopMPLS removes the outermost label; etherType is what is then outermost.
func PopMPLS(etherType uint16) Action { return PopMPLSAction{etherType} }

// SetMPLSTTL writes the TTL of the outermost label.
func SetMPLSTTL(ttl uint8) Action { return SetMPLSTTLAction{ttl} }

// DecMPLSTTL subtracts one from the TTL of the outermost label.
func DecMPLSTTL() Action { return DecMPLSTTLAction{} }

// SetTTL writes TTL or hop limit.
func SetTTL(ttl uint8) Action { return SetTTLAction{ttl} }

// DecTTLTo is [DecTTL] that sends packets whose TTL ran out to these controllers.
func DecTTLTo(ids ...uint16) Action { return DecTTLIDsAction{ids} }

// DecNSHTTL subtracts one from the TTL of a network service header.
func DecNSHTTL() Action { return DecNSHTTLAction{} }

// Encap puts a header in front.
func Encap(packetType uint32) Action { return EncapAction{PacketType: packetType} }

// EncapNSH puts a network service header with metadata of type 1 or 2 in front.
func EncapNSH(mdType uint8, tlvs ...NSHTLV) Action { return EncapAction{PacketNSH, mdType, tlvs} }

// Decap takes the outermost header off.
func Decap() Action { return DecapAction{PacketNext} }

// DeleteField removes a tun_metadata.
func DeleteField(f Field) Action { return DeleteFieldAction{f} }

func (a PushMPLSAction) String() string    { return fmt.Sprintf("push_mpls:%#x", a.EtherType) }
func (a PopMPLSAction) String() string     { return fmt.Sprintf("pop_mpls:%#x", a.EtherType) }
func (a SetMPLSTTLAction) String() string  { return fmt.Sprintf("set_mpls_ttl:%d", a.TTL) }
func (DecMPLSTTLAction) String() string    { return "dec_mpls_ttl" }
func (a SetTTLAction) String() string      { return fmt.Sprintf("mod_nw_ttl:%d", a.TTL) }
func (a DecTTLIDsAction) String() string   { return "dec_ttl(" + join(a.IDs) + ")" }
func (DecNSHTTLAction) String() string     { return "dec_nsh_ttl" }
func (a DeleteFieldAction) String() string { return "delete_field:" + a.Field.String() }

func (a EncapAction) String() string {
	s := packetNames[a.PacketType]
	if s == "" {
		s = fmt.Sprintf("%#x", a.PacketType)
	}
	var p []string
	if a.MDType != 0 {
		p = append(p, fmt.Sprintf("md_type=%d", a.MDType))
	}
	for _, t := range a.TLVs {
		p = append(p, fmt.Sprintf("tlv(%#04x,%d,0x%x)", t.Class, t.Type, t.Value))
	}
	if len(p) > 0 {
		s += "(" + strings.Join(p, ",") + ")"
	}
	return "encap(" + s + ")"
}

func (a DecapAction) String() string {
	if a.PacketType == PacketNext {
		return "decap()"
	}
	return fmt.Sprintf("decap(packet_type(ns=%d,type=%#x))", a.PacketType>>16, a.PacketType&0xffff)
}

// join returns numbers with commas between.
func join[T uint16 | uint32](list []T) string {
	p := make([]string, len(list))
	for i, v := range list {
		p[i] = fmt.Sprint(v)
	}
	return strings.Join(p, ",")
}
