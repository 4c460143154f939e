package ovs

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Actions on where a packet goes, and on what is kept of it.
type (
	// OutputMaxAction sends the first MaxLen bytes, at least 14, to a port.
	OutputMaxAction struct{ Port, MaxLen uint32 }
	// SetQueueAction chooses the queue of what is sent from here on.
	SetQueueAction struct{ Queue uint32 }
	// PopQueueAction chooses the queue that was before.
	PopQueueAction struct{}
	// MeterAction hands the packet to a meter.
	MeterAction struct{ ID uint32 }
	// StackPushAction puts bits on the stack of the packet.
	StackPushAction struct{ Field Subfield }
	// StackPopAction takes bits off the stack.
	StackPopAction struct{ Field Subfield }
	// ExitAction ends the flow, and those that resubmitted to it.
	ExitAction struct{}
	// CTClearAction forgets what connection tracking said.
	CTClearAction struct{}
	// NoteAction does nothing; its data is padded to 6, 14, 22, ... bytes.
	NoteAction struct{ Data string }
	// FinTimeoutAction shortens the flow's timeouts when a TCP connection
	// ends; seconds, 0 leaves one as it is.
	FinTimeoutAction struct{ Idle, Hard uint16 }
	// CloneAction does actions to a copy.
	CloneAction struct{ Actions []Action }
	// CheckPktLargerAction sets a bit where the packet is longer.
	CheckPktLargerAction struct {
		Length uint16
		Dst    Subfield
	}
	// SampleAction sends samples to IPFIX collectors.
	SampleAction struct{ SampleSpec }
	// MultipathAction writes a number that a hash chooses to a field.
	MultipathAction struct{ MultipathSpec }
	// BundleAction sends to a port that is alive, or writes its number to a field.
	BundleAction struct{ BundleSpec }
	// WriteMetadataAction writes metadata once all actions are done (an instruction).
	WriteMetadataAction struct{ Value, Mask uint64 }
	// ClearActionsAction empties the action set (an instruction).
	ClearActionsAction struct{}
	// WriteActionsAction adds to the action set (an instruction).
	WriteActionsAction struct{ Actions []Action }
)

// A SampleSpec describes samples (sample in ovs-actions(7)).
type SampleSpec struct {
	Probability uint16 // of 65535
	Collectors  uint32 // id of their set
	Domain      uint32
	Point       uint32
	Port        uint32 // 0 is none
	Direction   uint8  // 0 is both, 1 ingress, 2 egress
}

// A MultipathSpec chooses a link (multipath in ovs-actions(7)).
type MultipathSpec struct {
	Hash      HashFields
	Basis     uint16
	Algorithm uint8 // 0 modulo_n, 1 hash_threshold, 2 hrw, 3 iter_hash
	Links     uint32
	Arg       uint32
	Dst       Subfield
}

// A BundleSpec chooses a port (bundle in ovs-actions(7)).
type BundleSpec struct {
	Hash      HashFields
	Basis     uint16
	Algorithm uint8 // 0 active_backup, 1 hrw
	Members   []uint16
	Dst       Subfield // where to write the number, if it has a size
}

// HashFields are the fields that multipath and bundle hash.
type HashFields uint16

var hashNames = []string{"eth_src", "symmetric_l4", "symmetric_l3l4", "symmetric_l3l4+udp", "nw_src", "nw_dst", "symmetric_l3"}

// String returns the name that ovs-ofctl(8) uses.
func (h HashFields) String() string { return nameOf(hashNames, int(h)) }

var (
	multipathNames = []string{"modulo_n", "hash_threshold", "hrw", "iter_hash"}
	bundleNames    = []string{"active_backup", "hrw"}
	reasonNames    = []string{"no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"}
)

// ReasonAction is the reason for a packet that an action sends to the
// controller (OpenFlow 1.5, section 7.4.1).
const ReasonAction = 1

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

