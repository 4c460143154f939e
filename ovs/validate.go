package ovs

import (
	"fmt"
	"slices"
)

// readOnly are fields that no action writes.
var readOnly = []Field{FieldInPort, FieldEthType, FieldIPProto, FieldIPFrag, FieldTCPFlags, FieldConjID, FieldCTState, FieldCTZone}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// validateActions checks what a switch checks of a list of actions.
func validateActions(list []Action) error {
	for i, a := range list {
		if a == nil {
			return refuse("action %d is nil", i)
		}
		if _, ok := a.(GotoAction); ok && i != len(list)-1 {
			return refuse("%s is not the last action", a)
		}
		if err := validateAction(a, false); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(list, isConjunction) && !allOf(list, isConjunction) {
		return refuse("conjunction with other actions")
	}
	return nil
}

func isConjunction(a Action) bool { _, ok := a.(ConjunctionAction); return ok }

func allOf(list []Action, is func(Action) bool) bool {
	return !slices.ContainsFunc(list, func(a Action) bool { return !is(a) })
}

// validateAction checks one action; connection says that it is in the exec of a ct.
func validateAction(a Action, connection bool) error {
	switch a := a.(type) {
	case SetFieldAction:
		return validateSet(a, connection)
	case MoveAction:
		if !a.Src.valid() || !a.Dst.valid() || a.Src.Size != a.Dst.Size {
			return refuse("%s: %d bits to %d", a, a.Src.Size, a.Dst.Size)
		}
	case OutputFieldAction:
		if !a.Field.valid() || a.Field.Size > 32 {
			return refuse("%s: not a run of at most 32 bits", a)
		}
	case ConjunctionAction:
		if a.N < 2 || a.N > 64 || a.Clause < 1 || a.Clause > a.N {
			return refuse("%s: want clause 1 to n of n, n 2 to 64", a)
		}
	case ResubmitAction:
		if a.Table == 255 {
			return refuse("%s: 255 is not a table", a)
		}
	case CTAction:
		return validateCT(a)
	case LearnAction:
		return validateLearn(a)
	}
	return nil
}

func validateSet(a SetFieldAction, connection bool) error {
	label := a.Field == FieldCTMark || a.Field == FieldCTLabel
	switch {
	case a.Field >= numFields || a.Mask == [16]byte{}:
		return refuse("set_field of no field or no bits")
	case slices.Contains(readOnly, a.Field):
		return refuse("%s: the field cannot be written", a)
	case a.Field == FieldNXMInPort && !a.IsExact():
		return refuse("in_port can be written only whole")
	case label != connection:
		return refuse("%s: ct_mark and ct_label, and only they, are written in the exec of ct", a)
	}
	return nil
}

func validateCT(a CTAction) error {
	switch {
	case a.ZoneField != nil && (!a.ZoneField.valid() || a.ZoneField.Size != 16):
		return refuse("%s: the zone's field has not 16 bits", a)
	case a.HasTable && a.Table == 255:
		return refuse("%s: 255 is not a table", a)
	case len(a.Exec) > 0 && !a.Commit:
		return refuse("%s: exec without commit", a)
	case a.Force && !a.Commit:
		return refuse("%s: force without commit", a)
	}
	if n := a.NAT; n != nil {
		switch {
		case n.Src && n.Dst:
			return refuse("%s: nat of source and destination", a)
		case n.Max.IsValid() && n.Max.Unmap().BitLen() != n.Min.Unmap().BitLen():
			return refuse("%s: a range from %s to %s", a, n.Min, n.Max)
		case n.PortMin != 0 && !n.Min.IsValid():
			return refuse("%s: nat to a port without an address", a)
		case n.PortMax != 0 && n.PortMin == 0:
			return refuse("%s: ports up to %d from none", a, n.PortMax)
		}
	}
	for _, x := range a.Exec {
		switch x.(type) {
		case SetFieldAction, MoveAction:
		default:
			return refuse("%v in the exec of ct", x)
		}
		if err := validateAction(x, true); err != nil {
			return err
		}
	}
	return nil
}

func validateLearn(a LearnAction) error {
	if a.Table == 255 {
		return refuse("learn: 255 is not a table")
	}
	for _, m := range a.Match {
		if m.Field >= numFields || !m.IsExact() {
			return refuse("learn: a match of %s that is not whole", m.Field)
		}
	}
	for _, f := range a.Copy {
		if f >= numFields {
			return refuse("learn: no field %d", f)
		}
	}
	for _, m := range a.Load {
		if _, ok := m.Run(); !ok {
			return refuse("learn: load of %s under a mask that is not one run of bits", m.Field)
		}
	}
	for _, l := range a.LoadFrom {
		if !l.Src.valid() || !l.Dst.valid() || l.Src.Size != l.Dst.Size {
			return refuse("learn: load:%s->%s: %d bits to %d", l.Src, l.Dst, l.Src.Size, l.Dst.Size)
		}
	}
	return nil
}
