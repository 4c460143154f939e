package openflow_test

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// A maker makes random flows, over all fields and actions, that Open vSwitch
// takes. The switch must have group 5, meter 1 and the TLV table of tlvMap.
type maker struct{ *rand.Rand }

func (r maker) maybe(n int) bool { return r.IntN(n) == 0 }

func (r maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (r maker) mac() ovs.MAC { return ovs.MAC(r.bytes(6)) }

func (r maker) addr(v6 bool) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(1 + r.IntN(200))})
	}
	return netip.AddrFrom16([16]byte{0xfd, 14: byte(r.Uint32()), 15: byte(1 + r.IntN(200))})
}

// subfield returns size bits of a random register.
func (r maker) subfield(size int) ovs.Subfield {
	return ovs.RegField(r.IntN(16)).Bits(r.IntN(33-size), size)
}

// tlvMap gives tun_metadata0 124 bytes, 1 32 bytes and 2 to 26 4 bytes: all
// 256 that there are.
const tlvLast = 26

func tlvLen(n ovs.Field) int {
	switch {
	case n == 0:
		return 124
	case n == 1:
		return 32
	case n <= tlvLast:
		return 4
	}
	return 0
}

// contexts are matches that make fields and actions possible.
var contexts = []string{
	"", "", "ip", "ipv6", "tcp", "tcp6", "udp", "udp6", "sctp", "sctp6", "icmp", "icmp6", "arp", "rarp", "mpls", "mplsm", "dl_type=0x894f", "dl_type=0x894f,nsh_mdtype=1",
	"icmp6,icmpv6_type=135,icmpv6_code=0", "icmp6,icmpv6_type=136", "dl_vlan=5", "vlan_tci=0", "ip,dl_vlan=9,dl_vlan_pcp=3", "vlan_tci=0x1000/0x1000",
	"ip,ct_state=+trk+est,ct_nw_proto=6", "ipv6,ct_state=+new,ct_nw_proto=17", "packet_type=(1,0x800)", "packet_type=(1,0x894f)", "dl_type=0x1234",
	"tun_erspan_ver=1", "tun_erspan_ver=2",
}

// field returns a random constraint on a field; only some of its bits, if that
// can be.
func (r maker) field(f ovs.Field) (ovs.FieldMatch, bool) {
	n := f.Bytes()
	exact := !f.Maskable() || r.maybe(2)
	if f >= ovs.FieldTunMetadata0 && f < ovs.FieldTunMetadata0+64 {
		if n = tlvLen(f - ovs.FieldTunMetadata0); n == 0 {
			return ovs.FieldMatch{}, false
		}
	}
	v := r.bytes(n)
	mask := r.bytes(n)
	mask[0], mask[n-1] = mask[0]&0x7f, mask[n-1]|1 // neither all nor none
	if n == 16 {
		mask[0], mask[1] = 0xf0, mask[1]&0x7f // ovs-ofctl takes an IPv6 mask that begins with a digit for a length
	}
	switch f {
	case ovs.FieldInPort, ovs.FieldActsetOutput:
		return ovs.NewFieldMatch(f, []byte{0, 0, byte(r.IntN(200)), byte(1 + r.IntN(200))}, nil), true
	case ovs.FieldNXMInPort:
		return ovs.NewFieldMatch(f, []byte{0, byte(r.IntN(200))}, nil), true
	case ovs.FieldTunGBPFlags, ovs.FieldTunERSPANIdx:
		exact = true // ovs-ofctl prints no mask
	case ovs.FieldTunFlags:
		v, mask, exact = []byte{0, byte(r.IntN(2))}, []byte{0, 1}, false
	case ovs.FieldARPOp:
		v[0] = 0
	case ovs.FieldNSHTTL:
		v[0] &= 63
	case ovs.FieldNSHMDType:
		v[0] = byte(1 + r.IntN(2))
	case ovs.FieldIPTOS:
		v[0] &= 0xfc
	case ovs.FieldCTNWProto:
		v[0] |= 1 // the switch does not tell of 0
	case ovs.FieldCTState:
		copy(mask, []byte{0, 0, 0, mask[3] | 0x20})
		v[3], exact = v[3]&^0x10|0x21, false
	case ovs.FieldIPFrag:
		k := r.IntN(5)
		v, mask, exact = []byte{[]byte{0, 1, 1, 3, 0}[k]}, []byte{[]byte{3, 1, 3, 3, 2}[k]}, false
	case ovs.FieldVLANTCI, ovs.FieldVLANVID:
		if v[0] |= 0x10; f == ovs.FieldVLANTCI && mask[0] >= 0x20 {
			mask[0] |= 0xe0
		}
		mask[0] |= 0x10
	case ovs.FieldPacketType, ovs.FieldRecircID, ovs.FieldDPHash, ovs.FieldTunERSPANVer:
		return ovs.FieldMatch{}, false // of contexts, and the switch's own
	}
	if exact {
		mask = nil
	} else {
		for i := range v {
			v[i] &= mask[i]
		}
	}
	return ovs.NewFieldMatch(f, v, mask), true
}

