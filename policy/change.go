package policy

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
)

// A Change turns one Program into another. What it does not name stays.
type Change struct {
	// Default is set if it is another one.
	Default *Action `json:"default,omitempty"`
	// Rules are new ones, and those that take the place of one with their id.
	Rules []ProgramRule `json:"rules,omitempty"`
	// Gone are the sorted ids of rules that are no more.
	Gone []string `json:"gone,omitempty"`
	// Sets are the address sets that differ, sorted by id.
	Sets []SetChange `json:"sets,omitempty"`
}

// A SetChange is what became of an address set.
type SetChange struct {
	ID      string         `json:"id"`
	Added   []netip.Prefix `json:"added,omitempty"`
	Removed []netip.Prefix `json:"removed,omitempty"`
	// Gone is that no rule names the set any more; Removed is then all of it.
	Gone bool `json:"gone,omitempty"`
}

// IsZero reports whether nothing changes.
func (c Change) IsZero() bool {
	return c.Default == nil && len(c.Rules) == 0 && len(c.Gone) == 0 && len(c.Sets) == 0
}

// Diff returns what turns one program into another; nil is a program without
// rules that drops. Its cost is that of both programs.
func Diff(from, to *Program) Change {
	from, to = cmp.Or(from, &Program{}), cmp.Or(to, &Program{})
	var c Change
	if from.Default != to.Default {
		d := to.Default
		c.Default = &d
	}
	old := make(map[string]*ProgramRule, len(from.Rules))
	for i := range from.Rules {
		old[from.Rules[i].ID] = &from.Rules[i]
	}
	for _, r := range to.Rules {
		if o := old[r.ID]; o == nil || !reflect.DeepEqual(*o, r) {
			c.Rules = append(c.Rules, r)
		}
		delete(old, r.ID)
	}
	for id := range old {
		c.Gone = append(c.Gone, id)
	}
	slices.Sort(c.Gone)
	for id, list := range to.Sets {
		before, was := from.Sets[id]
		s := SetChange{ID: id, Added: without(list, before), Removed: without(before, list)}
		if !was || len(s.Added) > 0 || len(s.Removed) > 0 {
			c.Sets = append(c.Sets, s)
		}
	}
	for id, list := range from.Sets {
		if _, ok := to.Sets[id]; !ok {
			c.Sets = append(c.Sets, SetChange{ID: id, Removed: slices.Clone(list), Gone: true})
		}
	}
	slices.SortFunc(c.Sets, func(a, b SetChange) int { return cmp.Compare(a.ID, b.ID) })
	return c
}

// With returns the program as changed. It shares with p what stays.
func (p *Program) With(c Change) *Program {
	out := &Program{Default: p.Default, Sets: make(map[string][]netip.Prefix, len(p.Sets))}
	if c.Default != nil {
		out.Default = *c.Default
	}
	replaced := make(map[string]bool, len(c.Rules)+len(c.Gone))
	for _, r := range c.Rules {
		replaced[r.ID] = true
	}
	for _, id := range c.Gone {
		replaced[id] = true
	}
	for _, r := range p.Rules {
		if !replaced[r.ID] {
			out.Rules = append(out.Rules, r)
		}
	}
	out.Rules = append(out.Rules, c.Rules...)
	slices.SortFunc(out.Rules, ProgramRule.Compare)
	for id, list := range p.Sets {
		out.Sets[id] = list
	}
	for _, s := range c.Sets {
		if s.Gone {
			delete(out.Sets, s.ID)
			continue
		}
		list := append(without(out.Sets[s.ID], s.Removed), s.Added...) // nil if empty
		slices.SortFunc(list, comparePrefix)
		out.Sets[s.ID] = list
	}
	return out
}

// without returns the prefixes of a sorted list that another lacks.
func without(list, other []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		for len(other) > 0 && comparePrefix(other[0], p) < 0 {
			other = other[1:]
		}
		if len(other) == 0 || other[0] != p {
			out = append(out, p)
		}
	}
	return out
}
