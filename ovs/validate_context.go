package ovs

// checkContext refuses actions on headers that a packet of the match, after
// the actions before, need not have; a switch refuses them too.
func checkContext(m Match, list []Action) error {
	if !needsContext(list) {
		return nil
	}
	s := settingOf(m)
	return s.check(list)
}

// needsContext reports whether any of the actions looks at headers.
func needsContext(list []Action) bool {
	for _, a := range list {
		switch a := a.(type) {
		case OutputAction, GotoAction, GroupAction, ControllerAction, ConjunctionAction:
		case ResubmitAction:
			if a.CT {
				return true
			}
		case SetFieldAction:
			if p := fields[a.Field].needs; p != needsNone || a.Field == FieldVLANVID {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// check goes through the actions and keeps s as the packet is.
func (s *setting) check(list []Action) error {
	for _, a := range list {
		if what := s.missing(a); what != "" {
			return refuse("%s needs %s", a, what)
		}
		switch a := a.(type) {
		case CloneAction:
			inner := *s
			if err := inner.check(a.Actions); err != nil {
				return err
			}
		case CTAction:
			inner := *s
			if err := inner.check(a.Exec); err != nil {
				return err
			}
		}
		s.after(a)
	}
	return nil
}

// missing says what the action requires that the packet need not have.
func (s *setting) missing(a Action) string {
	switch a := a.(type) {
	case SetFieldAction:
		if a.Field == FieldVLANVID && !s.tagged {
			return "vlan_vid with a tag"
		}
		return s.unmet(fields[a.Field].needs)
	case MoveAction:
		if what := s.unmet(fields[a.Src.Field].needs); what != "" {
			return what
		}
		return s.unmet(fields[a.Dst.Field].needs)
	case StackPushAction:
		return s.unmet(fields[a.Field.Field].needs)
	case StackPopAction:
		return s.unmet(fields[a.Field.Field].needs)
	case OutputFieldAction:
		return s.unmet(fields[a.Field.Field].needs)
	case CTAction:
		return s.missingCT(a)
	case DecTTLAction, DecTTLIDsAction, SetTTLAction:
		return s.unmet(needsIP)
	case ResubmitAction:
		if a.CT && !s.conn {
			return "ct_state with a connection"
		}
	case LearnAction:
		return s.missingLearn(&a.LearnSpec)
	case MultipathAction:
		return s.unmet(fields[a.Dst.Field].needs)
	case CheckPktLargerAction:
		return s.unmet(fields[a.Dst.Field].needs)
	case PushMPLSAction:
		return s.unmet(needsEther)
	case FinTimeoutAction:
		if s.proto != protoTCP {
			return "nw_proto=6"
		}
	case PopVLANAction:
		if !s.tagged {
			return "vlan_vid with a tag"
		}
	case PopMPLSAction:
		if what := s.unmet(needsEther); what != "" {
			return what
		}
		return s.unmet(needsMPLS)
	case SetMPLSTTLAction, DecMPLSTTLAction:
		return s.unmet(needsMPLS)
	case DecNSHTTLAction:
		return s.unmet(needsNSH)
	}
	return ""
}

// missingLearn looks at the fields of the packet and of the flow that is learned.
func (s *setting) missingLearn(l *LearnSpec) string {
	learned := settingOf(Match{})
	first := func(more ...string) string {
		for _, what := range more {
			if what != "" {
				return what
			}
		}
		return ""
	}
	what := ""
	for _, m := range l.Match {
		what = first(what, learned.unmet(fields[m.Field].needs))
		if m.IsExact() {
			learned.learn(m)
		}
	}
	for _, f := range l.Copy {
		what = first(what, s.unmet(fields[f].needs), learned.unmet(fields[f].needs))
	}
	for _, m := range l.MatchFrom {
		what = first(what, s.unmet(fields[m.Src.Field].needs), learned.unmet(fields[m.Dst.Field].needs))
	}
	for _, m := range l.Load {
		what = first(what, learned.unmet(fields[m.Field].needs))
	}
	for _, m := range l.LoadFrom {
		what = first(what, s.unmet(fields[m.Src.Field].needs), learned.unmet(fields[m.Dst.Field].needs))
	}
	for _, f := range l.Output {
		what = first(what, s.unmet(fields[f.Field].needs))
	}
	return what
}

// learn takes a constant of a learned flow in.
func (s *setting) learn(m FieldMatch) {
	switch v := int(m.Uint()); m.Field {
	case FieldEthType:
		s.ether = v
	case FieldIPProto:
		s.proto = v
	case FieldICMPv6Type:
		s.icmpType = v
	case FieldVLANVID, FieldVLANTCI:
		s.tagged = v&vlanPresent != 0
	}
}

func (s *setting) missingCT(a CTAction) string {
	if what := s.unmet(needsIP); what != "" {
		return what
	}
	switch {
	case a.Alg == 21 && s.proto != protoTCP:
		return "nw_proto=6"
	case a.Alg == 69 && s.proto != protoUDP:
		return "nw_proto=17"
	}
	if n := a.NAT; n != nil && n.Min.IsValid() {
		if n.Min.Unmap().Is4() {
			return s.unmet(needsIPv4)
		}
		return s.unmet(needsIPv6)
	}
	return ""
}

// after changes s to what the packet is after an action.
func (s *setting) after(a Action) {
	switch a := a.(type) {
	case PushVLANAction:
		s.tagged = true
	case PopVLANAction:
		s.tagged = false
	case SetFieldAction:
		if a.Field == FieldVLANTCI {
			s.tagged = a.Uint()&vlanPresent != 0
		}
	case PushMPLSAction:
		s.ether, s.proto = int(a.EtherType), -1
	case PopMPLSAction:
		s.ether = int(a.EtherType)
	case EncapAction:
		if s.ethernet = a.PacketType == PacketEthernet; !s.ethernet {
			s.ether = int(a.PacketType & 0xffff)
		}
		if s.ether != etherIPv4 && s.ether != etherIPv6 {
			s.proto = -1
		}
	case DecapAction:
		if !s.ethernet {
			s.ether, s.proto = -1, -1
		}
		s.ethernet = false
	}
}
