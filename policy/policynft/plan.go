package policynft

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/policy"
)

// names are those of sets, chains and maps.
type names map[string]bool

// in returns, sorted, the names that a map has.
func in[T any](n names, m map[string]T) []string {
	var out []string
	for name := range m {
		if n[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// has reports whether there is a set, chain or map of some name.
func (r *Ruleset) has(name string) bool {
	_, set := r.sets[name]
	_, chain := r.chains[name]
	_, m := r.maps[name]
	return set || chain || m
}

// stale returns what has to be made anew: what differs from another Ruleset, and
// what refers to such. Maps are, if anything is.
func (r *Ruleset) stale(old *Ruleset) names {
	out := names{}
	for name, s := range r.sets {
		if have, ok := old.sets[name]; !ok || !have.equal(s) {
			out[name] = true
		}
	}
	for name := range r.chains {
		r.staleChain(name, old, out, names{})
	}
	if len(out) == 0 && maps.EqualFunc(r.maps, old.maps, maps.Equal) {
		return nil
	}
	for name := range r.maps {
		out[name] = true
	}
	return out
}

// staleChain notes whether a chain is stale, with those that it refers to.
func (r *Ruleset) staleChain(name string, old *Ruleset, out, done names) bool {
	if out[name] || done[name] {
		return out[name]
	}
	done[name] = true
	have, ok := old.chains[name]
	stale := !ok || !slices.EqualFunc(have, r.chains[name], func(a, b line) bool { return a.String() == b.String() })
	for _, l := range r.chains[name] {
		for _, t := range l.terms {
			switch t := t.(type) {
			case address:
				stale = stale || out[t.set]
			case dport:
				stale = stale || out[t.set]
			case verdict:
				stale = t.chain != "" && r.staleChain(t.chain, old, out, done) || stale
			}
		}
	}
	if stale {
		out[name] = true
	}
	return stale
}

func (s set) equal(o set) bool {
	return s.family == o.family && s.comment == o.comment && slices.Equal(s.ports, o.ports) &&
		len(without(s.prefixes, o.prefixes)) == 0 && len(without(o.prefixes, s.prefixes)) == 0
}

// A use is that a rule looks an address up in a set of a group.
type use struct {
	dir policy.Direction
	not bool
	// action is 1 if the rule allows, -1 if it does not, 0 if that depends.
	action int
}

func useBy(r *policy.ProgramRule) use {
	u := use{dir: r.Direction, not: r.Peers.Excluded}
	switch {
	case r.Action == policy.Allow:
		u.action = 1
	case r.Action != policy.Pass && r.Established == policy.Reevaluate:
		u.action = -1
	}
	return u
}

// elements are addresses that leave a set and such that join it.
type elements struct {
	set        string
	gone, come []netip.Prefix
}

// steps returns transactions that change sets by element, so that the verdict about no
// packet is ever another than before or after; false is that there are no such.
//
// Sets change one after another in a transaction, and a packet may look a set up
// before and another one after. That does not matter if all that happens can only
// allow more, or only allow less. Nor does it if first some rules come to match, with
// one such effect, and later others cease to: in between, the first rule that matches is
// that of before or that of after. This holds for one end; where both have a part, it does not.
func (r *Ruleset) steps(changes []policy.SetChange) ([][]elements, bool) {
	var first, second []elements
	for _, f := range families { // a packet is of one
		a, b, ok := r.familySteps(changes, f)
		if !ok {
			return nil, false
		}
		first, second = append(first, a...), append(second, b...)
	}
	var out [][]elements
	for _, step := range [][]elements{first, second} {
		if len(step) > 0 {
			out = append(out, step)
		}
	}
	return out, true
}

func (r *Ruleset) familySteps(changes []policy.SetChange, f family) (first, second []elements, ok bool) {
	var all []elements
	var match, cease effects // of rules that come to match, and that cease to
	var dirs [3]bool
	split := true
	for _, c := range changes {
		e := elements{r.group(c.ID, f), part(c.Removed, f), part(c.Added, f)}
		if len(e.gone)+len(e.come) == 0 {
			continue
		}
		all = append(all, e)
		var plain, negated bool // an address that joins makes rules match, or cease to
		for _, u := range r.uses[e.set] {
			plain, negated, dirs[u.dir] = plain || !u.not, negated || u.not, true
			come, gone := &match, &cease
			if u.not {
				come, gone = gone, come
			}
			if len(e.come) > 0 {
				*come |= u.effect(!u.not)
			}
			if len(e.gone) > 0 {
				*gone |= u.effect(u.not)
			}
		}
		a, b := elements{set: e.set, come: e.come}, elements{set: e.set, gone: e.gone}
		if negated {
			a, b = b, a
		}
		first, second = append(first, a), append(second, b)
		split = split && !(plain && negated) && !overlap(e.gone, e.come)
	}
	switch {
	case (match | cease).clear():
		return all, nil, true
	case (match | cease) == more|less:
		return first, second, split && match.clear() && cease.clear() && dirs[policy.Ingress] != dirs[policy.Egress]
	}
	return nil, nil, false
}

// restricts returns the directions in which a change of sets may mean that less is allowed.
func (r *Ruleset) restricts(changes []policy.SetChange) map[policy.Direction]bool {
	out := map[policy.Direction]bool{}
	for _, c := range changes {
		for _, f := range families {
			come, gone := len(part(c.Added, f)) > 0, len(part(c.Removed, f)) > 0
			for _, u := range r.uses[r.group(c.ID, f)] {
				if come && u.effect(!u.not) != more || gone && u.effect(u.not) != more {
					out[u.dir] = true
				}
			}
		}
	}
	return out
}

// effects are what it may mean for packets that rules come to match, or cease to.
type effects uint8

const (
	more   effects = 1 << iota // is allowed
	less                       // is allowed
	either                     // one or the other
)

// clear reports whether they are all one, or none.
func (e effects) clear() bool { return e == 0 || e == more || e == less }

// effect is what it means that the rule comes to match, or ceases to.
func (u use) effect(matches bool) effects {
	switch {
	case u.action == 0:
		return either
	case (u.action > 0) == matches:
		return more
	}
	return less
}

func overlap(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}
