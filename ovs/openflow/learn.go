package openflow

import (
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// appendLearn appends NXAST_LEARN, or NXAST_LEARN2 where only that says all.
func appendLearn(b []byte, l *ovs.LearnSpec) ([]byte, error) {
	sub := uint16(nxLearn)
	if l.Limit != 0 || l.Result.Size != 0 {
		sub = nxLearn2
	}
	b = be.AppendUint16(be.AppendUint16(be.AppendUint16(nx(b, sub), l.IdleTimeout), l.HardTimeout), l.Priority)
	b = be.AppendUint64(b, l.Cookie)
	var flags uint16
	if l.SendFlowRemoved {
		flags |= learnFlowRemoved
	}
	if l.DeleteLearned {
		flags |= learnDelete
	}
	if l.Result.Size != 0 {
		flags |= learnResult
	}
	b = append(be.AppendUint16(b, flags), l.Table, 0)
	b = be.AppendUint16(be.AppendUint16(b, l.FinIdleTimeout), l.FinHardTimeout)
	if sub == nxLearn2 {
		b = append(be.AppendUint16(be.AppendUint32(b, l.Limit), uint16(l.Result.Offset)), 0, 0)
		if l.Result.Size != 0 {
			b = l.Result.Field.AppendHeader(b)
		}
	}
	return appendLearnSpecs(b, l)
}

// appendLearnSpecs appends the parts of the flow that is learned.
func appendLearnSpecs(b []byte, l *ovs.LearnSpec) ([]byte, error) {
	var err error
	for i := range l.Match {
		if b, err = appendConstant(b, learnMatch, &l.Match[i]); err != nil {
			return b, err
		}
	}
	for _, f := range l.Copy {
		b = appendCopy(b, learnMatch, f.Whole(), f.Whole())
	}
	for _, c := range l.MatchFrom {
		b = appendCopy(b, learnMatch, c.Src, c.Dst)
	}
	for i := range l.Load {
		if b, err = appendConstant(b, learnLoad, &l.Load[i]); err != nil {
			return b, err
		}
	}
	for _, c := range l.LoadFrom {
		b = appendCopy(b, learnLoad, c.Src, c.Dst)
	}
	for _, s := range l.Output {
		b = appendLearnField(be.AppendUint16(b, learnOutput|uint16(s.Size)), s)
	}
	return b, nil
}

func appendLearnField(b []byte, s ovs.Subfield) []byte {
	return be.AppendUint16(s.Field.AppendHeader(b), uint16(s.Offset))
}

func appendCopy(b []byte, kind uint16, src, dst ovs.Subfield) []byte {
	return appendLearnField(appendLearnField(be.AppendUint16(b, kind|uint16(src.Size)), src), dst)
}

// appendConstant appends a constant, which is padded on the left to 2 bytes.
func appendConstant(b []byte, kind uint16, m *ovs.FieldMatch) ([]byte, error) {
	s, ok := m.Run()
	if !ok {
		return b, fmt.Errorf("openflow: learn: the mask of %s is not one run of bits", m)
	}
	v := m.RunBytes(s)
	b = be.AppendUint16(b, kind|learnImmediate|uint16(s.Size))
	if len(v)%2 != 0 {
		b = append(b, 0)
	}
	return appendLearnField(append(b, v...), s), nil
}

func readLearn(r *reader, second bool) (ovs.Action, error) {
	l := ovs.LearnSpec{IdleTimeout: r.u16(), HardTimeout: r.u16(), Priority: r.u16(), Cookie: r.u64()}
	flags := r.u16()
	l.SendFlowRemoved, l.DeleteLearned = flags&learnFlowRemoved != 0, flags&learnDelete != 0
	l.Table = r.u8()
	r.skip(1)
	l.FinIdleTimeout, l.FinHardTimeout = r.u16(), r.u16()
	if second {
		l.Limit = r.u32()
		offset := int(r.u16())
		r.skip(2)
		if flags&learnResult != 0 {
			f, ok := readField(r)
			if !ok || offset >= f.Bits() {
				return nil, errUnknown
			}
			l.Result = ovs.Subfield{Field: f, Offset: offset, Size: 1}
		}
	}
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
	var src, dst ovs.Subfield
	size, srcKnown, dstKnown := int(h&learnBits), true, true
	if h&learnImmediate != 0 {
		value = r.take((size + 15) / 16 * 2)
	} else {
		src, srcKnown = readLearnField(r, size)
	}
	kind := h &^ (learnBits | learnImmediate)
	if kind != learnOutput {
		dst, dstKnown = readLearnField(r, size)
	}
	switch {
	case r.bad:
		return malformed("learn is cut short")
	case !srcKnown || !dstKnown || kind == learnOutput && value != nil:
		return errUnknown
	}
	switch kind {
	case learnMatch:
		switch {
		case value != nil:
			l.Match = append(l.Match, ovs.MatchBits(dst, value))
		case src == dst && dst == dst.Field.Whole():
			l.Copy = append(l.Copy, dst.Field)
		default:
			l.MatchFrom = append(l.MatchFrom, ovs.LearnLoad{Src: src, Dst: dst})
		}
	case learnLoad:
		if value != nil {
			l.Load = append(l.Load, ovs.MatchBits(dst, value))
		} else {
			l.LoadFrom = append(l.LoadFrom, ovs.LearnLoad{Src: src, Dst: dst})
		}
	case learnOutput:
		l.Output = append(l.Output, src)
	default:
		return errUnknown
	}
	return nil
}

// readLearnField reads a field and the offset of the bits in it.
func readLearnField(r *reader, size int) (ovs.Subfield, bool) {
	f, ok := readField(r)
	s := ovs.Subfield{Field: f, Offset: int(r.u16()), Size: size}
	return s, ok && size > 0 && s.Offset+size <= f.Bits()
}
