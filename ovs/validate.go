package ovs

import (
	"fmt"
	"slices"
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// A place is where a list of actions stands; it says which may be in it.
type place uint8

const (
	inFlow       place = iota
	inList             // a bucket, clone or packet-out: no instructions
	inConnection       // exec of a ct
	inActionSet        // write_actions
)

// maxNesting bounds actions within actions, on the wire too.
const maxNesting = 8

// validateActions checks what a switch checks of a list of actions.
func validateActions(list []Action, where place, depth int) error {
	if depth > maxNesting {
		return refuse("actions nested deeper than %d", maxNesting)
	}
	last := 0
	for i, a := range list {
		if a == nil {
			return refuse("action %d is nil", i)
		}
		rank := instruction(a)
		switch {
		case rank > 0 && where != inFlow:
			return refuse("%s is not for a list within a flow", a)
		case last == instructionGoto:
			return refuse("%s is not the last action", list[i-1])
		case rank < last:
			return refuse("%s after %s", a, list[i-1])
		case rank > 0 && rank == last:
			return refuse("%s after one of its kind", a)
		}
		last = rank
		if err := validateAction(a, where, depth); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(list, isConjunction) && slices.ContainsFunc(list, func(a Action) bool { _, note := a.(NoteAction); return !note && !isConjunction(a) }) {
		return refuse("conjunction with other actions")
	}
	return nil
}

func isConjunction(a Action) bool { _, ok := a.(ConjunctionAction); return ok }

const instructionGoto = 4

// instruction returns the place of an instruction among a flow's, 0 for an
// action (OpenFlow 1.5, section 5.5).
func instruction(a Action) int {
	switch a.(type) {
	case ClearActionsAction:
		return 1
	case WriteActionsAction:
		return 2
	case WriteMetadataAction:
		return 3
	case GotoAction:
		return instructionGoto
	}
	return 0
}

// validateAction checks one action.
func validateAction(a Action, where place, depth int) error {
	switch a := a.(type) {
	case SetFieldAction:
		return validateSet(a, where == inConnection)
	case MoveAction:
		switch {
		case !a.Src.valid() || !a.Dst.valid() || a.Src.Size != a.Dst.Size:
			return refuse("%s: %d bits to %d", a, a.Src.Size, a.Dst.Size)
		case !a.Dst.writable() && where != inConnection:
			return refuse("%s: the field cannot be written", a)
		}
	case ConjunctionAction:
		if a.N < 2 || a.N > 64 || a.Clause < 1 || a.Clause > a.N {
			return refuse("%s: want clause 1 to n of n, n 2 to 64", a)
		}
	case CTAction:
		return validateCT(a, depth)
	case LearnAction:
		return validateLearn(a)
	case CloneAction:
		return validateActions(a.Actions, inList, depth+1)
	case WriteActionsAction:
		return validateActions(a.Actions, inActionSet, depth+1)
	}
	return validateSimple(a)
}

func validateSet(a SetFieldAction, connection bool) error {
	label := a.Field == FieldCTMark || a.Field == FieldCTLabel
	switch {
	case a.Field >= numFields || a.isAny():
		return refuse("set_field of no field or no bits")
	case fields[a.Field].does&writable == 0:
		return refuse("%s: the field cannot be written", a)
	case !a.IsExact() && fields[a.Field].does&maskable == 0:
		return refuse("%s: the field cannot be written in part", a)
	case a.Field == FieldIPTOS && a.Uint()&3 != 0:
		return refuse("%s: the low two bits are not TOS", a)
	case a.Field == FieldNXMInPort && !a.IsExact():
		return refuse("in_port can be written only whole")
	case label != connection:
		return refuse("%s: ct_mark and ct_label, and only they, are written in the exec of ct", a)
	}
	return checkValue(a.FieldMatch)
}

func validateCT(a CTAction, depth int) error {
	switch {
	case a.ZoneField != nil && (!a.ZoneField.valid() || a.ZoneField.Size != 16):
		return refuse("%s: the zone's field has not 16 bits", a)
	case a.HasTable && a.Table == 255:
		return refuse("%s: 255 is not a table", a)
	case len(a.Exec) > 0 && !a.Commit:
		return refuse("%s: exec without commit", a)
	case a.Force && !a.Commit:
		return refuse("%s: force without commit", a)
	case a.Alg != 0 && a.Alg != 21 && a.Alg != 69:
		return refuse("%s: no helper for port %d", a, a.Alg)
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
	}
	return validateActions(a.Exec, inConnection, depth+1)
}

func validateLearn(a LearnAction) error {
	if a.Table == 255 {
		return refuse("learn: 255 is not a table")
	}
	for _, m := range a.Match {
		if _, ok := m.Run(); !ok {
			return refuse("learn: a match of %s under a mask that is not one run of bits", m.Field)
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
		if fields[m.Field].does&writable == 0 {
			return refuse("learn: load of %s, which cannot be written", m.Field)
		}
	}
	for _, l := range slices.Concat(a.MatchFrom, a.LoadFrom) {
		if !l.Src.valid() || !l.Dst.valid() || l.Src.Size != l.Dst.Size {
			return refuse("learn: %s to %s: %d bits to %d", l.Src, l.Dst, l.Src.Size, l.Dst.Size)
		}
	}
	for _, l := range a.LoadFrom {
		if !l.Dst.writable() {
			return refuse("learn: load of %s, which cannot be written", l.Dst)
		}
	}
	for _, s := range a.Output {
		if !s.valid() || s.Size > 32 {
			return refuse("learn: output:%s: not a run of at most 32 bits", s)
		}
	}
	if r := a.Result; r.Size != 0 && (!r.valid() || r.Size != 1 || !r.writable()) {
		return refuse("learn: result_dst=%s: not a bit that can be written", r)
	}
	return nil
}
