package policyovs

import (
	"fmt"

	"github.com/tierloom/tierloom/policy"
)

// bands are the priorities of each category's rules, by rank: from first down
// to the first of the next, that one not included.
var bands = [...]uint16{60000, 52000, 44000, 36000, 12000, 2000}

// peers reports whether the order of two rules makes no difference.
func peers(a, b *policy.ProgramRule) bool {
	x, y := a.Order, b.Order
	x.Position, y.Position = 0, 0
	return x == y && x.Rule > 0 && a.Action == b.Action &&
		a.Logged == b.Logged && a.Stateless == b.Stateless && a.Established == b.Established
}

// prioritize gives the rules of one direction, in the order in which they are
// tried, their priorities: peers, and what one rule became, share one. Rules
// that have one keep it, unless there is no gap left between them for a new
// one: then the neighbours of the gap move, as few as make room again.
func prioritize(order []*rule, has func(*rule) uint16) ([]uint16, error) {
	out := make([]uint16, 0, len(order))
	for len(order) > 0 {
		rank, n := order[0].Order.Category.Rank(), 1
		for n < len(order) && order[n].Order.Category.Rank() == rank {
			n++
		}
		first, room := int(bands[rank]), int(bands[rank]-bands[rank+1])
		level, places := levels(order[:n], func(r *rule) int { return first - int(has(r)) }, room)
		if len(places) > room {
			r := order[n-1]
			return nil, fmt.Errorf("policyovs: rule %q: category %s has priorities for %d rules: %w", r.ID, r.Order.Category, room, ErrTooMany)
		}
		fill(places, room)
		for _, i := range level {
			out = append(out, uint16(first-places[i]))
		}
		order = order[n:]
	}
	return out, nil
}

// levels returns which level each of some rules is of, and the place of each
// level, counted from the first priority of the band; -1 if it has none yet.
func levels(order []*rule, has func(*rule) int, room int) (level, places []int) {
	level = make([]int, len(order))
	last := -1
	for i, r := range order {
		if i == 0 || !peers(&order[i-1].ProgramRule, &r.ProgramRule) && (order[i-1].Section != r.Section || order[i-1].Rule != r.Rule) {
			places = append(places, -1)
		}
		level[i] = len(places) - 1
		if p := has(r); places[level[i]] < 0 && p > last && p < room {
			places[level[i]], last = p, p
		}
	}
	return level, places
}

// fill gives each of some increasing places that is -1 one from 0 to room-1.
func fill(places []int, room int) {
	for i := 0; i < len(places); i++ {
		if places[i] >= 0 {
			continue
		}
		from, to := i, i+1 // those to place
		for to < len(places) && places[to] < 0 {
			to++
		}
		for enough := 1; !spread(places, from, to, room, enough); enough = 2 {
			n := to - from
			from = max(from-n, 0)
			for to = min(to+n, len(places)); to < len(places) && places[to] < 0; to++ {
			}
		}
	}
}

// spread distributes some places evenly between their neighbours; false if
// there is not room for enough times as many.
func spread(places []int, from, to, room, enough int) bool {
	before, after := -1, room
	if from > 0 {
		before = places[from-1]
	}
	if to < len(places) {
		after = places[to]
	}
	n, free := to-from, after-before-1
	whole := from == 0 && to == len(places)
	if free < n*enough && !whole {
		return false
	}
	// What comes at an end stays near, as more will come there.
	width := free + 1
	if near := (n + 1) * max(free/32, 1); !whole && width > near {
		switch {
		case to == len(places):
			width = near
		case from == 0:
			before, width = after-near, near
		}
	}
	for i := range n {
		places[from+i] = before + (i+1)*width/(n+1)
	}
	return true
}