func (OutputMaxAction) action()      {}
func (SetQueueAction) action()       {}
func (PopQueueAction) action()       {}
func (MeterAction) action()          {}
func (StackPushAction) action()      {}
func (StackPopAction) action()       {}
func (ExitAction) action()           {}
func (CTClearAction) action()        {}
func (NoteAction) action()           {}
func (FinTimeoutAction) action()     {}
func (CloneAction) action()          {}
func (CheckPktLargerAction) action() {}
func (SampleAction) action()         {}
func (MultipathAction) action()      {}
func (BundleAction) action()         {}
func (WriteMetadataAction) action()  {}
func (ClearActionsAction) action()   {}
func (WriteActionsAction) action()   {}

// OutputMax sends the first maxLen bytes, at least 14, to a port.
func OutputMax(port, maxLen uint32) Action { return OutputMaxAction{port, maxLen} }

// SetQueue chooses the queue of what is sent from here on.
func SetQueue(queue uint32) Action { return SetQueueAction{queue} }

// PopQueue chooses the queue that was before.
func PopQueue() Action { return PopQueueAction{} }

// Meter hands the packet to a meter.
func Meter(id uint32) Action { return MeterAction{id} }

// StackPush puts bits on the stack of the packet.
func StackPush(s Subfield) Action { return StackPushAction{s} }

// StackPop takes bits off the stack.
func StackPop(s Subfield) Action { return StackPopAction{s} }

// Exit ends the flow, and those that resubmitted to it.
func Exit() Action { return ExitAction{} }

// CTClear forgets what connection tracking said.
func CTClear() Action { return CTClearAction{} }

// Note does nothing but to be there. Zeros are added up to 6, 14, 22, ... bytes,
// as the switch does.
func Note(data []byte) Action {
	n := 6
	for n < len(data) {
		n += 8
	}
	return NoteAction{string(append(append(make([]byte, 0, n), data...), make([]byte, n-len(data))...))}
}

// FinTimeout shortens the flow's timeouts when a TCP connection ends.
func FinTimeout(idle, hard uint16) Action { return FinTimeoutAction{idle, hard} }

// Clone does actions to a copy.
func Clone(actions ...Action) Action { return CloneAction{actions} }

// CheckPktLarger sets the bit dst where the packet is longer.
func CheckPktLarger(length uint16, dst Subfield) Action { return CheckPktLargerAction{length, dst} }

// Sample sends samples to IPFIX collectors.
func Sample(s SampleSpec) Action { return SampleAction{s} }

// Multipath writes a number that a hash chooses to a field.
func Multipath(s MultipathSpec) Action { return MultipathAction{s} }

// Bundle sends to a port that is alive, or writes its number to a field.
func Bundle(s BundleSpec) Action { return BundleAction{s} }

// WriteMetadata writes the bits of mask once all actions before are done.
func WriteMetadata(value, mask uint64) Action { return WriteMetadataAction{value & mask, mask} }

// ClearActions empties the action set.
func ClearActions() Action { return ClearActionsAction{} }

// WriteActions adds to the action set, which is done where the pipeline ends.
func WriteActions(actions ...Action) Action { return WriteActionsAction{actions} }

// ResubmitPort looks the packet up as if it came in by port; table 255 is the
// one that the flow is in.
func ResubmitPort(port uint32, table uint8) Action { return ResubmitAction{Table: table, Port: port} }

// ResubmitCT is [Resubmit] with the fields of the original tuple swapped in.
func ResubmitCT(table uint8) Action { return ResubmitAction{Table: table, CT: true} }

func (a OutputMaxAction) String() string {
	return fmt.Sprintf("output(port=%s,max_len=%d)", portText(a.Port), a.MaxLen)
}
func (a SetQueueAction) String() string     { return fmt.Sprintf("set_queue:%d", a.Queue) }
func (PopQueueAction) String() string       { return "pop_queue" }
func (a MeterAction) String() string        { return fmt.Sprintf("meter:%d", a.ID) }
func (a StackPushAction) String() string    { return "push:" + a.Field.String() }
func (a StackPopAction) String() string     { return "pop:" + a.Field.String() }
func (ExitAction) String() string           { return "exit" }
func (CTClearAction) String() string        { return "ct_clear" }
func (a NoteAction) String() string         { return "note:" + dotted(a.Data) }
func (a CloneAction) String() string        { return "clone(" + actionsText(a.Actions) + ")" }
func (ClearActionsAction) String() string   { return "clear_actions" }
func (a WriteActionsAction) String() string { return "write_actions(" + actionsText(a.Actions) + ")" }

