package ovstest

import (
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// check refuses a flow that the switch would: what is wrong with it alone,
// references to what is not there, actions that its match does not allow.
func (s *contents) check(f ovs.Flow, meters map[uint32]bool) error {
	if err := f.Validate(); err != nil {
		return err
	}
	for _, a := range flatten(f.Actions) {
		switch a := a.(type) {
		case ovs.GroupAction:
			if _, ok := s.groups[a.ID]; !ok {
				return fmt.Errorf("no such group %d", a.ID)
			}
		case ovs.MeterAction:
			if !meters[a.ID] {
				return fmt.Errorf("no such meter %d", a.ID)
			}
		}
	}
	_, err := consistent(knownOf(f.Match), f.Actions)
	return err
}

// known is what is known of a packet at an action: what the flow matched, and
// how many tags there are at least.
type known struct {
	ovs.Match
	tags int
}

// maxTags is how many tags Open vSwitch looks at.
const maxTags = 2

func knownOf(m ovs.Match) known {
	k := known{Match: m}
	if m.Meets(ovs.FieldVLANPCP) == nil {
		k.tags = 1
	}
	return k
}

// consistent checks that a packet that the match lets in has what each action
// needs (prerequisites in ovs-actions(7)). It returns what is known of the
// packet after them.
func consistent(m known, list []ovs.Action) (known, error) {
	for _, a := range list {
		if err := consistentAction(m, a); err != nil {
			return m, fmt.Errorf("%s: inconsistent with the match: %w", a, err)
		}
		m = after(m, a)
	}
	return m, nil
}

// after returns what is known of a packet once it has gone through the action.
func after(m known, a ovs.Action) known {
	switch a := a.(type) {
	case ovs.PushVLANAction:
		m.Match = m.With(ovs.VLANVID(0))
		m.tags++
	case ovs.PopVLANAction:
		if m.tags--; m.tags == 0 {
			m.Match = m.With(ovs.NoVLAN())
		}
	case ovs.PushMPLSAction:
		m.Match = m.With(ovs.EthType(a.EtherType))
	case ovs.PopMPLSAction:
		m.Match = m.With(ovs.EthType(a.EtherType))
	}
	return m
}

func consistentAction(m known, a ovs.Action) error {
	switch a := a.(type) {
	case ovs.OutputAction:
		return checkPort(a.Port)
	case ovs.OutputFieldAction:
		return m.Meets(a.Field.Field)
	case ovs.SetFieldAction:
		if a.Field == ovs.FieldVLANVID {
			return m.Meets(ovs.FieldVLANPCP)
		}
		return m.Meets(a.Field)
	case ovs.MoveAction:
		return meetAll(m, a.Src, a.Dst)
	case ovs.StackPushAction:
		return m.Meets(a.Field.Field)
	case ovs.StackPopAction:
		return m.Meets(a.Field.Field)
	case ovs.PushVLANAction:
		if m.tags == maxTags {
			return fmt.Errorf("more than %d tags", maxTags)
		}
	case ovs.PopVLANAction:
		return m.Meets(ovs.FieldVLANPCP)
	case ovs.DecTTLAction, ovs.DecTTLIDsAction, ovs.SetTTLAction:
		return m.Meets(ovs.FieldIPTTL)
	case ovs.PopMPLSAction, ovs.DecMPLSTTLAction, ovs.SetMPLSTTLAction:
		return m.Meets(ovs.FieldMPLSLabel)
	case ovs.CTAction:
		return consistentCT(m, a)
	case ovs.LearnAction:
		return consistentLearn(m, a)
	case ovs.CloneAction:
		_, err := consistent(m, a.Actions)
		return err
	case ovs.WriteActionsAction:
		_, err := consistent(m, a.Actions)
		return err
	}
	return nil
}

func meetAll(m known, list ...ovs.Subfield) error {
	for _, s := range list {
		if err := m.Meets(s.Field); err != nil {
			return err
		}
	}
	return nil
}

// maxPort is the first number that is no port's (OFPP_MAX of OpenFlow 1.0).
const maxPort = 0xff00

func checkPort(port uint32) error {
	switch port {
	case ovs.PortInPort, ovs.PortTable, ovs.PortNormal, ovs.PortFlood, ovs.PortAll, ovs.PortController, ovs.PortLocal:
		return nil
	}
	if port == 0 || port >= maxPort {
		return fmt.Errorf("no port %d", port)
	}
	return nil
}

func consistentCT(m known, a ovs.CTAction) error {
	if err := m.Meets(ovs.FieldIPTTL); err != nil {
		return err
	}
	if a.ZoneField != nil {
		if err := m.Meets(a.ZoneField.Field); err != nil {
			return err
		}
	}
	if state, _ := m.Field(ovs.FieldCTState); a.Commit && ovs.CTStateBits(state.Uint())&ovs.CTInv != 0 {
		return fmt.Errorf("commit of what ct_state says is invalid")
	}
	if n := a.NAT; n != nil && n.Min.IsValid() {
		family := ovs.FieldIPv6Src
		if n.Min.Unmap().Is4() {
			family = ovs.FieldIPv4Src
		}
		if err := m.Meets(family); err != nil {
			return err
		}
	}
	_, err := consistent(m, a.Exec)
	return err
}

// consistentLearn checks reads against the flow and writes against the flow
// to be learned, whose match grows as the learn says.
func consistentLearn(m known, a ovs.LearnAction) error {
	learned := known{}
	grow := func(c ovs.FieldMatch) error {
		if err := learned.Meets(c.Field); err != nil {
			return err
		}
		learned.Match = learned.With(c)
		return nil
	}
	for _, c := range a.Match {
		if err := grow(c); err != nil {
			return err
		}
	}
	for _, f := range a.Copy {
		if err := m.Meets(f); err != nil {
			return err
		}
		if err := learned.Meets(f); err != nil {
			return err
		}
	}
	for _, l := range a.MatchFrom {
		if err := m.Meets(l.Src.Field); err != nil {
			return err
		}
		if err := learned.Meets(l.Dst.Field); err != nil {
			return err
		}
	}
	for _, c := range a.Load {
		if err := learned.Meets(c.Field); err != nil {
			return err
		}
	}
	for _, l := range a.LoadFrom {
		if err := m.Meets(l.Src.Field); err != nil {
			return err
		}
		if err := learned.Meets(l.Dst.Field); err != nil {
			return err
		}
	}
	return meetAll(m, a.Output...)
}
