package ovs

import (
	"fmt"
	"slices"
	"strings"
)

// FlowFlags are the flags of a flow (OpenFlow 1.5, section 7.3.4.1).
type FlowFlags uint16

// Flags of a flow.
const (
	SendFlowRemoved FlowFlags = 1 << iota // asks for a message when the flow goes away
	CheckOverlap                          // refuses the flow where another overlaps it
	ResetCounts
	NoPacketCounts
	NoByteCounts
)

var flagNames = []string{"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"}

func flagByName(name string) FlowFlags { return 1 << slices.Index(flagNames, name) }

// A Flow is an entry of a table. A flow without actions drops.
type Flow struct {
	Table       uint8
	Priority    uint16
	Cookie      uint64
	IdleTimeout uint16 // seconds, 0 is never
	HardTimeout uint16
	Flags       FlowFlags
	Importance  uint16 // a full table that makes room does so at the least important (OpenFlow 1.4)
	Match       Match
	Actions     []Action
}

// Key identifies a flow on a switch: table, priority and match.
type Key string

// Key returns what identifies the flow.
func (f Flow) Key() Key {
	b := make([]byte, 0, 3+len(f.Match.oxm))
	b = append(b, f.Table, byte(f.Priority>>8), byte(f.Priority))
	return Key(append(b, f.Match.oxm...))
}

// Equal reports whether two flows have one key and do the same.
func (f Flow) Equal(o Flow) bool {
	return f.Table == o.Table && f.Priority == o.Priority && f.Match.Equal(o.Match) && sameEffect(f, o)
}

// String returns the flow as ovs-ofctl(8) takes it.
func (f Flow) String() string {
	var b strings.Builder
	if f.Cookie != 0 {
		fmt.Fprintf(&b, "cookie=%#x,", f.Cookie)
	}
	fmt.Fprintf(&b, "table=%d,", f.Table)
	if f.IdleTimeout != 0 {
		fmt.Fprintf(&b, "idle_timeout=%d,", f.IdleTimeout)
	}
	if f.HardTimeout != 0 {
		fmt.Fprintf(&b, "hard_timeout=%d,", f.HardTimeout)
	}
	for i, name := range flagNames {
		if f.Flags>>i&1 != 0 {
			b.WriteString(name + ",")
		}
	}
	if f.Importance != 0 {
		fmt.Fprintf(&b, "importance=%d,", f.Importance)
	}
	fmt.Fprintf(&b, "priority=%d", f.Priority)
	if m := f.Match.String(); m != "" {
		b.WriteString("," + m)
	}
	b.WriteString(" actions=" + actionsText(f.Actions))
	return b.String()
}

// Validate returns [ErrInvalid] with the flow and the fault.
func (f Flow) Validate() error {
	err := f.Match.Validate()
	if err == nil {
		err = validateActions(f.Actions, inFlow, 0)
	}
	if err == nil {
		err = checkContext(f.Match, f.Actions)
	}
	if err == nil && f.Table == 255 {
		err = fmt.Errorf("%w: table 255 is not a table", ErrInvalid)
	}
	if err == nil && len(f.Actions) > 0 {
		if g, ok := f.Actions[len(f.Actions)-1].(GotoAction); ok && g.Table <= f.Table {
			err = fmt.Errorf("%w: goto_table:%d is not a later table", ErrInvalid, g.Table)
		}
	}
	if err != nil {
		return fmt.Errorf("ovs: flow %s: %w", f, err)
	}
	return nil
}
