package ovs

import (
	"fmt"
	"strings"
)

// GroupType says what a group does with its buckets (OpenFlow 1.5, section 5.10.1).
type GroupType uint8

// Types of group.
const (
	All GroupType = iota
	Select
	Indirect
	FastFailover
)

// String returns the name that ovs-ofctl(8) uses.
func (t GroupType) String() string {
	if int(t) < len(groupTypes) {
		return groupTypes[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

var groupTypes = []string{"all", "select", "indirect", "ff"}

// A Group hands a packet to all or to one of its buckets.
type Group struct {
	ID   uint32
	Type GroupType
	// Selection is how Select chooses: "hash", "dp_hash", or "" for OVS's default.
	Selection string
	// Fields are what "hash" looks at; none means the five-tuple.
	Fields  []Field
	Buckets []Bucket
}

// A Bucket is a list of actions with a weight among its group's.
type Bucket struct {
	ID      uint32
	Weight  uint16 // Select only; there 0 gets nothing, elsewhere it is ignored
	Actions []Action
	// WatchPort is the port whose liveness FastFailover looks at; 0 is none.
	WatchPort uint32
}

// String returns the group as ovs-ofctl(8) takes it.
func (g Group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group_id=%d,type=%s", g.ID, g.Type)
	if g.Selection != "" {
		b.WriteString(",selection_method=" + g.Selection)
		if len(g.Fields) > 0 {
			names := make([]string, len(g.Fields))
			for i, f := range g.Fields {
				names[i] = f.String()
			}
			b.WriteString(",fields(" + strings.Join(names, ",") + ")")
		}
	}
	for _, k := range g.Buckets {
		fmt.Fprintf(&b, ",bucket=bucket_id:%d", k.ID)
		if g.Type == Select {
			fmt.Fprintf(&b, ",weight:%d", k.Weight)
		}
		if k.WatchPort != 0 {
			fmt.Fprintf(&b, ",watch_port:%d", k.WatchPort)
		}
		b.WriteString(",actions=" + actionsText(k.Actions))
	}
	return b.String()
}

// Validate returns [ErrInvalid] with the group and the fault.
func (g Group) Validate() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("ovs: group %d: %w: "+format, append([]any{g.ID, ErrInvalid}, args...)...)
	}
	switch {
	case g.ID >= 0xffffff00:
		return fault("id is reserved")
	case int(g.Type) >= len(groupTypes):
		return fault("no such type")
	case g.Type == Indirect && len(g.Buckets) != 1:
		return fault("indirect with %d buckets, want 1", len(g.Buckets))
	case g.Selection != "" && g.Type != Select:
		return fault("selection method %q of a group of type %s", g.Selection, g.Type)
	case len(g.Fields) > 0 && g.Selection != "hash":
		return fault("fields without selection method hash")
	case g.Selection != "" && g.Selection != "hash" && g.Selection != "dp_hash":
		return fault("selection method %q, want hash or dp_hash", g.Selection)
	}
	for _, f := range g.Fields {
		if f >= numFields {
			return fault("no field %d", f)
		}
	}
	seen := map[uint32]bool{}
	for _, b := range g.Buckets {
		if b.ID >= 0xffffff00 {
			return fault("bucket id %#x is reserved", b.ID)
		}
		if seen[b.ID] {
			return fault("two buckets with id %d", b.ID)
		}
		seen[b.ID] = true
		if err := validateActions(b.Actions, inList, 0); err != nil {
			return fault("bucket %d: %v", b.ID, err)
		}
	}
	return nil
}