var allFields = slices.Collect(ovs.Fields())

func (r maker) flow(n int) ovs.Flow {
	c := contexts[r.IntN(len(contexts))]
	base, err := ovs.ParseFlow(c + " actions=drop")
	if err != nil {
		panic(c + ": " + err.Error())
	}
	f := ovs.Flow{
		Table: uint8(r.IntN(200)), Priority: uint16(n), Cookie: ovs.MakeCookie(owner, 1, r.Uint32()),
		Flags: ovs.FlowFlags(r.IntN(2)), Match: base.Match,
	}
	if r.maybe(8) {
		f.HardTimeout, f.IdleTimeout = uint16(1000+r.IntN(1000)), uint16(1000+r.IntN(1000))
	}
	if r.maybe(8) {
		f.Importance = uint16(r.Uint32())
	}
	for range r.IntN(12) {
		i := allFields[r.IntN(len(allFields))]
		m, ok := r.field(i)
		if _, has := f.Match.Field(i); !ok || has {
			continue
		}
		// ovs-ofctl prints these only where these are matched too.
		switch i {
		case ovs.FieldNSHC1, ovs.FieldNSHC1 + 1, ovs.FieldNSHC1 + 2, ovs.FieldNSHC1 + 3:
			ok = c == "dl_type=0x894f,nsh_mdtype=1"
		case ovs.FieldTunERSPANIdx:
			ok = c == "tun_erspan_ver=1"
		case ovs.FieldTunERSPANDir, ovs.FieldTunERSPANHWID:
			ok = c == "tun_erspan_ver=2"
		case ovs.FieldVLANTCI:
			_, ok = f.Match.Field(ovs.FieldVLANVID)
			ok = !ok
		}
		if more := f.Match.With(m); ok && more.Validate() == nil && kept(f.Match, more) {
			f.Match = more
		}
	}
	f.Actions = r.actions(f)
	return f
}

// olderFlow returns a flow that OpenFlow before 1.5 can say, and that needs
// neither a meter nor the TLV table.
func (r maker) olderFlow(n int) ovs.Flow {
	newer := regexp.MustCompile("tun_metadata|meter|packet_type|encap|decap|nsh|xreg|XXREG|actset_output")
	for {
		if f := r.flow(n); !newer.MatchString(f.String()) {
			return f
		}
	}
}

// kept reports whether b has all that a has.
func kept(a, b ovs.Match) bool {
	return !slices.ContainsFunc(a.Fields(), func(m ovs.FieldMatch) bool {
		n, ok := b.Field(m.Field)
		return !ok || n != m
	})
}

