package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// A fakeSwitch keeps flows and groups, refuses what a switch would, and counts.
type fakeSwitch struct {
	flows  map[ovs.Key]ovs.Flow
	groups map[uint32]ovs.Group
	// fail and lose make the next Apply fail: before it, and after it was in force.
	fail, lose           bool
	sent, bundles, dumps int
	// applied, if not nil, sees each bundle that was applied.
	applied func(ovs.Changes)
}

func newFake() *fakeSwitch {
	return &fakeSwitch{flows: map[ovs.Key]ovs.Flow{}, groups: map[uint32]ovs.Group{}}
}

var errLost = errors.New("lost")

func (s *fakeSwitch) Apply(_ context.Context, c ovs.Changes) error {
	if s.fail {
		s.fail = false
		return errLost
	}
	flows, groups := maps.Clone(s.flows), maps.Clone(s.groups)
	if err := apply(flows, groups, c); err != nil {
		return err
	}
	s.flows, s.groups = flows, groups
	s.sent += c.Len()
	s.bundles++
	if s.applied != nil {
		s.applied(c)
	}
	if s.lose {
		s.lose = false
		return errLost
	}
	return nil
}

func apply(flows map[ovs.Key]ovs.Flow, groups map[uint32]ovs.Group, c ovs.Changes) error {
	for _, g := range c.GroupAdd {
		if _, ok := groups[g.ID]; ok {
			return fmt.Errorf("group %d exists", g.ID)
		}
		groups[g.ID] = g
	}
	for _, g := range c.GroupModify {
		if _, ok := groups[g.ID]; !ok {
			return fmt.Errorf("no group %d", g.ID)
		}
		groups[g.ID] = g
	}
	for _, f := range c.FlowAdd {
		if id := groupOf(f); id != 0 && groups[id].ID == 0 {
			return fmt.Errorf("no group %d for flow %s", id, f)
		}
		flows[f.Key()] = f
	}
	for _, f := range c.FlowDelete {
		delete(flows, f.Key())
	}
	for _, id := range c.GroupDelete {
		delete(groups, id)
		maps.DeleteFunc(flows, func(_ ovs.Key, f ovs.Flow) bool { return groupOf(f) == id })
	}
	return nil
}

// groupOf returns the group that a flow hands packets to, or 0.
func groupOf(f ovs.Flow) uint32 {
	for _, a := range f.Actions {
		if g, ok := a.(ovs.GroupAction); ok {
			return g.ID
		}
	}
	return 0
}

func (s *fakeSwitch) Flows(_ context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	s.dumps++
	var out []ovs.Flow
	for _, f := range s.flows {
		if f.Cookie&mask == cookie&mask {
			out = append(out, f)
		}
	}
	return out, nil
}

func (s *fakeSwitch) Groups(context.Context) ([]ovs.Group, error) {
	return slices.Collect(maps.Values(s.groups)), nil
}

// texts returns all flows and groups in order.
func (s *fakeSwitch) texts() []string {
	var out []string
	for _, f := range s.flows {
		out = append(out, f.String())
	}
	for _, g := range s.groups {
		out = append(out, g.String())
	}
	slices.Sort(out)
	return out
}

// restart loses all of the share; other programs have put theirs back.
func (s *fakeSwitch) restart() {
	maps.DeleteFunc(s.flows, func(_ ovs.Key, f ovs.Flow) bool { return f.Cookie&share.Mask == share.Cookie })
	maps.DeleteFunc(s.groups, func(id uint32, _ ovs.Group) bool { return id <= share.GroupMax })
}

// meddle changes things of the share behind the bridge's back, and says how.
func (s *fakeSwitch) meddle(rng *rand.Rand) string {
	var c ovs.Changes
	for _, f := range s.flows {
		if f.Cookie&share.Mask != share.Cookie {
			continue
		}
		switch rng.IntN(4) {
		case 0:
			c.FlowDelete = append(c.FlowDelete, f)
		case 1:
			f.Actions = []ovs.Action{ovs.Output(9)}
			c.FlowAdd = append(c.FlowAdd, f)
		}
	}
	for id := range s.groups {
		switch {
		case id > share.GroupMax:
		case rng.IntN(4) == 0:
			c.GroupDelete = append(c.GroupDelete, id)
		case rng.IntN(4) == 0:
			c.GroupModify = append(c.GroupModify, group(id, 9))
		}
	}
	c.FlowAdd = append(c.FlowAdd, flow(700, 7))
	if err := apply(s.flows, s.groups, c); err != nil {
		panic(err)
	}
	return c.String()
}
