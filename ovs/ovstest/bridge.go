package ovstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tierloom/tierloom/ovs"
)

// ErrRefused says that a switch would not take a change.
var ErrRefused = errors.New("switch refused")

// A Bridge is a switch in memory, an ovs.Switch that refuses what Open vSwitch
// 3.1 refuses, and what package ovs does not let a flow be; [TestSwitch] passes on
// both. Flows do not time out. Trace says what it does to a packet. Make one
// with [NewBridge]; it may be used concurrently.
type Bridge struct {
	mu sync.Mutex // protects all below
	contents
	meters map[uint32]bool
	conns  conntrack // that packets which were sent have committed
}

// contents are what a bundle changes.
type contents struct {
	flows  map[ovs.Key]ovs.Flow
	groups map[uint32]ovs.Group
}

// NewBridge returns a bridge without flows and groups, and with these meters.
func NewBridge(meters ...uint32) *Bridge {
	b := &Bridge{contents: contents{flows: map[ovs.Key]ovs.Flow{}, groups: map[uint32]ovs.Group{}}, meters: map[uint32]bool{}, conns: conntrack{}}
	for _, id := range meters {
		b.meters[id] = true
	}
	return b
}

// Apply implements ovs.Switch: all changes in their order, or none and an
// error that is [ErrRefused] and names the flow or group.
func (b *Bridge) Apply(ctx context.Context, c ovs.Changes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := contents{flows: maps.Clone(b.flows), groups: maps.Clone(b.groups)}
	if err := next.apply(c, b.meters); err != nil {
		return fmt.Errorf("ovstest: %w %w", ErrRefused, err)
	}
	b.contents = next
	return nil
}

func (s *contents) apply(c ovs.Changes, meters map[uint32]bool) error {
	for _, g := range c.GroupAdd {
		if _, ok := s.groups[g.ID]; ok {
			return fmt.Errorf("add-group %s: group exists", g)
		}
		if err := s.putGroup(g); err != nil {
			return fmt.Errorf("add-group %s: %w", g, err)
		}
	}
	for _, g := range c.GroupModify {
		if _, ok := s.groups[g.ID]; !ok {
			return fmt.Errorf("mod-group %s: no such group", g)
		}
		if err := s.putGroup(g); err != nil {
			return fmt.Errorf("mod-group %s: %w", g, err)
		}
	}
	for _, f := range c.FlowAdd {
		if err := s.check(f, meters); err != nil {
			return fmt.Errorf("add-flow %s: %w", f, err)
		}
		s.flows[f.Key()] = f
	}
	for _, f := range c.FlowDelete {
		if err := f.Match.Validate(); err != nil {
			return fmt.Errorf("del-flow %s: %w", f, err)
		}
		delete(s.flows, f.Key())
	}
	for _, id := range c.GroupDelete {
		s.deleteGroup(id)
	}
	return nil
}

func (s *contents) putGroup(g ovs.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	for _, b := range g.Buckets {
		if g.Type == ovs.FastFailover && b.WatchPort == 0 {
			return fmt.Errorf("bucket %d watches no port", b.ID)
		}
	}
	s.groups[g.ID] = g
	return nil
}

// deleteGroup removes a group, if there is one, with the flows that use it.
func (s *contents) deleteGroup(id uint32) {
	if _, ok := s.groups[id]; !ok {
		return
	}
	delete(s.groups, id)
	maps.DeleteFunc(s.flows, func(_ ovs.Key, f ovs.Flow) bool {
		return slices.Contains(flatten(f.Actions), ovs.ToGroup(id))
	})
}

// flatten returns the actions that refer to groups or meters, those within
// others too.
func flatten(list []ovs.Action) []ovs.Action {
	var out []ovs.Action
	for _, a := range list {
		switch a := a.(type) {
		case ovs.GroupAction, ovs.MeterAction:
			out = append(out, a)
		case ovs.CloneAction:
			out = append(out, flatten(a.Actions)...)
		case ovs.WriteActionsAction:
			out = append(out, flatten(a.Actions)...)
		}
	}
	return out
}

// Flows implements ovs.Switch; the flows are in the order of their keys.
func (b *Bridge) Flows(ctx context.Context, cookie, mask uint64) ([]ovs.Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []ovs.Flow
	for _, key := range slices.Sorted(maps.Keys(b.flows)) {
		if f := b.flows[key]; f.Cookie&mask == cookie&mask {
			list = append(list, f)
		}
	}
	return list, nil
}

// Groups implements ovs.Switch; the groups are in the order of their ids.
func (b *Bridge) Groups(ctx context.Context) ([]ovs.Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []ovs.Group
	for _, id := range slices.Sorted(maps.Keys(b.groups)) {
		list = append(list, b.groups[id])
	}
	return list, nil
}
