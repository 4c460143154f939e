package openflow

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// Types of action (section 7.2.6).
const (
	actOutput       = 0
	actPushVLAN     = 17
	actPopVLAN      = 18
	actGroup        = 22
	actDecTTL       = 24
	actSetField     = 25
	actCopyField    = 28
	actExperimenter = 0xffff
)

// Subtypes of Nicira's actions.
const (
	nxRegMove       = 6
	nxRegLoad       = 7
	nxResubmitTable = 14
	nxOutputReg     = 15
	nxLearn         = 16
	nxDecTTL        = 18
	nxRegLoad2      = 33
	nxConjunction   = 34
	nxCT            = 35
	nxNAT           = 36
	nxResubmitCT    = 44
)

const (
	etherVLAN     = 0x8100
	inPort16      = 0xfff8 // OFPP_IN_PORT in 16 bits
	noRecirculate = 0xff
	ctCommit      = 1
	ctForce       = 2
	learnDelete   = 2 // NX_LEARN_F_DELETE_LEARNED
)

// Bits of a NAT action.
const (
	natSrc = 1 << iota
	natDst
	natPersistent
	natHash
	natRandom
)

const (
	natIPv4Min = 1 << iota
	natIPv4Max
	natIPv6Min
	natIPv6Max
	natPortMin
	natPortMax
)

// Specs of a learn action: what is in the header beside the number of bits.
const (
	learnMatch     = 0 << 11
	learnLoad      = 1 << 11
	learnImmediate = 1 << 13
	learnBits      = 0x7ff
)

// appendInstructions appends the actions of a flow as instructions
// (section 7.2.5): what is applied, then where to go on.
func appendInstructions(b []byte, list []ovs.Action) ([]byte, error) {
	last := len(list)
	var next *ovs.GotoAction
	if last > 0 {
		if g, ok := list[last-1].(ovs.GotoAction); ok {
			next, last = &g, last-1
		}
	}
	if last > 0 {
		start := len(b)
		b = append(b, 0, 4, 0, 0, 0, 0, 0, 0)
		var err error
		if b, err = appendActions(b, list[:last]); err != nil {
			return b, err
		}
		be.PutUint16(b[start+2:], uint16(len(b)-start))
	}
	if next != nil {
		b = append(b, 0, 1, 0, 8, next.Table, 0, 0, 0)
	}
	return b, nil
}

func appendActions(b []byte, list []ovs.Action) ([]byte, error) {
	for _, a := range list {
		start := len(b)
		var err error
		if b, err = appendAction(b, a); err != nil {
			return b, err
		}
		b = closeAction(b, start)
	}
	return b, nil
}

