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
	// when the switch has them in force.
	Apply(ctx context.Context, c Changes) error
	// Flows returns the flows whose cookie equals cookie in the bits of mask.
	Flows(ctx context.Context, cookie, mask uint64) ([]Flow, error)
	// Groups returns all groups.
	Groups(ctx context.Context) ([]Group, error)
}

// state is what an owner has, or wants, on a switch.
type state struct {
	flows  map[Key]Flow
	groups map[uint32]Group
	keys   []Key // of the flows in the order given; may repeat
}

func newState(flows []Flow, groups []Group) state {
	s := state{make(map[Key]Flow, len(flows)), make(map[uint32]Group, len(groups)), make([]Key, len(flows))}
	for i, f := range flows {
		s.keys[i] = f.Key()
		s.flows[s.keys[i]] = f
	}
	for _, g := range groups {
		s.groups[g.ID] = g
	}
	return s
}

// Diff returns the changes that turn have into want, in the order that the
// flows and groups are given. It is pure.
func Diff(want []Flow, wantGroups []Group, have []Flow, haveGroups []Group) Changes {
	c, _ := diff(newState(want, wantGroups), wantGroups, newState(have, haveGroups))
	return c
}

// diff also returns how many of the added flows replace one.
func diff(wanted state, wantGroups []Group, have state) (c Changes, replaced int) {
	for _, g := range wantGroups {
		old, ok := have.groups[g.ID]
		switch {
		case !ok:
			c.GroupAdd = append(c.GroupAdd, g)
		case !sameGroup(old, g):
			c.GroupModify = append(c.GroupModify, g)
		}
	}
	for _, key := range wanted.keys {
		f := wanted.flows[key]
		old, ok := have.flows[key]
		if ok && sameEffect(old, f) {
			continue
		}
		if ok {
			replaced++
		}
		c.FlowAdd = append(c.FlowAdd, f)
	}
	for _, key := range sortedKeys(have.flows) {
		if _, ok := wanted.flows[key]; !ok {
			c.FlowDelete = append(c.FlowDelete, have.flows[key])
		}
	}
	for _, id := range sortedKeys(have.groups) {
		if _, ok := wanted.groups[id]; !ok {
			c.GroupDelete = append(c.GroupDelete, id)
		}
	}
	return c, replaced
}
