package ovs

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// An Action is something done to a packet. Its kinds are the ...Action types
// of this package; make them with the constructors. String returns it as
// ovs-ofctl(8) takes it.
type Action interface {
	fmt.Stringer
	action()
}

// Reserved ports (OpenFlow 1.5, section 7.2.1.1).
const (
	PortInPort     uint32 = 0xfffffff8
	PortTable      uint32 = 0xfffffff9 // packet-out alone
	PortNormal     uint32 = 0xfffffffa
	PortFlood      uint32 = 0xfffffffb
	PortAll        uint32 = 0xfffffffc
	PortController uint32 = 0xfffffffd
	PortLocal      uint32 = 0xfffffffe
	PortAny        uint32 = 0xffffffff

	portUnset = 0xfffffff7 // what actset_output is without one
)

// The kinds of action.
type (
	// OutputAction sends the packet to a port.
	OutputAction struct{ Port uint32 }
	// OutputFieldAction sends it to the port that a field holds.
	OutputFieldAction struct{ Field Subfield }
	// SetFieldAction writes the bits of the mask.
	SetFieldAction struct{ FieldMatch }
	// MoveAction copies a field.
	MoveAction struct{ Src, Dst Subfield }
	// PushVLANAction adds a tag with id 0 of EtherType 0x8100 or 0x88a8.
	PushVLANAction struct{ EtherType uint16 }
	// PopVLANAction removes the outermost tag.
	PopVLANAction struct{}
	// DecTTLAction subtracts one from TTL or hop limit.
	DecTTLAction struct{}
	// ResubmitAction looks the packet up in a table and comes back.
	ResubmitAction struct {
		Table uint8  // 255, with a Port, is the table that the flow is in
		Port  uint32 // to look it up as if it came in by; 0 is as it did
		CT    bool   // with the original tuple of its connection
	}
	// GotoAction goes on in a later table; it must be last.
	GotoAction struct{ Table uint8 }
	// GroupAction hands the packet to a group.
	GroupAction struct{ ID uint32 }
	// ConjunctionAction is one clause of a conjunctive match.
	ConjunctionAction struct {
		ID        uint32
		Clause, N uint8 // clause 1 to N of N
	}
	// CTAction hands the packet to connection tracking.
	CTAction struct{ CTOptions }
	// LearnAction adds a flow made from the packet.
	LearnAction struct{ LearnSpec }
	// ControllerAction sends a copy to the controller.
	ControllerAction struct {
		MaxLen   uint16 // bytes of the packet
		Reason   uint8  // ReasonAction, or another that the message shall give
		ID       uint16 // of the controller
		UserData string
		Pause    bool   // until the controller resumes the packet
		Meter    uint32 // 0 is none
	}
	// UnknownAction is one that another program put on the switch and that
	// has no type here; Wire is its OpenFlow 1.5 form.
	UnknownAction struct{ Wire string }
)

func (OutputAction) action()      {}
func (OutputFieldAction) action() {}
func (SetFieldAction) action()    {}
func (MoveAction) action()        {}
func (PushVLANAction) action()    {}
func (PopVLANAction) action()     {}
func (DecTTLAction) action()      {}
func (ResubmitAction) action()    {}
func (GotoAction) action()        {}
func (GroupAction) action()       {}
func (ConjunctionAction) action() {}
func (CTAction) action()          {}
func (LearnAction) action()       {}
func (ControllerAction) action()  {}
func (UnknownAction) action()     {}

// Output sends the packet to a port; not back to the one it came in by, see
// [OutputInPort] and [ClearInPort].
func Output(port uint32) Action {
	if port == PortController {
		return Controller(0xffff)
	}
	return OutputAction{port}
}

// OutputInPort sends the packet back where it came from.
func OutputInPort() Action { return OutputAction{PortInPort} }

// OutputField sends the packet to the port whose number a field holds.
func OutputField(s Subfield) Action { return OutputFieldAction{s} }

// SetField writes a field; with a mask, only the bits of the mask.
func SetField(m FieldMatch) Action { return SetFieldAction{m} }

// Load writes the low bits of v to a run of at most 64 bits of a field: a
// [SetField] with a mask. A run that does not exist makes an invalid action.
func Load(v uint64, s Subfield) Action {
	if s.Size > 64 {
		return SetFieldAction{FieldMatch{Field: numFields}}
	}
	return SetFieldAction{MatchBits(s, binary.BigEndian.AppendUint64(nil, v))}
}

