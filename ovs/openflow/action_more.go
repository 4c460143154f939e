package openflow

import (
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// appendMore appends the less usual actions; the caller pads and closes them.
func appendMore(b []byte, a ovs.Action) ([]byte, error) {
	switch a := a.(type) {
	case ovs.PushMPLSAction:
		return be.AppendUint16(plain(b, actPushMPLS), a.EtherType), nil
	case ovs.PopMPLSAction:
		return be.AppendUint16(plain(b, actPopMPLS), a.EtherType), nil
	case ovs.SetMPLSTTLAction:
		return append(plain(b, actSetMPLSTTL), a.TTL), nil
	case ovs.DecMPLSTTLAction:
		return plain(b, actDecMPLSTTL), nil
	case ovs.SetTTLAction:
		return append(plain(b, actSetTTL), a.TTL), nil
	case ovs.SetQueueAction:
		return be.AppendUint32(plain(b, actSetQueue), a.Queue), nil
	case ovs.MeterAction:
		return be.AppendUint32(plain(b, actMeter), a.ID), nil
	case ovs.PopQueueAction:
		return nx(b, nxPopQueue), nil
	case ovs.ExitAction:
		return nx(b, nxExit), nil
	case ovs.CTClearAction:
		return nx(b, nxCTClear), nil
	case ovs.DecNSHTTLAction:
		return nx(b, nxDecNSHTTL), nil
	case ovs.NoteAction:
		return append(nx(b, nxNote), a.Data...), nil
	case ovs.FinTimeoutAction:
		return be.AppendUint16(be.AppendUint16(nx(b, nxFinTimeout), a.Idle), a.Hard), nil
	case ovs.OutputMaxAction:
		return be.AppendUint32(be.AppendUint16(nx(b, nxOutputTrunc), uint16(a.Port)), a.MaxLen), nil
	case ovs.DecTTLIDsAction:
		b = zeros(be.AppendUint16(nx(b, nxDecTTLIDs), uint16(len(a.IDs))), 4)
		for _, id := range a.IDs {
			b = be.AppendUint16(b, id)
		}
		return b, nil
	case ovs.StackPushAction:
		return appendStack(nx(b, nxPush), a.Field), nil
	case ovs.StackPopAction:
		return appendStack(nx(b, nxPop), a.Field), nil
	case ovs.DeleteFieldAction:
		start := len(b)
		return fill(a.Field.AppendHeader(nx(b, nxDeleteField)), start, 24), nil
	case ovs.CheckPktLargerAction:
		start := len(b)
		b = be.AppendUint16(be.AppendUint16(nx(b, nxCheckPktLarger), a.Length), uint16(a.Dst.Offset))
		return fill(a.Dst.Field.AppendHeader(b), start, 24), nil
	case ovs.CloneAction:
		return appendActions(pad(nx(b, nxClone), len(b)), a.Actions)
	case ovs.SampleAction:
		return appendSample(b, a.SampleSpec), nil
	case ovs.MultipathAction:
		b = be.AppendUint16(be.AppendUint16(nx(b, nxMultipath), uint16(a.Hash)), a.Basis)
		b = be.AppendUint16(append(b, 0, 0), uint16(a.Algorithm))
		b = be.AppendUint32(be.AppendUint16(b, uint16(a.Links-1)), a.Arg)
		return a.Dst.Field.AppendHeader(be.AppendUint16(append(b, 0, 0), rangeBits(a.Dst))), nil
	case ovs.BundleAction:
		return appendBundle(b, a.BundleSpec), nil
	case ovs.EncapAction:
		return appendEncap(nx(b, nxEncap), a), nil
	case ovs.DecapAction:
		return be.AppendUint32(append(nx(b, nxDecap), 0, 0), a.PacketType), nil
	}
	return b, fmt.Errorf("openflow: action %v cannot stand here", a)
}

// plain appends the header of an action; its length is for the caller.
func plain(b []byte, typ uint16) []byte { return append(b, byte(typ>>8), byte(typ), 0, 0) }

// nx appends the header of one of Nicira's actions.
func nx(b []byte, sub uint16) []byte {
	return append(b, 0xff, 0xff, 0, 0, 0, 0, 0x23, 0x20, byte(sub>>8), byte(sub))
}

// fill appends zeros until what starts at start is n bytes long.
func fill(b []byte, start, n int) []byte { return zeros(b, max(0, start+n-len(b))) }

func appendStack(b []byte, s ovs.Subfield) []byte {
	start := len(b) - 10
	b = s.Field.AppendHeader(be.AppendUint16(b, uint16(s.Offset)))
	return fill(be.AppendUint16(b, uint16(s.Size)), start, 24)
}

func appendSample(b []byte, s ovs.SampleSpec) []byte {
	sub := uint16(nxSample)
	switch {
	case s.Direction != 0:
		sub = nxSample3
	case s.Port != 0:
		sub = nxSample2
	}
	b = be.AppendUint32(be.AppendUint16(nx(b, sub), s.Probability), s.Collectors)
	b = be.AppendUint32(be.AppendUint32(b, s.Domain), s.Point)
	if sub == nxSample {
		return b
	}
	port := uint16(s.Port)
	if port == 0 {
		port = noPort16
	}
	return zeros(append(be.AppendUint16(b, port), s.Direction), 5)
}

func appendBundle(b []byte, s ovs.BundleSpec) []byte {
	sub := uint16(nxBundle)
	if s.Dst.Size != 0 {
		sub = nxBundleLoad
	}
	b = be.AppendUint16(be.AppendUint16(nx(b, sub), uint16(s.Algorithm)), uint16(s.Hash))
	b = ovs.FieldNXMInPort.AppendHeader(be.AppendUint16(b, s.Basis))
	b = be.AppendUint16(b, uint16(len(s.Members)))
	if s.Dst.Size != 0 {
		b = s.Dst.Field.AppendHeader(be.AppendUint16(b, rangeBits(s.Dst)))
	} else {
		b = zeros(b, 6)
	}
	b = zeros(b, 4)
	for _, m := range s.Members {
		b = be.AppendUint16(b, m)
	}
	return b
}

// Properties of encap (ofp-ed-props.h).
const (
	propNSH       = 4
	propNSHMDType = 1
	propNSHTLV    = 2
)

func appendEncap(b []byte, a ovs.EncapAction) []byte {
	b = be.AppendUint32(append(b, 0, 0), a.PacketType)
	if a.MDType != 0 {
		b = append(b, 0, propNSH, propNSHMDType, 8, a.MDType, 0, 0, 0)
	}
	for _, t := range a.TLVs {
		start := len(b)
		b = append(b, 0, propNSH, propNSHTLV, byte(8+(len(t.Value)+7)&^7))
		b = append(be.AppendUint16(b, t.Class), t.Type, byte(len(t.Value)))
		b = pad(append(b, t.Value...), start)
	}
	return b
}

// Properties of controller2 (nicira-ext.h).
const (
	ctrlMaxLen = iota
	ctrlID
	ctrlReason
	ctrlUserData
	ctrlPause
	ctrlMeter
)

// appendController appends the plainest action that says all.
func appendController(b []byte, a *ovs.ControllerAction) []byte {
	if a.UserData == "" && !a.Pause && a.Meter == 0 {
		if a.ID == 0 && a.Reason == ovs.ReasonAction {
			b = be.AppendUint32(plain(b, actOutput), ovs.PortController)
			return append(be.AppendUint16(b, a.MaxLen), 0, 0, 0, 0, 0, 0)
		}
		b = be.AppendUint16(be.AppendUint16(nx(b, nxController), a.MaxLen), a.ID)
		return append(b, a.Reason, 0)
	}
	b = zeros(nx(b, nxController2), 6)
	b = appendProperty(b, ctrlMaxLen, be.AppendUint16(nil, a.MaxLen))
	if a.ID != 0 {
		b = appendProperty(b, ctrlID, be.AppendUint16(nil, a.ID))
	}
	if a.Reason != ovs.ReasonAction {
		b = appendProperty(b, ctrlReason, []byte{a.Reason})
	}
	if a.UserData != "" {
		b = appendProperty(b, ctrlUserData, []byte(a.UserData))
	}
	if a.Pause {
		b = appendProperty(b, ctrlPause, nil)
	}
	if a.Meter != 0 {
		b = appendProperty(b, ctrlMeter, be.AppendUint32(nil, a.Meter))
	}
	return b
}
