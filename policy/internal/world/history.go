package world

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierloom/tierloom/policy"
)

// A History is the objects of an Engine that changes step by step.
type History struct {
	Members  map[string]policy.Member
	Groups   map[string]policy.Group
	Sections map[string]policy.Section
}

// NewHistory returns a History without objects.
func NewHistory() *History {
	return &History{Members: map[string]policy.Member{}, Groups: map[string]policy.Group{}, Sections: map[string]policy.Section{}}
}

// Step makes one change and returns its undoing. A change that is to be
// refused, because groups would lead in a circle, is tried too.
func (h *History) Step(rnd *rand.Rand, e *policy.Engine) (undo func() error, err error) {
	switch n := rnd.IntN(20); {
	case n < 7:
		m := member(rnd, rnd.IntN(8))
		if rnd.IntN(8) == 0 {
			// That of another member, as it may be while one pod goes and the next comes.
			m.IPs[0] = netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(8) + 1)})
		}
		return change(h.Members, m, memberID, e.SetMember, e.DeleteMember)
	case n < 9:
		return remove(h.Members, fmt.Sprint("m", rnd.IntN(8)), e.SetMember, e.DeleteMember)
	case n < 10:
		return h.relabel(rnd, e)
	case n < 14:
		g := group(rnd, rnd.IntN(6))
		if rnd.IntN(3) == 0 {
			g.Groups = some(rnd, 2, func() string { return fmt.Sprint("g", rnd.IntN(7)) })
		}
		if h.leads(g.Groups, g.ID, map[string]bool{}) {
			if err := e.SetGroup(g); !errors.Is(err, policy.ErrInvalid) || !strings.Contains(err.Error(), "cycle: "+g.ID+" > ") {
				return nil, fmt.Errorf("group %s in %v: a cycle is not refused: %v", g.ID, g.Groups, err)
			}
			return func() error { return nil }, nil
		}
		return change(h.Groups, g, groupID, e.SetGroup, e.DeleteGroup)
	case n < 15:
		return remove(h.Groups, fmt.Sprint("g", rnd.IntN(6)), e.SetGroup, e.DeleteGroup)
	case n < 19:
		return change(h.Sections, section(rnd, rnd.IntN(5)), sectionID, e.SetSection, e.DeleteSection)
	}
	return remove(h.Sections, fmt.Sprint("s", rnd.IntN(5)), e.SetSection, e.DeleteSection)
}

func memberID(m policy.Member) string   { return m.ID }
func groupID(g policy.Group) string     { return g.ID }
func sectionID(s policy.Section) string { return s.ID }

func change[T any](all map[string]T, v T, id func(T) string, set func(T) error, del func(string)) (func() error, error) {
	k := id(v)
	old, was := all[k]
	all[k] = v
	return func() error {
		if was {
			all[k] = old
			return set(old)
		}
		delete(all, k)
		del(k)
		return nil
	}, set(v)
}

func remove[T any](all map[string]T, k string, set func(T) error, del func(string)) (func() error, error) {
	old, was := all[k]
	delete(all, k)
	del(k)
	return func() error {
		if !was {
			return nil
		}
		all[k] = old
		return set(old)
	}, nil
}

// relabel changes the tags of a namespace.
func (h *History) relabel(rnd *rand.Rand, e *policy.Engine) (func() error, error) {
	ns, tags := pick(rnd, "red", "blue"), some(rnd, 2, func() policy.Tag { return policy.Tag{Scope: "name", Tag: pick(rnd, "red", "blue", "green")} })
	var undo []func() error
	for _, id := range slices.Sorted(maps.Keys(h.Members)) {
		m := h.Members[id]
		if m.Namespace != ns {
			continue
		}
		m.NamespaceTags = tags
		u, err := change(h.Members, m, memberID, e.SetMember, e.DeleteMember)
		if err != nil {
			return nil, err
		}
		undo = append(undo, u)
	}
	return func() error {
		for _, u := range undo {
			if err := u(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// leads reports whether nested groups lead to a group.
func (h *History) leads(ids []string, to string, seen map[string]bool) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		if id == to || seen[id] {
			return id == to
		}
		seen[id] = true
		return h.leads(h.Groups[id].Groups, to, seen)
	})
}

// Missing returns the sorted ids of groups that are named and not there.
func (h *History) Missing() []string {
	missing := map[string]bool{}
	note := func(list []string) {
		for _, id := range list {
			if _, ok := h.Groups[id]; !ok && strings.HasPrefix(id, "g") {
				missing[id] = true
			}
		}
	}
	for _, g := range h.Groups {
		note(g.Groups)
	}
	for _, s := range h.Sections {
		for _, r := range s.Rules {
			note(r.Sources)
			note(r.Destinations)
			if note(r.AppliedTo); len(r.AppliedTo) == 0 {
				note(s.AppliedTo)
			}
		}
	}
	out := []string{}
	return append(out, slices.Sorted(maps.Keys(missing))...)
}

// Fresh puts the objects into a new Engine, in random order.
func (h *History) Fresh(rnd *rand.Rand, cfg policy.Config) (*policy.Engine, error) {
	e := policy.NewEngine(cfg)
	var steps []func() error
	for _, m := range h.Members {
		steps = append(steps, func() error { return e.SetMember(m) })
	}
	for _, g := range h.Groups {
		steps = append(steps, func() error { return e.SetGroup(g) })
	}
	for _, s := range h.Sections {
		steps = append(steps, func() error { return e.SetSection(s) })
	}
	rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Objects are those of now, sorted by id.
func (h *History) Objects(def policy.Action) policy.Objects {
	return policy.Objects{Default: def, Members: values(h.Members), Groups: values(h.Groups), Sections: values(h.Sections)}
}

func values[T any](all map[string]T) []T {
	var out []T
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[k])
	}
	return out
}

// Clear takes all objects out of an Engine.
func (h *History) Clear(e *policy.Engine) {
	for id := range h.Members {
		e.DeleteMember(id)
	}
	for id := range h.Groups {
		e.DeleteGroup(id)
	}
	for id := range h.Sections {
		e.DeleteSection(id)
	}
}