// ClearInPort forgets the port that the packet came in by, so that it may
// leave by it.
func ClearInPort() Action { return SetFieldAction{exact(FieldNXMInPort, 0)} }

// Move copies src to dst, which has the same size.
func Move(src, dst Subfield) Action { return MoveAction{src, dst} }

// PushVLAN adds an 802.1Q tag with id 0; [SetField] with [VLANVID] sets the id.
func PushVLAN() Action { return PushVLANAction{etherVLAN} }

// PopVLAN removes the outermost tag.
func PopVLAN() Action { return PopVLANAction{} }

// DecTTL subtracts one from TTL or hop limit; at zero the packet is dropped.
func DecTTL() Action { return DecTTLAction{} }

// Resubmit looks the packet up in a table, then goes on with the next action.
func Resubmit(table uint8) Action { return ResubmitAction{Table: table} }

// Goto goes on in a later table. It must be the last action.
func Goto(table uint8) Action { return GotoAction{table} }

// ToGroup hands the packet to a group.
func ToGroup(id uint32) Action { return GroupAction{id} }

// Conjunction makes the flow clause k of n of a conjunctive match; see [ConjID].
func Conjunction(id uint32, k, n uint8) Action { return ConjunctionAction{id, k, n} }

// CT hands the packet to connection tracking.
func CT(o CTOptions) Action { return CTAction{o} }

// Learn adds a flow made from the packet.
func Learn(s LearnSpec) Action { return LearnAction{s} }

// Controller sends the first maxLen bytes to the controller.
func Controller(maxLen uint16) Action {
	return ControllerAction{MaxLen: maxLen, Reason: ReasonAction}
}

// CTOptions say what connection tracking does with a packet (ct in
// ovs-actions(7)). Without a table the packet goes on untracked with the next action.
type CTOptions struct {
	Commit, Force bool
	// Zone is the zone, unless ZoneField says which field holds it.
	Zone      uint16
	ZoneField *Subfield
	// Table is where the tracked packet goes on, if HasTable.
	HasTable bool
	Table    uint8
	// NAT translates: the zero NAT as the connection already says.
	NAT *NAT
	// Alg is the helper of a committed connection: 21 for FTP, 69 for TFTP.
	Alg uint16
	// Exec are SetField and Move actions on ct_mark and ct_label.
	Exec []Action
}

// NAT is a translation that a committed connection gets.
type NAT struct {
	Src, Dst         bool // neither: as the connection says
	Min, Max         netip.Addr
	PortMin, PortMax uint16
	// How to choose from a range; none is OVS's default.
	Random, Hash, Persistent bool
}

// Normal returns the translation in the one form that a switch reports: no
// end of a range that is its beginning, nothing beside the zero NAT without Src or Dst.
func (n NAT) Normal() NAT {
	if !n.Src && !n.Dst {
		return NAT{}
	}
	n.Min, n.Max = n.Min.Unmap(), n.Max.Unmap()
	if n.Max == n.Min {
		n.Max = netip.Addr{}
	}
	if n.PortMax <= n.PortMin {
		n.PortMax = 0
	}
	return n
}

// A LearnSpec describes the flow that [Learn] adds (learn in ovs-actions(7)).
type LearnSpec struct {
	Table                    uint8
	Priority                 uint16
	Cookie                   uint64
	IdleTimeout, HardTimeout uint16 // seconds, 0 is never
	// FinIdleTimeout and FinHardTimeout are what a TCP FIN or RST shortens
	// the timeouts to; 0 leaves them.
	FinIdleTimeout, FinHardTimeout uint16
	// Match are constant constraints, a mask of which must be a run of bits;
	// Copy are fields that must be as in the packet, and MatchFrom bits that
	// must be as others of the packet are.
	Match     []FieldMatch
	Copy      []Field
	MatchFrom []LearnLoad
	// Load are constants that the new flow writes; a mask must be a run of bits.
	Load []FieldMatch
	// LoadFrom are fields of the packet that the new flow writes.
	LoadFrom []LearnLoad
	// Output are fields of the packet that hold the ports it sends to.
	Output []Subfield
	// DeleteLearned removes the learned flows with this flow;
	// SendFlowRemoved has their end reported.
	DeleteLearned, SendFlowRemoved bool
	// Limit is how many flows may be learned, 0 is any number. Result, if it
	// has a size, is the bit that says whether one was.
	Limit  uint32
	Result Subfield
}

