package openflow

import (
	"fmt"
	"iter"

	"github.com/tierloom/tierloom/ovs"
)

// An edit is one flow-mod or group-mod: of flow, or else of group.
type edit struct {
	verb    string
	command uint8
	flow    *ovs.Flow
	group   *ovs.Group
}

// edits returns what the changes do, in the order of ovs.Changes.
func edits(c ovs.Changes) iter.Seq[edit] {
	return func(yield func(edit) bool) {
		groups := func(verb string, command uint8, list []ovs.Group) bool {
			for i := range list {
				if !yield(edit{verb: verb, command: command, group: &list[i]}) {
					return false
				}
			}
			return true
		}
		flows := func(verb string, command uint8, list []ovs.Flow) bool {
			for i := range list {
				if !yield(edit{verb: verb, command: command, flow: &list[i]}) {
					return false
				}
			}
			return true
		}
		if !groups("add-group", groupAdd, c.GroupAdd) || !groups("mod-group", groupModify, c.GroupModify) ||
			!flows("add-flow", flowAdd, c.FlowAdd) || !flows("del-flow", flowDeleteStrict, c.FlowDelete) {
			return
		}
		for _, id := range c.GroupDelete {
			if !yield(edit{verb: "del-group", command: groupDelete, group: &ovs.Group{ID: id}}) {
				return
			}
		}
	}
}

// String returns the edit as ovs-ofctl(8) takes it: "add-flow table=0,...".
func (e edit) String() string {
	switch {
	case e.flow != nil:
		return e.verb + " " + e.flow.String()
	case e.command == groupDelete:
		return fmt.Sprintf("%s group_id=%d", e.verb, e.group.ID)
	}
	return e.verb + " " + e.group.String()
}

// append appends the message as a version has it.
func (e edit) append(b []byte, xid uint32, v Version) ([]byte, error) {
	switch {
	case e.flow != nil && v == OpenFlow15:
		return appendFlowMod(b, xid, e.command, e.flow)
	case e.flow != nil:
		return appendOlderFlowMod(b, xid, e.command, e.flow, v)
	case v == OpenFlow15:
		return appendGroupMod(b, xid, uint16(e.command), e.group)
	}
	return appendOlderGroupMod(b, xid, uint16(e.command), e.group, v)
}