func (r maker) actions(f ovs.Flow) (list []ovs.Action) {
	if r.maybe(10) {
		for k := range 1 + r.IntN(2) {
			list = append(list, ovs.Conjunction(r.Uint32(), uint8(1+k), uint8(2+r.IntN(3))))
		}
		if r.maybe(2) {
			list = append(list, ovs.Note(r.bytes(r.IntN(20))))
		}
		return list
	}
	add := func(more ...ovs.Action) {
		with := ovs.Flow{Table: f.Table, Match: f.Match, Actions: append(slices.Clip(list), more...)}
		if with.Validate() == nil {
			list = with.Actions
		}
	}
	if r.maybe(20) {
		list = []ovs.Action{ovs.Meter(1)} // ovs-ofctl wants it first
	}
	for range r.IntN(6) {
		add(r.action()...)
	}
	add(r.last()...)
	if r.maybe(6) {
		add(ovs.ClearActions())
	}
	if r.maybe(6) {
		add(ovs.WriteActions(ovs.SetField(ovs.Reg(0, r.Uint32())), ovs.Output(1+r.Uint32N(5))))
	}
	if r.maybe(6) {
		add(ovs.WriteMetadata(r.Uint64(), r.Uint64()))
	}
	if r.maybe(2) {
		add(ovs.Goto(f.Table + 1 + uint8(r.IntN(50))))
	}
	return list
}

// last returns actions after which a packet is another.
func (r maker) last() []ovs.Action {
	switch r.IntN(12) {
	case 0:
		return []ovs.Action{ovs.PushMPLS(0x8847 + uint16(r.IntN(2))), ovs.SetField(field(ovs.FieldMPLSLabel, r.Uint32N(1<<20))), ovs.SetMPLSTTL(uint8(r.Uint32())), ovs.DecMPLSTTL()}
	case 1:
		return []ovs.Action{ovs.SetField(field(ovs.FieldMPLSTC, r.Uint32N(8))), ovs.PopMPLS(0x0800), ovs.DecTTL()}
	case 2:
		return []ovs.Action{ovs.EncapNSH(1), ovs.SetField(field(ovs.FieldNSHSPI, r.Uint32N(1<<24))), ovs.DecNSHTTL(), ovs.Encap(ovs.PacketEthernet)}
	case 3:
		return []ovs.Action{ovs.EncapNSH(2, ovs.NSHTLV{Class: 0x1000, Type: 3, Value: "\x01" + string(r.bytes(r.IntN(20)))}, ovs.NSHTLV{Class: 7, Type: 9, Value: "1234"})}
	case 4:
		return []ovs.Action{ovs.Decap()}
	case 5:
		return []ovs.Action{ovs.DecapAction{PacketType: ovs.PacketEthernet}}
	case 6:
		return []ovs.Action{ovs.Encap(ovs.PacketMPLS)}
	}
	return nil
}

// field returns an exact constraint on a field of up to 32 bits.
func field(f ovs.Field, v uint32) ovs.FieldMatch {
	b := []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return ovs.NewFieldMatch(f, b[4-f.Bytes():], nil)
}