// A LearnLoad makes a learned flow write what Src held in the packet to Dst.
type LearnLoad struct{ Src, Dst Subfield }

func (a OutputAction) String() string {
	if name, ok := portNames[a.Port]; ok {
		return name
	}
	return fmt.Sprintf("output:%d", a.Port)
}

func (a OutputFieldAction) String() string { return "output:" + a.Field.String() }

func (a SetFieldAction) String() string {
	if a.Field >= numFields {
		return "set_field:" + a.Field.String()
	}
	if a.Field == FieldNXMInPort {
		return fmt.Sprintf("load:%#x->NXM_OF_IN_PORT[]", a.Uint())
	}
	value, mask := a.Bytes()
	v := valueText(a.Field, value)
	if a.Field == FieldVLANVID {
		v = fmt.Sprint(a.Uint()) // with the bit that says a tag is there
	}
	if !a.IsExact() {
		v += "/" + valueText(a.Field, mask)
	}
	return "set_field:" + v + "->" + a.Field.String()
}

func (a MoveAction) String() string     { return "move:" + a.Src.String() + "->" + a.Dst.String() }
func (a PushVLANAction) String() string { return fmt.Sprintf("push_vlan:%#x", a.EtherType) }
func (PopVLANAction) String() string    { return "pop_vlan" }
func (DecTTLAction) String() string     { return "dec_ttl" }
func (a GotoAction) String() string     { return fmt.Sprintf("goto_table:%d", a.Table) }
func (a GroupAction) String() string    { return fmt.Sprintf("group:%d", a.ID) }
func (a UnknownAction) String() string  { return fmt.Sprintf("unknown(0x%x)", a.Wire) }

func (a ConjunctionAction) String() string {
	return fmt.Sprintf("conjunction(%d,%d/%d)", a.ID, a.Clause, a.N)
}

func (a CTAction) String() string {
	var p []string
	if a.Commit {
		p = append(p, "commit")
	}
	if a.Force {
		p = append(p, "force")
	}
	if a.HasTable {
		p = append(p, fmt.Sprintf("table=%d", a.Table))
	}
	switch {
	case a.ZoneField != nil:
		p = append(p, "zone="+a.ZoneField.String())
	case a.Zone != 0:
		p = append(p, fmt.Sprintf("zone=%d", a.Zone))
	}
	if a.NAT != nil {
		p = append(p, a.NAT.String())
	}
	if a.Alg != 0 {
		p = append(p, "alg="+algText(a.Alg))
	}
	if len(a.Exec) > 0 {
		p = append(p, "exec("+actionsText(a.Exec)+")")
	}
	return "ct(" + strings.Join(p, ",") + ")"
}

// String returns "nat(dst=10.0.0.1:80)".
func (n NAT) String() string {
	n = n.Normal()
	var dir string
	switch {
	case n.Src:
		dir = "src"
	case n.Dst:
		dir = "dst"
	default:
		return "nat"
	}
	s := ""
	addr := func(a netip.Addr) string {
		if n.PortMin != 0 && a.Is6() {
			return "[" + a.String() + "]"
		}
		return a.String()
	}
	if n.Min.IsValid() {
		s = "=" + addr(n.Min)
		if n.Max.IsValid() {
			s += "-" + addr(n.Max)
		}
	}
	if n.PortMin != 0 {
		s += fmt.Sprintf(":%d", n.PortMin)
		if n.PortMax != 0 {
			s += fmt.Sprintf("-%d", n.PortMax)
		}
	}
	for _, o := range []struct {
		on   bool
		name string
	}{{n.Persistent, "persistent"}, {n.Hash, "hash"}, {n.Random, "random"}} {
		if o.on {
			s += "," + o.name
		}
	}
	return "nat(" + dir + s + ")"
}

func actionsText(list []Action) string {
	if len(list) == 0 {
		return "drop"
	}
	p := make([]string, len(list))
	for i, a := range list {
		p[i] = "<nil>"
		if a != nil {
			p[i] = a.String()
		}
	}
	return strings.Join(p, ",")
}
