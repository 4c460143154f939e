package openflow

import (
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/ovs"
)

// Types of action (section 7.2.6).
const (
	actOutput       = 0
	actSetMPLSTTL   = 15
	actDecMPLSTTL   = 16
	actPushVLAN     = 17
	actPopVLAN      = 18
	actPushMPLS     = 19
	actPopMPLS      = 20
	actSetQueue     = 21
	actGroup        = 22
	actSetTTL       = 23
	actDecTTL       = 24
	actSetField     = 25
	actCopyField    = 28
	actMeter        = 29
	actExperimenter = 0xffff
)

// Types of instruction (section 7.2.5).
const (
	instrGoto     = 1
	instrMetadata = 2
	instrWrite    = 3
	instrApply    = 4
	instrClear    = 5
)

// Subtypes of Nicira's actions.
const (
	nxResubmit       = 1
	nxSetTunnel      = 2
	nxPopQueue       = 5
	nxRegMove        = 6
	nxRegLoad        = 7
	nxNote           = 8
	nxSetTunnel64    = 9
	nxMultipath      = 10
	nxBundle         = 12
	nxBundleLoad     = 13
	nxResubmitTable  = 14
	nxOutputReg      = 15
	nxLearn          = 16
	nxExit           = 17
	nxDecTTL         = 18
	nxFinTimeout     = 19
	nxController     = 20
	nxDecTTLIDs      = 21
	nxPush           = 27
	nxPop            = 28
	nxSample         = 29
	nxOutputReg2     = 32
	nxRegLoad2       = 33
	nxConjunction    = 34
	nxCT             = 35
	nxNAT            = 36
	nxController2    = 37
	nxSample2        = 38
	nxOutputTrunc    = 39
	nxSample3        = 41
	nxClone          = 42
	nxCTClear        = 43
	nxResubmitCT     = 44
	nxLearn2         = 45
	nxEncap          = 46
	nxDecap          = 47
	nxDecNSHTTL      = 48
	nxCheckPktLarger = 49
	nxDeleteField    = 50
)

const (
	inPort16      = 0xfff8 // OFPP_IN_PORT in 16 bits
	noPort16      = 0xffff
	noRecirculate = 0xff
	ctCommit      = 1
	ctForce       = 2

	learnFlowRemoved = 1 // NX_LEARN_F_...
	learnDelete      = 2
	learnResult      = 4
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
	learnOutput    = 2 << 11
	learnImmediate = 1 << 13
	learnBits      = 0x7ff
)

// appendInstructions appends the actions of a flow as instructions
// (section 7.2.5): what is applied, then the others.
func appendInstructions(b []byte, list []ovs.Action) ([]byte, error) {
	start, last := len(b), len(list)
	for last > 0 && isInstruction(list[last-1]) {
		last--
	}
	if last > 0 {
		var err error
		if b, err = appendActions(append(b, 0, instrApply, 0, 0, 0, 0, 0, 0), list[:last]); err != nil {
			return b, err
		}
		b = setLength(b, start)
	}
	for _, a := range list[last:] {
		switch a := a.(type) {
		case ovs.GotoAction:
			b = append(b, 0, instrGoto, 0, 8, a.Table, 0, 0, 0)
		case ovs.WriteMetadataAction:
			b = append(b, 0, instrMetadata, 0, 24, 0, 0, 0, 0)
			b = be.AppendUint64(be.AppendUint64(b, a.Value), a.Mask)
		case ovs.ClearActionsAction:
			b = append(b, 0, instrClear, 0, 8, 0, 0, 0, 0)
		case ovs.WriteActionsAction:
			var err error
			from := len(b)
			if b, err = appendActions(append(b, 0, instrWrite, 0, 0, 0, 0, 0, 0), a.Actions); err != nil {
				return b, err
			}
			b = setLength(b, from)
		}
	}
	return b, nil
}

func isInstruction(a ovs.Action) bool {
	switch a.(type) {
	case ovs.GotoAction, ovs.WriteMetadataAction, ovs.ClearActionsAction, ovs.WriteActionsAction:
		return true
	}
	return false
}

// setLength writes the length of the action or instruction that starts at
// start; what is too long for it the caller of all refuses.
func setLength(b []byte, start int) []byte {
	n := len(b) - start
	b[start+2], b[start+3] = byte(n>>8), byte(n)
	return b
}

