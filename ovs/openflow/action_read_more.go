package openflow

import (
	"github.com/tierloom/tierloom/ovs"
)

// readMore reads the less usual of Nicira's actions.
func readMore(sub uint16, r *reader) (ovs.Action, error) {
	switch sub {
	case nxPopQueue:
		return ovs.PopQueue(), nil
	case nxExit:
		return ovs.Exit(), nil
	case nxCTClear:
		return ovs.CTClear(), nil
	case nxDecNSHTTL:
		return ovs.DecNSHTTL(), nil
	case nxNote:
		return ovs.NoteAction{Data: string(r.b)}, nil
	case nxFinTimeout:
		return ovs.FinTimeout(r.u16(), r.u16()), nil
	case nxOutputTrunc:
		port := r.u16()
		if port == inPort16 {
			return ovs.OutputMax(ovs.PortInPort, r.u32()), nil
		}
		return ovs.OutputMax(portOf(port), r.u32()), nil
	case nxDecTTLIDs:
		return readTTLIDs(r)
	case nxPush, nxPop, nxCheckPktLarger:
		return readBits(sub, r)
	case nxDeleteField:
		f, ok := readField(r)
		if !ok {
			return nil, errUnknown
		}
		return ovs.DeleteField(f), nil
	case nxController:
		return ovs.ControllerAction{MaxLen: r.u16(), ID: r.u16(), Reason: r.u8()}, nil
	case nxController2:
		return readController2(r)
	case nxSample, nxSample2, nxSample3:
		return readSample(sub, r), nil
	case nxMultipath:
		return readMultipath(r)
	case nxBundle, nxBundleLoad:
		return readBundle(sub, r)
	case nxEncap:
		return readEncap(r)
	case nxDecap:
		r.skip(2)
		return ovs.DecapAction{PacketType: r.u32()}, nil
	}
	return nil, errUnknown
}

func readTTLIDs(r *reader) (ovs.Action, error) {
	n := int(r.u16())
	r.skip(4)
	if 2*n > len(r.b) {
		return nil, malformed("dec_ttl to %d controllers in %d bytes", n, len(r.b))
	}
	ids := make([]uint16, n)
	for i := range ids {
		ids[i] = r.u16()
	}
	return ovs.DecTTLTo(ids...), nil
}

// readBits reads push, pop and check_pkt_larger, which end with bits of a field.
func readBits(sub uint16, r *reader) (ovs.Action, error) {
	var length uint16
	if sub == nxCheckPktLarger {
		length = r.u16()
	}
	offset := int(r.u16())
	f, ok := readField(r)
	s := ovs.Subfield{Field: f, Offset: offset, Size: 1}
	if sub != nxCheckPktLarger {
		s.Size = int(r.u16())
	}
	if !ok || r.bad || s.Size == 0 || s.Offset+s.Size > f.Bits() {
		return nil, errUnknown
	}
	switch sub {
	case nxPush:
		return ovs.StackPush(s), nil
	case nxPop:
		return ovs.StackPop(s), nil
	}
	return ovs.CheckPktLarger(length, s), nil
}

func readController2(r *reader) (ovs.Action, error) {
	a := ovs.ControllerAction{MaxLen: 0xffff, Reason: ovs.ReasonAction}
	r.skip(6)
	for len(r.b) >= 4 {
		if be.Uint32(r.b) == 0 {
			break // padding
		}
		typ, v, err := r.property()
		if err != nil {
			return nil, err
		}
		switch typ {
		case ctrlMaxLen:
			a.MaxLen = v.u16()
		case ctrlID:
			a.ID = v.u16()
		case ctrlReason:
			a.Reason = v.u8()
		case ctrlUserData:
			a.UserData = string(v.b)
		case ctrlPause:
			a.Pause = true
		case ctrlMeter:
			a.Meter = v.u32()
		default:
			return nil, errUnknown
		}
		if v.bad {
			return nil, malformed("property %d of a controller action is cut short", typ)
		}
	}
	return a, nil
}

func readSample(sub uint16, r *reader) ovs.Action {
	s := ovs.SampleSpec{Probability: r.u16(), Collectors: r.u32(), Domain: r.u32(), Point: r.u32()}
	if sub == nxSample {
		return ovs.Sample(s)
	}
	switch port := r.u16(); port {
	case noPort16:
	case inPort16:
		s.Port = ovs.PortInPort
	default:
		s.Port = portOf(port)
	}
	if sub == nxSample3 {
		s.Direction = r.u8()
	}
	return ovs.Sample(s)
}

func readMultipath(r *reader) (ovs.Action, error) {
	s := ovs.MultipathSpec{Hash: ovs.HashFields(r.u16()), Basis: r.u16()}
	r.skip(2)
	algorithm := r.u16()
	s.Algorithm, s.Links, s.Arg = uint8(algorithm), uint32(r.u16())+1, r.u32()
	r.skip(2)
	bits := r.u16()
	f, ok := readField(r)
	if !ok || algorithm > 0xff {
		return nil, errUnknown
	}
	s.Dst = readRange(bits, f)
	return ovs.Multipath(s), nil
}

func readBundle(sub uint16, r *reader) (ovs.Action, error) {
	algorithm := r.u16()
	s := ovs.BundleSpec{Algorithm: uint8(algorithm), Hash: ovs.HashFields(r.u16()), Basis: r.u16()}
	kind, ok := readField(r)
	n, bits := int(r.u16()), r.u16()
	if sub == nxBundleLoad {
		f, known := readField(r)
		ok = ok && known
		s.Dst = readRange(bits, f)
	} else {
		r.skip(4)
	}
	r.skip(4)
	switch {
	case r.bad || 2*n > len(r.b):
		return nil, malformed("bundle of %d members in %d bytes", n, len(r.b))
	case !ok || kind != ovs.FieldNXMInPort || algorithm > 0xff:
		return nil, errUnknown
	}
	for range n {
		s.Members = append(s.Members, r.u16())
	}
	return ovs.Bundle(s), nil
}

func readEncap(r *reader) (ovs.Action, error) {
	r.skip(2)
	a := ovs.EncapAction{PacketType: r.u32()}
	for len(r.b) >= 8 && be.Uint32(r.b) != 0 {
		class, typ, n := r.u16(), r.u8(), int(r.u8())
		v := r.sub(n - 4)
		r.skip(min(-n&7, len(r.b)))
		if r.bad {
			return nil, malformed("property of encap of length %d", n)
		}
		switch {
		case class != propNSH:
			return nil, errUnknown
		case typ == propNSHMDType:
			a.MDType = v.u8()
		case typ == propNSHTLV:
			t := ovs.NSHTLV{Class: v.u16(), Type: v.u8()}
			t.Value = string(v.take(int(v.u8())))
			a.TLVs = append(a.TLVs, t)
		default:
			return nil, errUnknown
		}
		if v.bad {
			return nil, malformed("property of encap of length %d", n)
		}
	}
	return a, nil
}