// closeAction pads the action that starts at start and writes its length.
func closeAction(b []byte, start int) []byte {
	b = append(b, nothing[:(start-len(b))&7]...)
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// appendAction appends one action; the caller pads it and writes its length.
func appendAction(b []byte, a ovs.Action) ([]byte, error) {
	plain := func(typ uint16) []byte { return append(be.AppendUint16(b, typ), 0, 0) }
	nx := func(sub uint16) []byte {
		return be.AppendUint16(be.AppendUint32(plain(actExperimenter), nicira), sub)
	}
	switch a := a.(type) {
	case ovs.OutputAction:
		return zeros(be.AppendUint16(be.AppendUint32(plain(actOutput), a.Port), 0), 6), nil
	case ovs.ControllerAction:
		return zeros(be.AppendUint16(be.AppendUint32(plain(actOutput), ovs.PortController), a.MaxLen), 6), nil
	case ovs.SetFieldAction:
		return a.AppendOXM(plain(actSetField)), nil
	case ovs.MoveAction:
		b = be.AppendUint16(plain(actCopyField), uint16(a.Src.Size))
		b = be.AppendUint16(b, uint16(a.Src.Offset))
		b = append(be.AppendUint16(b, uint16(a.Dst.Offset)), 0, 0)
		return a.Dst.Field.AppendHeader(a.Src.Field.AppendHeader(b)), nil
	case ovs.PushVLANAction:
		return be.AppendUint16(plain(actPushVLAN), etherVLAN), nil
	case ovs.PopVLANAction:
		return plain(actPopVLAN), nil
	case ovs.DecTTLAction:
		return plain(actDecTTL), nil
	case ovs.GroupAction:
		return be.AppendUint32(plain(actGroup), a.ID), nil
	case ovs.ResubmitAction:
		return append(be.AppendUint16(nx(nxResubmitTable), inPort16), a.Table, 0, 0, 0), nil
	case ovs.OutputFieldAction:
		b = be.AppendUint16(nx(nxOutputReg), rangeBits(a.Field))
		return zeros(be.AppendUint16(a.Field.Field.AppendHeader(b), 0), 6), nil
	case ovs.ConjunctionAction:
		return be.AppendUint32(append(nx(nxConjunction), a.Clause-1, a.N), a.ID), nil
	case ovs.CTAction:
		return appendCT(nx(nxCT), a.CTOptions)
	case ovs.LearnAction:
		return appendLearn(nx(nxLearn), a.LearnSpec)
	case ovs.UnknownAction:
		if len(a.Wire) < 8 || len(a.Wire)%8 != 0 || int(be.Uint16([]byte(a.Wire[2:4]))) != len(a.Wire) {
			return b, fmt.Errorf("openflow: %s: its length is not the one it says", a)
		}
		return append(b, a.Wire...), nil
	}
	return b, fmt.Errorf("openflow: action %v cannot stand here", a)
}

// rangeBits is how Nicira's actions name a run of bits.
func rangeBits(s ovs.Subfield) uint16 { return uint16(s.Offset<<6 | (s.Size - 1)) }

func appendCT(b []byte, o ovs.CTOptions) ([]byte, error) {
	var flags uint16
	if o.Commit {
		flags |= ctCommit
	}
	if o.Force {
		flags |= ctForce
	}
	b = be.AppendUint16(b, flags)
	if o.ZoneField != nil {
		b = be.AppendUint16(o.ZoneField.Field.AppendHeader(b), rangeBits(*o.ZoneField))
	} else {
		b = be.AppendUint16(zeros(b, 4), o.Zone)
	}
	table := byte(noRecirculate)
	if o.HasTable {
		table = o.Table
	}
	b = append(b, table, 0, 0, 0, 0, 0)
	if o.NAT != nil {
		b = appendNAT(b, o.NAT)
	}
	return appendActions(b, o.Exec)
}

func appendNAT(b []byte, n *ovs.NAT) []byte {
	start := len(b)
	b = append(b, 0xff, 0xff, 0, 0, 0, 0, 0x23, 0x20, 0, nxNAT, 0, 0, 0, 0, 0, 0)
	if !n.Src && !n.Dst {
		return closeAction(b, start)
	}
	var flags, present uint16
	if n.Src {
		flags |= natSrc
	}
	if n.Dst {
		flags |= natDst
	}
	if n.Persistent {
		flags |= natPersistent
	}
	if n.Hash {
		flags |= natHash
	}
	if n.Random {
		flags |= natRandom
	}
	if low := n.Min.Unmap(); low.IsValid() {
		present = natIPv4Min
		if low.Is6() {
			present = natIPv6Min
		}
		b = appendAddr(b, low)
		if high := n.Max.Unmap(); high.IsValid() && high != low {
			present |= present << 1
			b = appendAddr(b, high)
		}
	}
	if n.PortMin != 0 {
		present |= natPortMin
		b = be.AppendUint16(b, n.PortMin)
		if n.PortMax > n.PortMin {
			present |= natPortMax
			b = be.AppendUint16(b, n.PortMax)
		}
	}
	be.PutUint16(b[start+12:], flags)
	be.PutUint16(b[start+14:], present)
	return closeAction(b, start)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

func appendLearn(b []byte, l ovs.LearnSpec) ([]byte, error) {
	b = be.AppendUint16(be.AppendUint16(be.AppendUint16(b, l.IdleTimeout), l.HardTimeout), l.Priority)
	b = be.AppendUint64(b, l.Cookie)
	var flags uint16
	if l.DeleteLearned {
		flags |= learnDelete
	}
	b = append(be.AppendUint16(b, flags), l.Table, 0, 0, 0, 0, 0)
	field := func(b []byte, s ovs.Subfield) []byte {
		return be.AppendUint16(s.Field.AppendHeader(b), uint16(s.Offset))
	}
	constant := func(b []byte, kind uint16, m ovs.FieldMatch) ([]byte, error) {
		s, ok := m.Run()
		if !ok || s.Size > 64 && !m.IsExact() {
			return b, fmt.Errorf("openflow: learn: the mask of %s is not one run of at most 64 bits", m)
		}
		b = be.AppendUint16(b, kind|learnImmediate|uint16(s.Size))
		n := (s.Size + 15) / 16 * 2
		var v [18]byte
		if m.IsExact() {
			copy(v[n-m.Field.Bytes():], m.Value[:m.Field.Bytes()])
		} else {
			be.PutUint64(v[8:], m.RunValue(s))
			copy(v[:], v[16-n:16])
		}
		return field(append(b, v[:n]...), s), nil
	}
	var err error
	for _, m := range l.Match {
		if b, err = constant(b, learnMatch, m); err != nil {
			return b, err
		}
	}
	for _, f := range l.Copy {
		s := f.Whole()
		b = field(field(be.AppendUint16(b, learnMatch|uint16(s.Size)), s), s)
	}
	for _, m := range l.Load {
		if b, err = constant(b, learnLoad, m); err != nil {
			return b, err
		}
	}
	for _, c := range l.LoadFrom {
		b = field(field(be.AppendUint16(b, learnLoad|uint16(c.Src.Size)), c.Src), c.Dst)
	}
	return b, nil
}
