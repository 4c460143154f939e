package ovstest

import "github.com/tierloom/tierloom/ovs"

// actionSet returns what a switch does of a list that is a set: a bucket's
// actions, or those of write_actions. Of each kind the last counts, but that
// every write of a field does; they go in the order of OpenFlow 1.5, section
// 5.6; and of a group, an output, a resubmit and a ct only the first named here
// that there is. What has no place in a set does nothing.
func actionSet(list []ovs.Action) (out []ovs.Action) {
	last := map[int]ovs.Action{}
	var writes []ovs.Action
	for _, a := range list {
		switch place := placeInSet(a); place {
		case placeNone:
		case placeWrite:
			writes = append(writes, a)
		default:
			last[place] = a
		}
	}
	put := func(place int) bool {
		a, ok := last[place]
		if ok {
			out = append(out, a)
		}
		return ok
	}
	for place := placePopVLAN; place < placeWrite; place++ {
		put(place)
	}
	out = append(out, writes...)
	put(placeQueue)
	_ = put(placeGroup) || put(placeOutput) || put(placeResubmit) || put(placeCT)
	return out
}

const (
	placeNone = iota
	placePopVLAN
	placePopMPLS
	placeDecap
	placeEncap
	placePushMPLS
	placePushVLAN
	placeDecTTL
	placeDecMPLSTTL
	placeDecNSHTTL
	placeWrite
	placeQueue
	placeGroup
	placeOutput
	placeResubmit
	placeCT
)

func placeInSet(a ovs.Action) int {
	switch a.(type) {
	case ovs.PopVLANAction:
		return placePopVLAN
	case ovs.PopMPLSAction:
		return placePopMPLS
	case ovs.DecapAction:
		return placeDecap
	case ovs.EncapAction:
		return placeEncap
	case ovs.PushMPLSAction:
		return placePushMPLS
	case ovs.PushVLANAction:
		return placePushVLAN
	case ovs.DecTTLAction, ovs.DecTTLIDsAction:
		return placeDecTTL
	case ovs.DecMPLSTTLAction:
		return placeDecMPLSTTL
	case ovs.DecNSHTTLAction:
		return placeDecNSHTTL
	case ovs.SetFieldAction, ovs.MoveAction, ovs.SetTTLAction:
		return placeWrite
	case ovs.SetQueueAction:
		return placeQueue
	case ovs.GroupAction:
		return placeGroup
	case ovs.OutputAction, ovs.ControllerAction:
		return placeOutput
	case ovs.ResubmitAction:
		return placeResubmit
	case ovs.CTAction:
		return placeCT
	}
	return placeNone
}
