package openflow_test

import (
	"math/rand/v2"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// A maker makes random flows that Open vSwitch takes.
type maker struct{ *rand.Rand }

func (r maker) maybe(n int) bool { return r.IntN(n) == 0 }

func (r maker) mac() (m ovs.MAC) {
	for i := range m {
		m[i] = byte(r.Uint32())
	}
	m[0] &^= 1
	return m
}

func (r maker) addr(v6 bool) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(1 + r.IntN(200))})
	}
	return netip.AddrFrom16([16]byte{0xfd, 14: byte(r.Uint32()), 15: byte(1 + r.IntN(200))})
}

func (r maker) prefix(v6 bool) netip.Prefix {
	a := r.addr(v6)
	p, _ := a.Prefix(1 + r.IntN(a.BitLen()))
	return p
}

// subfield returns size bits of a random register.
func (r maker) subfield(size int) ovs.Subfield {
	return ovs.RegField(r.IntN(16)).Bits(r.IntN(33-size), size)
}

func (r maker) flow(n int) ovs.Flow {
	f := ovs.Flow{
		Table: uint8(r.IntN(200)), Priority: uint16(n), Cookie: ovs.MakeCookie(owner, 1, r.Uint32()),
		Flags: ovs.FlowFlags(r.IntN(2)),
	}
	if r.maybe(8) {
		f.HardTimeout = uint16(1000 + r.IntN(1000))
	}
	var m []ovs.FieldMatch
	for _, c := range []func() ovs.FieldMatch{
		func() ovs.FieldMatch { return ovs.InPort(1 + r.Uint32N(5)) },
		func() ovs.FieldMatch { return ovs.MetadataMasked(r.Uint64(), r.Uint64()) },
		func() ovs.FieldMatch { return ovs.TunID(r.Uint64N(1 << 24)) },
		func() ovs.FieldMatch { return ovs.TunSrc(r.addr(false)) },
		func() ovs.FieldMatch { return ovs.TunDst(r.addr(true)) },
		func() ovs.FieldMatch { return ovs.PktMark(r.Uint32()) },
		func() ovs.FieldMatch { return ovs.RegMasked(r.IntN(16), r.Uint32(), r.Uint32()) },
		func() ovs.FieldMatch { return ovs.Reg(r.IntN(16), r.Uint32()) },
		func() ovs.FieldMatch { return ovs.Reg(r.IntN(16), 0) },
		func() ovs.FieldMatch { return ovs.EthSrc(r.mac()) },
		func() ovs.FieldMatch { return ovs.EthDstMasked(r.mac(), r.mac()) },
		func() ovs.FieldMatch { return ovs.VLANVID(uint16(r.IntN(4096))) },
		func() ovs.FieldMatch { return ovs.NoVLAN() },
		func() ovs.FieldMatch { return ovs.ConjID(r.Uint32()) },
	} {
		if r.maybe(5) {
			m = append(m, c())
		}
	}
	ether := []uint16{0, 0x0800, 0x86dd, 0x0806}[r.IntN(4)]
	proto := uint8(0)
	if ether != 0 {
		m = append(m, ovs.EthType(ether))
	}
	v6 := ether == 0x86dd
	switch ether {
	case 0x0800, 0x86dd:
		if proto = []uint8{0, 6, 17, 132, 1}[r.IntN(5)]; proto == 1 && v6 {
			proto = 58
		}
		m = append(m, r.ip(v6, proto)...)
	case 0x0806:
		m = append(m, ovs.ARPOp(uint16(1+r.IntN(2))), ovs.ARPSpa(r.prefix(false)), ovs.ARPTha(r.mac()))
	}
	f.Match = ovs.NewMatch(m...)
	f.Actions = r.actions(f.Table, ether, proto)
	return f
}

func (r maker) ip(v6 bool, proto uint8) (m []ovs.FieldMatch) {
	if proto != 0 {
		m = append(m, ovs.IPProto(proto))
	}
	port := uint16(r.Uint32())
	for _, c := range []func() ovs.FieldMatch{
		func() ovs.FieldMatch { return ovs.IPSrc(r.prefix(v6)) },
		func() ovs.FieldMatch { return ovs.IPDst(r.prefix(v6)) },
		func() ovs.FieldMatch { return ovs.IPTTL(uint8(r.Uint32())) },
		func() ovs.FieldMatch {
			return ovs.CTState((ovs.CTTrk|ovs.CTStateBits(r.IntN(256)))&^ovs.CTInv, ovs.CTStateBits(r.IntN(256)))
		},
		func() ovs.FieldMatch { return ovs.CTZone(port) },
		func() ovs.FieldMatch { return ovs.CTMarkMasked(r.Uint32(), r.Uint32()) },
		func() ovs.FieldMatch { return ovs.CTLabelMasked(r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()) },
	} {
		if r.maybe(4) {
			m = append(m, c())
		}
	}
	switch proto {
	case 6:
		m = append(m, ovs.TCPDstMasked(port, uint16(r.Uint32())), ovs.TCPFlags(2, 0x12))
	case 17:
		m = append(m, ovs.UDPSrc(port))
	case 132:
		m = append(m, ovs.SCTPDst(port))
	case 1:
		m = append(m, ovs.ICMPType(8), ovs.ICMPCode(0))
	case 58:
		m = append(m, ovs.ICMPv6Type(135), ovs.ICMPv6Code(0), ovs.NDTarget(r.addr(true)), ovs.NDSLL(r.mac()))
	}
	return m
}

