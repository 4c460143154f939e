package ovs

import (
	"context"
	"fmt"
	"strings"
)

// Changes are what one bundle does to a switch, in this order: groups are
// added and modified, flows added and deleted, groups deleted.
type Changes struct {
	GroupAdd, GroupModify []Group
	// FlowAdd adds flows and replaces those with the same key.
	FlowAdd []Flow
	// FlowDelete deletes exactly these: same table, priority and match.
	FlowDelete  []Flow
	GroupDelete []uint32
}

// Len returns the number of messages.
func (c Changes) Len() int {
	return len(c.GroupAdd) + len(c.GroupModify) + len(c.FlowAdd) + len(c.FlowDelete) + len(c.GroupDelete)
}

// String returns one change a line, in order.
func (c Changes) String() string {
	var b strings.Builder
	line := func(verb, what string) { b.WriteString(verb + " " + what + "\n") }
	for _, g := range c.GroupAdd {
		line("add-group", g.String())
	}
	for _, g := range c.GroupModify {
		line("mod-group", g.String())
	}
	for _, f := range c.FlowAdd {
		line("add-flow", f.String())
	}
	for _, f := range c.FlowDelete {
		line("del-flow", f.String())
	}
	for _, id := range c.GroupDelete {
		line("del-group", fmt.Sprintf("group_id=%d", id))
	}
	return b.String()
}

// A Switch is the OpenFlow side of a bridge.
type Switch interface {
	// Apply makes all changes or, with an error, none of them, and returns
	// when the switch has them in force. A Switch that has a limit for this
	// says so, and beyond it makes them in order, a part at a time.
	Apply(ctx context.Context, c Changes) error
	// Flows returns the flows whose cookie equals cookie in the bits of mask,
	// which the caller must not change.
	Flows(ctx context.Context, cookie, mask uint64) ([]Flow, error)
	// Groups returns all groups.
	Groups(ctx context.Context) ([]Group, error)
}

// Diff returns the changes that turn have into want: what is to be there in
// the order of want, what is to go in the order of have. Of two flows with one
// key, or groups with one id, the later counts. It is pure.
func Diff(want []Flow, wantGroups []Group, have []Flow, haveGroups []Group) Changes {
	p, o := newPlan(Share{}), &part{}
	for i := range want {
		p.flows.claim(p.flows.slot(&want[i]), o, &want[i])
	}
	for i := range wantGroups {
		p.groups.claim(p.groups.slot(&wantGroups[i]), o, &wantGroups[i])
	}
	p.load(have, haveGroups)
	return p.changes(new(Report))
}
