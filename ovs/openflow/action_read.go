package openflow

import (
	"errors"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// maxNesting bounds actions within actions.
const maxNesting = 4

// readInstructions reads the instructions of a flow as a list of actions.
func readInstructions(b []byte) ([]ovs.Action, error) {
	r := reader{b: b}
	var list []ovs.Action
	var next ovs.Action
	for len(r.b) > 0 {
		typ, n := r.u16(), int(r.u16())
		body := r.sub(n - 4)
		if r.bad || n < 8 {
			return nil, malformed("instruction of length %d", n)
		}
		switch typ {
		case 1:
			next = ovs.Goto(body.u8())
		case 4:
			body.skip(4)
			var err error
			if list, err = readActions(body.b, 0); err != nil {
				return nil, err
			}
		default:
			return nil, malformed("instruction of type %d", typ)
		}
	}
	if next != nil {
		list = append(list, next)
	}
	return list, nil
}

func readActions(b []byte, depth int) ([]ovs.Action, error) {
	if depth > maxNesting {
		return nil, malformed("actions nested deeper than %d", maxNesting)
	}
	r := reader{b: b}
	var list []ovs.Action
	for len(r.b) > 0 {
		typ, n := r.u16(), int(r.u16())
		body := r.sub(n - 4)
		if r.bad || n < 8 {
			return nil, malformed("action of length %d", n)
		}
		a, err := readKnown(typ, body, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// errUnknown says that package ovs cannot say an action. It is then kept as it is.
var errUnknown = errors.New("unknown action")

// readKnown reads an action, whose body has the length that its header says.
func readKnown(typ uint16, body reader, depth int) (ovs.Action, error) {
	whole := body.b
	a, err := readAction(typ, &body, depth)
	switch {
	case errors.Is(err, errUnknown):
		wire := be.AppendUint16(be.AppendUint16(nil, typ), uint16(len(whole)+4))
		return ovs.UnknownAction{Wire: string(append(wire, whole...))}, nil
	case err == nil && body.bad:
		return nil, malformed("action of type %d is cut short", typ)
	}
	return a, err
}

func readAction(typ uint16, r *reader, depth int) (ovs.Action, error) {
	switch typ {
	case actOutput:
		port, most := r.u32(), r.u16()
		if port == ovs.PortController {
			return ovs.Controller(most), nil
		}
		return ovs.Output(port), nil
	case actPushVLAN:
		if r.u16() != etherVLAN {
			return nil, errUnknown
		}
		return ovs.PushVLAN(), nil
	case actPopVLAN:
		return ovs.PopVLAN(), nil
	case actDecTTL:
		return ovs.DecTTL(), nil
	case actGroup:
		return ovs.ToGroup(r.u32()), nil
	case actSetField:
		m, known := readOXM(r)
		if !known {
			return nil, errUnknown
		}
		return ovs.SetField(m), nil
	case actCopyField:
		bits, from, to := int(r.u16()), int(r.u16()), int(r.u16())
		r.skip(2)
		src, ok1 := readField(r)
		dst, ok2 := readField(r)
		if !ok1 || !ok2 {
			return nil, errUnknown
		}
		return ovs.Move(ovs.Subfield{Field: src, Offset: from, Size: bits}, ovs.Subfield{Field: dst, Offset: to, Size: bits}), nil
	case actExperimenter:
		if r.u32() != nicira {
			return nil, errUnknown
		}
		return readNicira(r.u16(), r, depth)
	}
	return nil, errUnknown
}

// readField reads the header of a field without a value.
func readField(r *reader) (ovs.Field, bool) {
	f, n, ok := ovs.ReadField(r.b)
	r.skip(max(n, 4))
	return f, ok && !r.bad
}

// readRange reads what rangeBits wrote.
func readRange(v uint16, f ovs.Field) ovs.Subfield {
	return ovs.Subfield{Field: f, Offset: int(v >> 6), Size: int(v&0x3f) + 1}
}

func readNicira(sub uint16, r *reader, depth int) (ovs.Action, error) {
	switch sub {
	case nxRegMove:
		bits, from, to := int(r.u16()), int(r.u16()), int(r.u16())
		src, ok1 := readField(r)
		dst, ok2 := readField(r)
		if !ok1 || !ok2 {
			return nil, errUnknown
		}
		return ovs.Move(ovs.Subfield{Field: src, Offset: from, Size: bits}, ovs.Subfield{Field: dst, Offset: to, Size: bits}), nil
	case nxRegLoad:
		return readRegLoad(r)
	case nxRegLoad2:
		r.skip(6)
		m, known := readOXM(r)
		if !known {
			return nil, errUnknown
		}
		return ovs.SetField(m), nil
	case nxResubmitTable:
		r.skip(2)
		return ovs.Resubmit(r.u8()), nil
	case nxOutputReg:
		v := r.u16()
		f, ok := readField(r)
		if !ok {
			return nil, errUnknown
		}
		return ovs.OutputField(readRange(v, f)), nil
	case nxConjunction:
		k, n := r.u8(), r.u8()
		return ovs.Conjunction(r.u32(), k+1, n), nil
	case nxDecTTL:
		return ovs.DecTTL(), nil
	case nxCT:
		return readCT(r, depth)
	case nxLearn:
		return readLearn(r)
	}
	return nil, errUnknown
}

// readRegLoad reads a load of up to 64 bits into part of a field.
func readRegLoad(r *reader) (ovs.Action, error) {
	v := r.u16()
	f, ok := readField(r)
	if !ok {
		return nil, errUnknown
	}
	s, value := readRange(v, f), r.u64()
	if s.Offset+s.Size > f.Bits() || f.Bits() > 64 {
		return nil, malformed("load of bits %d to %d of %s", s.Offset, s.Offset+s.Size-1, f)
	}
	mask := ^uint64(0) >> (64 - s.Size) << s.Offset
	var vb, mb [8]byte
	be.PutUint64(vb[:], value<<s.Offset)
	be.PutUint64(mb[:], mask)
	n := 8 - f.Bytes()
	return ovs.SetField(ovs.NewFieldMatch(f, vb[n:], mb[n:])), nil
}

func readCT(r *reader, depth int) (ovs.Action, error) {
	flags := r.u16()
	o := ovs.CTOptions{Commit: flags&ctCommit != 0, Force: flags&ctForce != 0}
	zone := reader{b: r.take(4)}
	v := r.u16()
	if be.Uint32(zone.b) == 0 {
		o.Zone = v
	} else {
		f, ok := readField(&zone)
		if !ok {
			return nil, errUnknown
		}
		s := readRange(v, f)
		o.ZoneField = &s
	}
	if t := r.u8(); t != noRecirculate {
		o.HasTable, o.Table = true, t
	}
	r.skip(5)
	for len(r.b) > 0 && !r.bad {
		typ, n := r.u16(), int(r.u16())
		body := r.sub(n - 4)
		if r.bad || n < 8 {
			return nil, malformed("action in ct of length %d", n)
		}
		if probe := body; typ == actExperimenter && probe.u32() == nicira && probe.u16() == nxNAT {
			nat, err := readNAT(&probe)
			if err != nil {
				return nil, err
			}
			o.NAT = nat
			continue
		}
		a, err := readKnown(typ, body, depth+1)
		if err != nil {
			return nil, err
		}
		o.Exec = append(o.Exec, a)
	}
	return ovs.CT(o), nil
}

func readNAT(r *reader) (*ovs.NAT, error) {
	r.skip(2)
	flags, present := r.u16(), r.u16()
	n := &ovs.NAT{
		Src: flags&natSrc != 0, Dst: flags&natDst != 0,
		Persistent: flags&natPersistent != 0, Hash: flags&natHash != 0, Random: flags&natRandom != 0,
	}
	addr := func(bit uint16, size int) netip.Addr {
		if present&bit == 0 {
			return netip.Addr{}
		}
		a, _ := netip.AddrFromSlice(r.take(size))
		return a
	}
	// IPv4 comes before IPv6; a translation has one family.
	n.Min, n.Max = addr(natIPv4Min, 4), addr(natIPv4Max, 4)
	if a := addr(natIPv6Min, 16); a.IsValid() {
		n.Min = a
	}
	if a := addr(natIPv6Max, 16); a.IsValid() {
		n.Max = a
	}
	if present&natPortMin != 0 {
		n.PortMin = r.u16()
	}
	if present&natPortMax != 0 {
		n.PortMax = r.u16()
	}
	if r.bad {
		return nil, malformed("nat is cut short")
	}
	return n, nil
}

func readLearn(r *reader) (ovs.Action, error) {
	l := ovs.LearnSpec{IdleTimeout: r.u16(), HardTimeout: r.u16(), Priority: r.u16(), Cookie: r.u64()}
	l.DeleteLearned = r.u16()&learnDelete != 0
	l.Table = r.u8()
	r.skip(5)
	for len(r.b) >= 2 && !r.bad {
		h := r.u16()
		if h == 0 {
			break // padding
		}
		if err := readLearnSpec(&l, h, r); err != nil {
			return nil, err
		}
	}
	return ovs.Learn(l), nil
}

// readLearnSpec reads one part of a learn action (ovs-actions(7)).
func readLearnSpec(l *ovs.LearnSpec, h uint16, r *reader) error {
	var value []byte
	var src ovs.Subfield
	size, srcKnown := int(h&learnBits), true
	if h&learnImmediate != 0 {
		value = r.take((size + 15) / 16 * 2)
	} else {
		src, srcKnown = readLearnField(r, size)
	}
	kind := h &^ (learnBits | learnImmediate)
	if kind != learnMatch && kind != learnLoad {
		return errUnknown
	}
	dst, dstKnown := readLearnField(r, size)
	switch {
	case r.bad:
		return malformed("learn is cut short")
	case !srcKnown || !dstKnown:
		return errUnknown
	case value != nil:
		m, ok := immediate(value, dst)
		switch {
		case !ok:
			return errUnknown
		case kind == learnLoad:
			l.Load = append(l.Load, m)
		case !m.IsExact():
			return errUnknown
		default:
			l.Match = append(l.Match, m)
		}
	case kind == learnLoad:
		l.LoadFrom = append(l.LoadFrom, ovs.LearnLoad{Src: src, Dst: dst})
	case src != dst || dst != dst.Field.Whole():
		return errUnknown
	default:
		l.Copy = append(l.Copy, dst.Field)
	}
	return nil
}

// readLearnField reads a field and the offset of the bits in it.
func readLearnField(r *reader, size int) (ovs.Subfield, bool) {
	f, ok := readField(r)
	s := ovs.Subfield{Field: f, Offset: int(r.u16()), Size: size}
	return s, ok && size > 0 && s.Offset+size <= f.Bits()
}

// immediate returns the constraint that a field has value, padded on the left,
// in its bits s.
func immediate(value []byte, s ovs.Subfield) (ovs.FieldMatch, bool) {
	if n := s.Field.Bytes(); s == s.Field.Whole() {
		return ovs.NewFieldMatch(s.Field, value[len(value)-n:], nil), true
	}
	if s.Size > 64 {
		return ovs.FieldMatch{}, false
	}
	var v uint64
	for _, x := range value {
		v = v<<8 | uint64(x)
	}
	a, ok := ovs.Load(v, s).(ovs.SetFieldAction)
	return a.FieldMatch, ok
}