func appendActions(b []byte, list []ovs.Action) ([]byte, error) {
	for _, a := range list {
		var err error
		if b, err = appendAction(b, a); err != nil {
			return b, err
		}
	}
	return b, nil
}

// closeAction pads the action that starts at start and writes its length.
func closeAction(b []byte, start int) []byte {
	return setLength(append(b, nothing[:(start-len(b))&7]...), start)
}

// appendAction appends one action. The usual ones come first, whole.
func appendAction(b []byte, a ovs.Action) ([]byte, error) {
	start := len(b)
	switch a := a.(type) {
	case ovs.OutputAction:
		return append(b, 0, actOutput, 0, 16, byte(a.Port>>24), byte(a.Port>>16), byte(a.Port>>8), byte(a.Port), 0, 0, 0, 0, 0, 0, 0, 0), nil
	case ovs.SetFieldAction:
		return closeAction(a.AppendOXM(append(b, 0, actSetField, 0, 0)), start), nil
	case ovs.CTAction:
		b, err := appendCT(nx(b, nxCT), &a.CTOptions)
		return setLength(b, start), err
	case ovs.ResubmitAction:
		return appendResubmit(b, a), nil
	case ovs.UnknownAction:
		if len(a.Wire) < 8 || len(a.Wire)%8 != 0 || int(be.Uint16([]byte(a.Wire[2:4]))) != len(a.Wire) {
			return b, fmt.Errorf("openflow: %s: its length is not the one it says", a)
		}
		return append(b, a.Wire...), nil
	}
	b, err := appendRest(b, a)
	if len(b)-start > maxLen {
		return b[:start], fmt.Errorf("openflow: an action of %d bytes, a message holds %d", len(b)-start, maxLen)
	}
	if err != nil {
		return b, err
	}
	return closeAction(b, start), nil
}

// appendRest appends other actions; the caller pads and closes them.
func appendRest(b []byte, a ovs.Action) ([]byte, error) {
	switch a := a.(type) {
	case ovs.ControllerAction:
		return appendController(b, &a), nil
	case ovs.MoveAction:
		b = be.AppendUint16(plain(b, actCopyField), uint16(a.Src.Size))
		b = be.AppendUint16(b, uint16(a.Src.Offset))
		b = append(be.AppendUint16(b, uint16(a.Dst.Offset)), 0, 0)
		return a.Dst.Field.AppendHeader(a.Src.Field.AppendHeader(b)), nil
	case ovs.PushVLANAction:
		return be.AppendUint16(plain(b, actPushVLAN), a.EtherType), nil
	case ovs.PopVLANAction:
		return plain(b, actPopVLAN), nil
	case ovs.DecTTLAction:
		return plain(b, actDecTTL), nil
	case ovs.GroupAction:
		return be.AppendUint32(plain(b, actGroup), a.ID), nil
	case ovs.OutputFieldAction:
		return appendOutputField(b, a.Field), nil
	case ovs.ConjunctionAction:
		return be.AppendUint32(append(nx(b, nxConjunction), a.Clause-1, a.N), a.ID), nil
	case ovs.LearnAction:
		return appendLearn(b, &a.LearnSpec)
	}
	return appendMore(b, a)
}

// appendOutputField appends the form that has room for the field's header.
func appendOutputField(b []byte, s ovs.Subfield) []byte {
	start := len(b)
	header := s.Field.AppendHeader(nil)
	if len(header) == 4 {
		b = append(be.AppendUint16(nx(b, nxOutputReg), rangeBits(s)), header...)
		return append(b, 0xff, 0xff, 0, 0, 0, 0, 0, 0)
	}
	b = append(be.AppendUint16(nx(b, nxOutputReg2), rangeBits(s)), 0xff, 0xff)
	return fill(append(b, header...), start, 24)
}

func appendResubmit(b []byte, a ovs.ResubmitAction) []byte {
	sub, port := uint16(nxResubmitTable), uint16(inPort16)
	if a.CT {
		sub = nxResubmitCT
	}
	if a.Port != 0 {
		port = uint16(a.Port)
	}
	return append(b, 0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0, byte(sub), byte(port>>8), byte(port), a.Table, 0, 0, 0)
}

// rangeBits is how Nicira's actions name a run of bits.
func rangeBits(s ovs.Subfield) uint16 { return uint16(s.Offset<<6 | (s.Size - 1)) }

func appendCT(b []byte, o *ovs.CTOptions) ([]byte, error) {
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
	b = append(b, table, 0, 0, 0, byte(o.Alg>>8), byte(o.Alg))
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