func (a FinTimeoutAction) String() string {
	return fmt.Sprintf("fin_timeout(idle_timeout=%d,hard_timeout=%d)", a.Idle, a.Hard)
}

func (a CheckPktLargerAction) String() string {
	return fmt.Sprintf("check_pkt_larger(%d)->%s", a.Length, a.Dst)
}

func (a WriteMetadataAction) String() string {
	s := fmt.Sprintf("write_metadata:%#x", a.Value)
	if a.Mask != ^uint64(0) {
		s += fmt.Sprintf("/%#x", a.Mask)
	}
	return s
}

func (a ResubmitAction) String() string {
	var p [2]string
	if a.Port != 0 {
		p[0] = portText(a.Port)
	}
	if a.Table != 255 {
		p[1] = fmt.Sprint(a.Table)
	} else if !a.CT {
		return "resubmit:" + p[0]
	}
	s := "resubmit(" + p[0] + "," + p[1]
	if a.CT {
		s += ",ct"
	}
	return s + ")"
}

func (a ControllerAction) String() string {
	if a == (ControllerAction{MaxLen: a.MaxLen, Reason: ReasonAction}) {
		return fmt.Sprintf("CONTROLLER:%d", a.MaxLen)
	}
	p := []string{fmt.Sprintf("max_len=%d", a.MaxLen)}
	if a.Reason != ReasonAction {
		p = append(p, "reason="+nameOf(reasonNames, int(a.Reason)))
	}
	if a.ID != 0 {
		p = append(p, fmt.Sprintf("id=%d", a.ID))
	}
	if a.UserData != "" {
		p = append(p, "userdata="+dotted(a.UserData))
	}
	if a.Pause {
		p = append(p, "pause")
	}
	if a.Meter != 0 {
		p = append(p, fmt.Sprintf("meter_id=%d", a.Meter))
	}
	return "controller(" + strings.Join(p, ",") + ")"
}

func (a SampleAction) String() string {
	s := fmt.Sprintf("sample(probability=%d,collector_set_id=%d,obs_domain_id=%d,obs_point_id=%d", a.Probability, a.Collectors, a.Domain, a.Point)
	if a.Port != 0 {
		s += ",sampling_port=" + portText(a.Port)
	}
	return s + []string{"", ",ingress", ",egress"}[min(a.Direction, 2)] + ")"
}

func (a MultipathAction) String() string {
	return fmt.Sprintf("multipath(%s,%d,%s,%d,%d,%s)", a.Hash, a.Basis, nameOf(multipathNames, int(a.Algorithm)), a.Links, a.Arg, a.Dst)
}

func (a BundleAction) String() string {
	name, dst := "bundle", ""
	if a.Dst.Size != 0 {
		name, dst = "bundle_load", a.Dst.String()+","
	}
	p := make([]string, len(a.Members))
	for i, m := range a.Members {
		p[i] = portText(port32(m))
	}
	return fmt.Sprintf("%s(%s,%d,%s,ofport,%smembers:%s)", name, a.Hash, a.Basis, nameOf(bundleNames, int(a.Algorithm)), dst, strings.Join(p, ","))
}

// port32 returns the port that a number of OpenFlow 1.0 stands for.
func port32(n uint16) uint32 {
	if n >= 0xff00 {
		return uint32(n) | 0xffff0000
	}
	return uint32(n)
}

// dotted returns "01.02.ff".
func dotted(data string) string {
	p := make([]string, len(data))
	for i := range len(data) {
		p[i] = hex.EncodeToString([]byte{data[i]})
	}
	return strings.Join(p, ".")
}

// algText returns the name of a conntrack helper.
func algText(port uint16) string {
	switch port {
	case 21:
		return "ftp"
	case 69:
		return "tftp"
	}
	return fmt.Sprint(port)
}
