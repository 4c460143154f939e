package ovs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// An Owner is a share of a bridge: flows by cookie, groups by id.
type Owner struct {
	// Cookie and Mask say which cookies are the owner's.
	Cookie, Mask uint64
	// GroupMin to GroupMax, both inclusive, are the owner's group ids.
	GroupMin, GroupMax uint32
}

// A Report says what a [Bridge.Sync] changed.
type Report struct {
	Added, Modified, Deleted                   int // flows
	GroupsAdded, GroupsModified, GroupsDeleted int
}

// Changed reports whether anything was sent.
func (r Report) Changed() bool { return r != Report{} }

// A Bridge keeps what one owner has on a switch equal to what it wants. Make
// one with [NewBridge]; it may be used concurrently.
type Bridge struct {
	sw    Switch
	owner Owner

	mu sync.Mutex // orders Syncs; protects have
	// have is what the switch last acknowledged; nil when it must be read.
	have *state
}

// NewBridge returns a bridge whose first Sync reads what the owner has.
func NewBridge(sw Switch, owner Owner) *Bridge { return &Bridge{sw: sw, owner: owner} }

// Invalidate makes the next Sync read the switch again. Call it after a
// reconnect, or to audit.
func (b *Bridge) Invalidate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have = nil
}

// Sync makes the owner's flows and groups exactly these. It sends only the
// difference to what the switch last acknowledged, all or nothing; where there
// is none it sends nothing. After an error the next Sync reads the switch
// first. Two flows with one key, and a flow or group outside the owner's
// share, are [ErrInvalid].
func (b *Bridge) Sync(ctx context.Context, flows []Flow, groups []Group) (Report, error) {
	want, err := b.owner.check(flows, groups)
	if err != nil {
		return Report{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have == nil {
		have, err := b.readLocked(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("ovs: read bridge: %w", err)
		}
		b.have = &have
	}
	c, replaced := diff(want, groups, *b.have)
	if c.Len() == 0 {
		return Report{}, nil
	}
	b.have = nil
	if err := b.sw.Apply(ctx, c); err != nil {
		return Report{}, fmt.Errorf("ovs: sync bridge: %w", err)
	}
	b.have = &want
	return Report{
		Added: len(c.FlowAdd) - replaced, Modified: replaced, Deleted: len(c.FlowDelete),
		GroupsAdded: len(c.GroupAdd), GroupsModified: len(c.GroupModify), GroupsDeleted: len(c.GroupDelete),
	}, nil
}

func (b *Bridge) readLocked(ctx context.Context) (state, error) {
	flows, err := b.sw.Flows(ctx, b.owner.Cookie, b.owner.Mask)
	if err != nil {
		return state{}, err
	}
	groups, err := b.sw.Groups(ctx)
	if err != nil {
		return state{}, err
	}
	groups = slices.DeleteFunc(groups, func(g Group) bool { return !b.owner.hasGroup(g.ID) })
	return newState(flows, groups), nil
}

func (o Owner) hasGroup(id uint32) bool { return o.GroupMin <= id && id <= o.GroupMax }

// check refuses what a switch would, before anything is sent, and returns the rest by key.
func (o Owner) check(flows []Flow, groups []Group) (state, error) {
	s := newState(flows, groups)
	for _, f := range flows {
		if f.Cookie&o.Mask != o.Cookie&o.Mask {
			return s, fmt.Errorf("ovs: flow %s: %w: cookie is not the owner's %#x/%#x", f, ErrInvalid, o.Cookie, o.Mask)
		}
		if err := f.Validate(); err != nil {
			return s, err
		}
	}
	if len(s.flows) < len(flows) {
		first := make(map[Key]int, len(flows))
		for i, key := range s.keys {
			if j, ok := first[key]; ok {
				return s, fmt.Errorf("ovs: flow %s: %w: same table, priority and match as %s", flows[i], ErrInvalid, flows[j])
			}
			first[key] = i
		}
	}
	ids := map[uint32]bool{}
	for _, g := range groups {
		if !o.hasGroup(g.ID) {
			return s, fmt.Errorf("ovs: group %d: %w: id is not among the owner's %d to %d", g.ID, ErrInvalid, o.GroupMin, o.GroupMax)
		}
		if ids[g.ID] {
			return s, fmt.Errorf("ovs: group %d: %w: given twice", g.ID, ErrInvalid)
		}
		ids[g.ID] = true
		if err := g.Validate(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