func (r maker) actions(table uint8, ether uint16, proto uint8) (list []ovs.Action) {
	if r.maybe(10) {
		for k := range 1 + r.IntN(2) {
			list = append(list, ovs.Conjunction(r.Uint32(), uint8(1+k), uint8(2+r.IntN(3))))
		}
		return list
	}
	for range r.IntN(6) {
		list = append(list, r.action(ether, proto)...)
	}
	if r.maybe(2) {
		list = append(list, ovs.Goto(table+1+uint8(r.IntN(50))))
	}
	return list
}

func (r maker) action(ether uint16, proto uint8) []ovs.Action {
	one := func(a ovs.Action) []ovs.Action { return []ovs.Action{a} }
	set := func(m ovs.FieldMatch) []ovs.Action { return one(ovs.SetField(m)) }
	v6 := ether == 0x86dd
	size := 1 + r.IntN(32)
	if ip := ether == 0x0800 || v6; ip && r.maybe(2) {
		switch r.IntN(6) {
		case 0:
			return one(ovs.DecTTL())
		case 1:
			return set(ovs.IPTTL(64))
		case 2:
			a := r.addr(v6)
			return set(ovs.IPDst(netip.PrefixFrom(a, a.BitLen())))
		case 3:
			if proto == 6 {
				return set(ovs.TCPDst(uint16(r.Uint32())))
			}
		case 4:
			return one(r.learn(v6, proto))
		}
		return one(r.ct(v6))
	}
	switch r.IntN(18) {
	case 0:
		return one(ovs.OutputInPort())
	case 1:
		return one(ovs.Output(ovs.PortNormal))
	case 2:
		return one(ovs.OutputField(r.subfield(1 + r.IntN(16))))
	case 3:
		return one(ovs.ClearInPort())
	case 4:
		return []ovs.Action{ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(uint16(r.IntN(4096)))), ovs.PopVLAN()}
	case 5:
		return one(ovs.Resubmit(uint8(r.IntN(255))))
	case 6:
		return one(ovs.ToGroup(5))
	case 7:
		return one(ovs.Controller(uint16(r.Uint32())))
	case 8:
		return set(ovs.RegMasked(r.IntN(16), r.Uint32(), r.Uint32()|1))
	case 9:
		return set(ovs.Reg(r.IntN(16), r.Uint32()))
	case 10:
		return one(ovs.Load(r.Uint64(), r.subfield(size)))
	case 11:
		return set(ovs.MetadataMasked(r.Uint64(), r.Uint64()|1))
	case 12:
		return []ovs.Action{ovs.SetField(ovs.TunID(r.Uint64N(1 << 24))), ovs.SetField(ovs.TunDst(r.addr(false)))}
	case 13:
		return set(ovs.TunDst(r.addr(true)))
	case 14:
		return set(ovs.EthDst(r.mac()))
	case 15:
		return one(ovs.Move(r.subfield(size), r.subfield(size)))
	case 16:
		return one(ovs.Move(ovs.EthSrcField, ovs.EthDstField))
	}
	return one(ovs.Output(1 + r.Uint32N(5)))
}

func (r maker) ct(v6 bool) ovs.Action {
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
		if n.Min = r.addr(v6); r.maybe(2) {
			n.Max = n.Min.Next()
		}
		if r.maybe(2) {
			n.PortMin, n.PortMax = 1000, uint16(999+r.IntN(5))
		}
		n.Random, n.Persistent = r.maybe(3), r.maybe(3)
		o.NAT = &n
	case r.maybe(3):
		o.NAT = &ovs.NAT{}
	}
	if o.Commit && r.maybe(2) {
		o.Force = r.maybe(3)
		o.Exec = []ovs.Action{ovs.SetField(ovs.CTMarkMasked(r.Uint32(), r.Uint32()|1)), ovs.SetField(ovs.CTLabelMasked(r.Uint64(), r.Uint64(), r.Uint64()|1, r.Uint64()))}
		if r.maybe(2) {
			o.Exec = append(o.Exec, ovs.Move(ovs.RegField(3), ovs.FieldCTMark.Whole()))
		}
	}
	return ovs.CT(o)
}

func (r maker) learn(v6 bool, proto uint8) ovs.Action {
	l := ovs.LearnSpec{
		Table: uint8(r.IntN(250)), Priority: uint16(r.Uint32()), Cookie: r.Uint64(), IdleTimeout: uint16(r.Uint32()),
		DeleteLearned: r.maybe(3), Match: []ovs.FieldMatch{ovs.EthType(0x0800)}, Copy: []ovs.Field{ovs.FieldIPv4Src},
	}
	if v6 {
		l.Match, l.Copy = []ovs.FieldMatch{ovs.EthType(0x86dd)}, []ovs.Field{ovs.FieldIPv6Dst}
	}
	if proto == 17 {
		l.Match, l.Copy = append(l.Match, ovs.IPProto(17)), append(l.Copy, ovs.FieldUDPDst)
	}
	size := 1 + r.IntN(32)
	m, _ := ovs.Load(r.Uint64(), r.subfield(size)).(ovs.SetFieldAction)
	l.Load = append(l.Load, m.FieldMatch, ovs.EthDst(r.mac()), ovs.Reg(2, r.Uint32()))
	l.LoadFrom = append(l.LoadFrom, ovs.LearnLoad{Src: r.subfield(size), Dst: r.subfield(size)})
	return ovs.Learn(l)
}