func (r maker) action() []ovs.Action {
	one := func(a ovs.Action) []ovs.Action { return []ovs.Action{a} }
	size := 1 + r.IntN(32)
	port := 1 + r.Uint32N(5)
	switch r.IntN(36) {
	case 0:
		return one([]ovs.Action{ovs.OutputInPort(), ovs.Output(ovs.PortNormal), ovs.Output(ovs.PortFlood), ovs.Output(ovs.PortAll), ovs.Output(ovs.PortLocal)}[r.IntN(5)])
	case 1:
		return one(ovs.OutputField(r.subfield(1 + r.IntN(16))))
	case 2:
		return one(ovs.ClearInPort())
	case 3:
		ether := []uint16{0x8100, 0x88a8}[r.IntN(2)]
		return []ovs.Action{ovs.PushVLANAction{EtherType: ether}, ovs.SetField(ovs.VLANVID(uint16(r.IntN(4096)))), ovs.SetField(field(ovs.FieldVLANPCP, r.Uint32N(8))), ovs.PopVLAN()}
	case 4:
		return one(ovs.Resubmit(uint8(r.IntN(255))))
	case 5:
		return one([]ovs.Action{ovs.ResubmitPort(port, 255), ovs.ResubmitPort(port, uint8(r.IntN(255))), ovs.ResubmitCT(uint8(r.IntN(255)))}[r.IntN(3)])
	case 6:
		return one(ovs.ToGroup(5))
	case 7:
		return one(ovs.Controller(uint16(r.Uint32())))
	case 8:
		a := ovs.ControllerAction{MaxLen: uint16(r.Uint32()), Reason: uint8(r.IntN(6)), ID: uint16(r.Uint32()), Pause: r.maybe(2), UserData: string(r.bytes(r.IntN(12)))}
		if r.maybe(2) {
			a.Meter = 1
		}
		return one(a)
	case 9:
		return one(ovs.Load(r.Uint64(), r.subfield(size)))
	case 10:
		return one(ovs.Move(r.subfield(size), r.subfield(size)))
	case 11:
		f := allFields[r.IntN(len(allFields))]
		if f.Bits() > 128 {
			return nil
		}
		return one(ovs.Move(f.Whole(), ovs.Subfield{Field: ovs.FieldXXReg0, Offset: r.IntN(129 - f.Bits()), Size: f.Bits()}))
	case 12:
		return []ovs.Action{ovs.StackPush(r.subfield(size)), ovs.StackPop(r.subfield(size))}
	case 13:
		return []ovs.Action{ovs.SetQueue(r.Uint32()), ovs.Output(port), ovs.PopQueue()}
	case 14:
		return one(ovs.DecNSHTTL())
	case 15:
		return one(ovs.Note(r.bytes(r.IntN(30))))
	case 16:
		return one(ovs.FinTimeout(uint16(r.Uint32()), uint16(r.Uint32())))
	case 17:
		return one(ovs.OutputMax(port, 14+r.Uint32N(9000)))
	case 18:
		return one(ovs.CheckPktLarger(uint16(r.Uint32()), r.subfield(1)))
	case 19:
		return one(ovs.Sample(ovs.SampleSpec{Probability: uint16(1 + r.IntN(65535)), Collectors: r.Uint32(), Domain: r.Uint32(), Point: r.Uint32(), Port: r.Uint32N(3), Direction: uint8(r.IntN(3))}))
	case 20:
		return one(ovs.Multipath(ovs.MultipathSpec{Hash: ovs.HashFields(r.IntN(7)), Basis: uint16(r.Uint32()), Algorithm: uint8(r.IntN(4)), Links: 1 + r.Uint32N(16), Arg: r.Uint32(), Dst: r.subfield(5 + r.IntN(28))}))
	case 21:
		s := ovs.BundleSpec{Hash: ovs.HashFields(r.IntN(7)), Basis: uint16(r.Uint32()), Algorithm: uint8(r.IntN(2))}
		for range r.IntN(5) {
			s.Members = append(s.Members, uint16(1+r.IntN(100)))
		}
		if r.maybe(2) {
			s.Dst = r.subfield(16 + r.IntN(17))
		}
		return one(ovs.Bundle(s))
	case 22:
		return one(ovs.CTClear())
	case 23:
		return []ovs.Action{ovs.Clone(append(r.action(), ovs.Output(port))...)}
	case 24:
		return one(ovs.Exit())
	case 25:
		return one([]ovs.Action{ovs.DecTTL(), ovs.DecTTLTo(1, uint16(r.Uint32())), ovs.SetTTL(uint8(r.Uint32()))}[r.IntN(3)])
	case 26:
		return one(ovs.DeleteField(ovs.FieldTunMetadata0 + ovs.Field(r.IntN(tlvLast+1))))
	case 27, 28, 29:
		return one(r.ct())
	case 30, 31:
		return one(r.learn())
	case 32:
		return one(ovs.Output(port))
	}
	if m, ok := r.field(allFields[r.IntN(len(allFields))]); ok && m.Field != ovs.FieldTunFlags {
		return one(ovs.SetField(m))
	}
	return nil
}

