package ovs

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// A Bridge keeps a program's share of a switch as its owners want it. An owner
// is an object or a feature of the program, such as "port/web-1": it sets the
// flows and groups that it wants, and Sync makes the switch follow.
//
// Make one with [NewBridge]; all methods may be called at once. Set, Update and
// Remove never wait for the switch.
type Bridge struct {
	turn chan struct{} // holds a token while a Sync or an Audit is under way
	wake chan struct{} // holds a token when something was set since Keep looked

	mu   sync.Mutex // protects what follows
	sw   Switch
	plan *plan
	// known says that the plan holds what the switch last acknowledged.
	known bool
}

// NewBridge returns a bridge that nobody wants anything of. Its first Sync
// reads what the switch has of the share. The switch may be nil until Use or
// Keep gives the bridge one.
func NewBridge(sw Switch, share Share) *Bridge {
	return &Bridge{turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), sw: sw, plan: newPlan(share)}
}

// Use goes on with another connection to the switch, or to another switch. The
// next Sync reads what it has. A Sync under way ends as it would have. With
// nil the bridge has none.
func (b *Bridge) Use(sw Switch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sw, b.known = sw, false
}

// Set replaces what an owner wants by these flows and groups. A flow or group
// that is invalid, outside of the share or given twice is [ErrInvalid], and
// leaves what the owner wanted before. The slices are copied; the values in
// them must not be changed. What the owner wants already costs no more than to
// look at.
func (b *Bridge) Set(owner string, flows []Flow, groups []Group) error {
	flows, groups = slices.Clone(flows), slices.Clone(groups)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stirLocked()
	return b.plan.set(owner, flows, groups)
}

// Update makes an owner want the flows in put, each in the place of what it
// wanted of the same key, and those in gone, by their keys, no more. What else it wants
// stays, and costs nothing. What Set refuses is refused in put; a flow in
// gone that the owner does not want, or that is given twice, is [ErrInvalid]
// too, and leaves what the owner wanted before. As with Set, put is copied.
func (b *Bridge) Update(owner string, put, gone []Flow) error {
	put = slices.Clone(put)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stirLocked()
	return b.plan.update(owner, put, gone)
}

func (b *Bridge) stirLocked() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Remove makes an owner want nothing.
func (b *Bridge) Remove(owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stirLocked()
	_ = b.plan.set(owner, nil, nil) // nothing can be wrong with nothing
}

// Owners returns those who want something, in order.
func (b *Bridge) Owners() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plan.owners()
}

// A Report says what a [Bridge.Sync] or [Bridge.Audit] changed.
type Report struct {
	Added, Modified, Deleted                   int // flows
	GroupsAdded, GroupsModified, GroupsDeleted int
	// Repairs are what an Audit found, groups first.
	Repairs []Repair
}

// Changed reports whether anything was sent.
func (r Report) Changed() bool {
	return r.Added+r.Modified+r.Deleted+r.GroupsAdded+r.GroupsModified+r.GroupsDeleted > 0
}

// A Repair is a flow or group that was found otherwise than it should be.
type Repair struct {
	Owner string // who wants it, "" if nobody
	Want  string // "flow table=…" or "group group_id=…" as it should be, "" if it should not be there
	Found string // as it was, "" if it was missing
}

// String returns "missing flow …", "altered flow …, found flow …" or "unwanted
// flow …", and the owner.
func (r Repair) String() string {
	switch {
	case r.Want == "":
		return "unwanted " + r.Found
	case r.Found == "":
		return fmt.Sprintf("missing %s of owner %q", r.Want, r.Owner)
	}
	return fmt.Sprintf("altered %s of owner %q, found %s", r.Want, r.Owner, r.Found)
}

// Sync makes the share on the switch what the owners want. It looks only at
// what changed since the last one and sends only the difference, in one
// [Switch.Apply]: whole or not at all. Where nothing differs it sends nothing.
//
// The first Sync, and the first after an error or [Bridge.Use], reads the
// share. If the switch has nothing of it, as after its restart, and more than
// a thousand changes are due, they go in bundles of at most a thousand, each of
// them whole or not at all: groups, then flows from the last table to the first
// and in a table from the highest priority to the lowest. On the way a packet
// finds in each table what it will find in the end, or nothing of the share; it
// gets in only when all that lies behind is there. More than a thousand changes
// of what is there keep that order too, and flows are deleted the other way
// round, last: should the Switch have to part them, a packet finds in each
// table what it found before or will find in the end.
//
// Owners who want different things of one key are [ErrConflict], a flow that
// uses a group of the share which nobody wants is [ErrInvalid]: then nothing
// is sent. After any other error it is unknown what the switch has.
func (b *Bridge) Sync(ctx context.Context) (Report, error) { return b.run(ctx, false) }

// Audit is a Sync that reads the share in any case, and also reports what was
// not as the last Sync left it, which it repaired. Before the first Sync,
// nothing is.
func (b *Bridge) Audit(ctx context.Context) (Report, error) { return b.run(ctx, true) }

func (b *Bridge) run(ctx context.Context, audit bool) (Report, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return Report{}, fmt.Errorf("ovs: wait for another sync: %w", context.Cause(ctx))
	}
	sw, known, err := b.begin()
	if err != nil {
		return Report{}, err
	}
	var report Report
	empty := false
	if audit || !known {
		flows, groups, err := b.read(ctx, sw)
		if err != nil {
			return Report{}, fmt.Errorf("ovs: read bridge: %w", err)
		}
		empty = len(flows)+len(groups) == 0
		report.Repairs = b.load(sw, flows, groups)
	}
	c, err := b.compare(&report)
	if err != nil || c.Len() == 0 {
		return report, err
	}
	if err = send(ctx, sw, c, empty); err != nil {
		err = fmt.Errorf("ovs: sync bridge: %w", err)
		report = Report{}
	}
	b.end(sw, c, err)
	return report, err
}

// begin checks what is wanted before anything is asked of the switch.
func (b *Bridge) begin() (sw Switch, known bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sw == nil {
		return nil, false, fmt.Errorf("ovs: sync bridge: %w", ErrNoSwitch)
	}
	return b.sw, b.known, b.plan.check(!b.known)
}

// read returns what the switch has of the share.
func (b *Bridge) read(ctx context.Context, sw Switch) ([]Flow, []Group, error) {
	share := b.plan.share
	flows, err := sw.Flows(ctx, share.Cookie, share.Mask)
	if err != nil {
		return nil, nil, err
	}
	groups, err := sw.Groups(ctx)
	groups = slices.DeleteFunc(groups, func(g Group) bool { return !share.hasGroup(g.ID) })
	return flows, groups, err
}

// load notes what was read, and returns what an audit has to say of it.
func (b *Bridge) load(sw Switch, flows []Flow, groups []Group) []Repair {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.known
	if !known {
		b.plan.forget()
	}
	b.known = sw == b.sw
	repairs := b.plan.load(flows, groups)
	if !known {
		return nil
	}
	return repairs
}

// compare returns what is to be sent, and reports it. What was set while the
// switch was read is part of it.
func (b *Bridge) compare(r *Report) (Changes, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.plan.check(false); err != nil {
		return Changes{}, err
	}
	return b.plan.changes(r), nil
}

// end notes what the switch has now.
func (b *Bridge) end(sw Switch, c Changes, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || sw != b.sw {
		b.known = false
	}
	if b.known {
		b.plan.sent(c)
	}
}
