package policynft

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/policy"
)

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func contains(list []netip.Prefix, p netip.Prefix) bool {
	_, ok := slices.BinarySearchFunc(list, p, comparePrefix)
	return ok
}

// checkChange reports what of a change is not about what a program has. Its cost is
// that of the change, and of all rules if some are to go.
func checkChange(prog *policy.Program, change policy.Change) error {
	var f faults
	rules := map[string]bool{}
	for i := range prog.Rules {
		if len(change.Gone) == 0 {
			break
		}
		rules[prog.Rules[i].ID] = true
	}
	for _, id := range change.Gone {
		if !rules[id] {
			f.add(fmt.Sprintf("rule %q", id), "it is not there")
		}
	}
	for i, s := range change.Sets {
		have, ok := prog.Sets[s.ID]
		if s.Gone && !ok {
			f.add(fmt.Sprintf("set %q", s.ID), "it is not there")
		}
		if i > 0 && change.Sets[i-1].ID >= s.ID {
			f.add(fmt.Sprintf("set %q", s.ID), "the change has it after %q", change.Sets[i-1].ID)
		}
		checkSetChange(&f, s, have)
	}
	return errors.Join(f...)
}

// checkSetChange reports what of a change does not go with what a set has. Its cost
// is that of the change.
func checkSetChange(f *faults, s policy.SetChange, have []netip.Prefix) {
	what := fmt.Sprintf("set %q", s.ID)
	checkSet(f, s.ID, s.Removed)
	for _, p := range s.Removed {
		if !contains(have, p) {
			f.add(what, "%s is not in it", p)
		}
	}
	if s.Gone {
		return
	}
	checkSet(f, s.ID, s.Added)
	for _, p := range s.Added {
		// What overlaps p is the one before its place, or those from there on.
		place, _ := slices.BinarySearchFunc(have, p, comparePrefix)
		for i := max(0, place-1); i < len(have) && (i < place || have[i].Overlaps(p)); i++ {
			if have[i].Overlaps(p) && !contains(s.Removed, have[i]) {
				f.add(what, "%s and %s overlap", have[i], p)
			}
		}
	}
}

// changed returns a sorted list without what a change removes and with what it
// adds. Where that is little, it does so in place.
func changed(list []netip.Prefix, s policy.SetChange) []netip.Prefix {
	const few = 8
	if len(s.Added)+len(s.Removed) > few {
		list = slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return contains(s.Removed, p) })
		list = append(list, s.Added...)
		slices.SortFunc(list, comparePrefix)
		return list
	}
	for _, p := range s.Removed {
		i, _ := slices.BinarySearchFunc(list, p, comparePrefix)
		list = slices.Delete(list, i, i+1)
	}
	for _, p := range s.Added {
		i, _ := slices.BinarySearchFunc(list, p, comparePrefix)
		list = slices.Insert(list, i, p)
	}
	return list
}

// without returns the prefixes of a sorted list that another lacks. Its cost is
// nothing where both are one.
func without(list, other []netip.Prefix) []netip.Prefix {
	if len(list) == len(other) && (len(list) == 0 || &list[0] == &other[0]) {
		return nil
	}
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

// clone returns a program that shares nothing with the caller's that either changes.
func clone(p *policy.Program) *policy.Program {
	out := &policy.Program{Rules: slices.Clone(p.Rules), Default: p.Default, Sets: make(map[string][]netip.Prefix, len(p.Sets))}
	for id, list := range p.Sets {
		out.Sets[id] = slices.Clone(list)
	}
	return out
}