func (r maker) ct() ovs.Action {
	o := ovs.CTOptions{Commit: r.maybe(2), Zone: uint16(r.Uint32())}
	if r.maybe(2) {
		s := r.subfield(16)
		o.Zone, o.ZoneField = 0, &s
	}
	if r.maybe(2) {
		o.HasTable, o.Table = true, uint8(r.IntN(250))
	}
	switch {
	case o.Commit && r.maybe(2):
		n := ovs.NAT{Src: r.maybe(2)}
		n.Dst = !n.Src
		if n.Min = r.addr(r.maybe(2)); r.maybe(2) {
			n.Max = n.Min.Next()
		}
		if r.maybe(2) {
			n.PortMin, n.PortMax = 1000, uint16(999+r.IntN(5))
		}
		n.Persistent = r.maybe(3)
		if n.Hash = r.maybe(3); !n.Hash {
			n.Random = r.maybe(3)
		}
		o.NAT = &n
	case r.maybe(3):
		o.NAT = &ovs.NAT{}
	}
	if o.Commit && r.maybe(2) {
		o.Force, o.Alg = r.maybe(3), []uint16{0, 21, 69}[r.IntN(3)]
		o.Exec = []ovs.Action{ovs.SetField(ovs.CTMarkMasked(r.Uint32(), r.Uint32()|1)), ovs.SetField(ovs.CTLabelMasked(r.Uint64(), r.Uint64(), r.Uint64()|1, r.Uint64()))}
		if r.maybe(2) {
			o.Exec = append(o.Exec, ovs.Move(ovs.RegField(3), ovs.FieldCTMark.Whole()))
		}
	}
	return ovs.CT(o)
}

func (r maker) learn() ovs.Action {
	l := ovs.LearnSpec{
		Table: uint8(r.IntN(250)), Priority: uint16(r.Uint32()), Cookie: r.Uint64(), IdleTimeout: uint16(r.Uint32()), HardTimeout: uint16(r.Uint32()),
		DeleteLearned: r.maybe(3), SendFlowRemoved: r.maybe(3), Match: []ovs.FieldMatch{ovs.EthType(0x0800), ovs.IPProto(17)},
		Copy: []ovs.Field{ovs.FieldEthSrc},
	}
	if r.maybe(3) {
		l.FinIdleTimeout, l.FinHardTimeout = uint16(r.Uint32()), uint16(r.Uint32())
	}
	if r.maybe(3) {
		l.Limit = r.Uint32()
	}
	if r.maybe(3) {
		l.Result = r.subfield(1)
	}
	size := 1 + r.IntN(32)
	if r.maybe(2) {
		l.MatchFrom = []ovs.LearnLoad{{Src: ovs.EthSrcField, Dst: ovs.EthDstField}, {Src: ovs.FieldVLANTCI.Whole().Bits(0, 12), Dst: ovs.FieldVLANTCI.Whole().Bits(0, 12)}}
		l.Match = append(l.Match, ovs.MatchBits(r.subfield(size), r.bytes(4)))
	}
	l.Load = append(l.Load, ovs.MatchBits(r.subfield(size), r.bytes(4)), ovs.EthDst(r.mac()), ovs.Reg(2, r.Uint32()))
	l.LoadFrom = append(l.LoadFrom, ovs.LearnLoad{Src: r.subfield(size), Dst: r.subfield(size)})
	if r.maybe(2) {
		l.Output = []ovs.Subfield{ovs.FieldNXMInPort.Whole()}
	}
	return ovs.Learn(l)
}
