package openflow

import (
	"errors"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// maxNesting bounds actions within actions.
const maxNesting = 10

// cutAction takes an action or instruction off b; both begin with a type and
// a length, of 8 bytes and more.
func cutAction(b []byte) (wire, rest []byte, err error) {
	if len(b) < 8 {
		return nil, nil, malformed("action or instruction of %d bytes", len(b))
	}
	n := int(be.Uint16(b[2:]))
	if n < 8 || n > len(b) {
		return nil, nil, malformed("action or instruction of length %d among %d bytes", n, len(b))
	}
	return b[:n], b[n:], nil
}

// countActions counts actions and checks their lengths.
func countActions(b []byte) (n int, err error) {
	for ; len(b) > 0; n++ {
		wire, rest, err := cutAction(b)
		if err != nil {
			return 0, err
		}
		if len(wire)%8 != 0 {
			return 0, malformed("action of length %d", len(wire))
		}
		b = rest
	}
	return n, nil
}

// readInstructions reads the instructions of one flow.
func readInstructions(b []byte) ([]ovs.Action, error) {
	var d flowReader
	return d.instructions(b)
}

func readActions(b []byte, depth int) ([]ovs.Action, error) {
	if depth > maxNesting {
		return nil, malformed("actions nested deeper than %d", maxNesting)
	}
	n, err := countActions(b)
	if err != nil || n == 0 {
		return nil, err
	}
	list := make([]ovs.Action, n)
	for i := range list {
		n := int(be.Uint16(b[2:]))
		if list[i], err = readAction(b[:n], depth); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return list, nil
}

// errUnknown says that package ovs cannot say an action. It is then kept as it is.
var errUnknown = errors.New("unknown action")

// readAction reads an action, which is all of wire.
func readAction(wire []byte, depth int) (ovs.Action, error) {
	r := reader{b: wire[4:]}
	a, err := readKnown(be.Uint16(wire), &r, depth)
	switch {
	case err == errUnknown:
		return ovs.UnknownAction{Wire: string(wire)}, nil
	case err == nil && r.bad:
		return nil, malformed("action of type %d is cut short", be.Uint16(wire))
	}
	return a, err
}

func readKnown(typ uint16, r *reader, depth int) (ovs.Action, error) {
	switch typ {
	case actOutput:
		port, most := r.u32(), r.u16()
		if port == ovs.PortController {
			return ovs.Controller(most), nil
		}
		return ovs.Output(port), nil
	case actPushVLAN:
		return ovs.PushVLANAction{EtherType: r.u16()}, nil
	case actPopVLAN:
		return ovs.PopVLAN(), nil
	case actPushMPLS:
		return ovs.PushMPLS(r.u16()), nil
	case actPopMPLS:
		return ovs.PopMPLS(r.u16()), nil
	case actSetMPLSTTL:
		return ovs.SetMPLSTTL(r.u8()), nil
	case actDecMPLSTTL:
		return ovs.DecMPLSTTL(), nil
	case actSetTTL:
		return ovs.SetTTL(r.u8()), nil
	case actDecTTL:
		return ovs.DecTTL(), nil
	case actSetQueue:
		return ovs.SetQueue(r.u32()), nil
	case actMeter:
		return ovs.Meter(r.u32()), nil
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
		return readMove(r, bits, from, to)
	case actExperimenter:
		if r.u32() != nicira {
			return nil, errUnknown
		}
		return readNicira(r.u16(), r, depth)
	}
	return nil, errUnknown
}

func readMove(r *reader, bits, from, to int) (ovs.Action, error) {
	src, ok1 := readField(r)
	dst, ok2 := readField(r)
	if !ok1 || !ok2 {
		return nil, errUnknown
	}
	return ovs.Move(ovs.Subfield{Field: src, Offset: from, Size: bits}, ovs.Subfield{Field: dst, Offset: to, Size: bits}), nil
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

// readNicira reads those of Nicira's actions that others are beside.
func readNicira(sub uint16, r *reader, depth int) (ovs.Action, error) {
	switch sub {
	case nxRegMove:
		bits, from, to := int(r.u16()), int(r.u16()), int(r.u16())
		return readMove(r, bits, from, to)
	case nxRegLoad:
		return readRegLoad(r)
	case nxRegLoad2:
		m, known := readOXM(r)
		if !known {
			return nil, errUnknown
		}
		return ovs.SetField(m), nil
	case nxSetTunnel:
		r.skip(2)
		return ovs.SetField(ovs.TunID(uint64(r.u32()))), nil
	case nxSetTunnel64:
		r.skip(6)
		return ovs.SetField(ovs.TunID(r.u64())), nil
	case nxResubmit:
		return ovs.ResubmitPort(portOf(r.u16()), 255), nil
	case nxResubmitTable, nxResubmitCT:
		a := ovs.ResubmitAction{Port: portOf(r.u16()), Table: r.u8(), CT: sub == nxResubmitCT}
		return a, nil
	case nxOutputReg, nxOutputReg2:
		v := r.u16()
		if sub == nxOutputReg2 {
			r.skip(2)
		}
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
	case nxLearn, nxLearn2:
		return readLearn(r, sub == nxLearn2)
	case nxClone:
		r.skip(6)
		list, err := readActions(r.b, depth+1)
		return ovs.Clone(list...), err
	}
	return readMore(sub, r)
}

// portOf returns the port that a number of 16 bits names, 0 for in_port.
func portOf(n uint16) uint32 {
	switch {
	case n == inPort16:
		return 0
	case n >= 0xff00:
		return uint32(n) | 0xffff0000
	}
	return uint32(n)
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
	if flags&^(ctCommit|ctForce) != 0 {
		return nil, errUnknown
	}
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
	r.skip(3)
	o.Alg = r.u16()
	if r.bad {
		return nil, malformed("ct is cut short")
	}
	list := r.b
	if len(list) >= 16 && be.Uint64(list)&^(0xffff<<32) == actExperimenter<<48|nicira && be.Uint16(list[8:]) == nxNAT {
		wire, rest, err := cutAction(list)
		if err != nil {
			return nil, err
		}
		n := reader{b: wire[10:]}
		if o.NAT, err = readNAT(&n); err != nil {
			return nil, err
		}
		list = rest
	}
	var err error
	o.Exec, err = readActions(list, depth+1)
	return ovs.CT(o), err
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
