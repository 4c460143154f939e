package policy

import (
	"net/netip"
	"slices"
)

// addressesOf returns the addresses of a selector's members, sorted and distinct.
// From the first time on they are kept.
func (e *Engine) addressesOf(s *selector) []netip.Prefix {
	set := s.members()
	if set.kept {
		return set.addrs
	}
	e.keepOwners()
	for _, b := range s.profiles {
		for _, m := range b.p.members {
			for _, a := range m.ips {
				set.addrs = append(set.addrs, hostPrefix(a))
			}
		}
	}
	slices.SortFunc(set.addrs, comparePrefix)
	set.addrs, set.kept = slices.Compact(set.addrs), true
	return set.addrs
}

// keepOwners begins to keep whose each address is.
func (e *Engine) keepOwners() {
	if e.owners != nil {
		return
	}
	e.owners = make(map[netip.Addr][]*member, e.members.n)
	for m := range e.members.all() {
		for _, a := range m.ips {
			e.owners[a] = append(e.owners[a], m)
		}
	}
}

// readdress tells the selectors and sets that know them of a member's addresses:
// those that it had with one profile, and has with another; nil is none.
func (e *Engine) readdress(m *member, from, to *profile, had, has []netip.Addr) {
	if e.owners == nil {
		return
	}
	for _, a := range had {
		if slices.Contains(has, a) {
			continue
		}
		if e.owners[a] = without1(e.owners[a], m); len(e.owners[a]) == 0 {
			delete(e.owners, a)
		}
	}
	for _, a := range has {
		if !slices.Contains(had, a) {
			e.owners[a] = append(e.owners[a], m)
		}
	}
	each := func(p, other *profile, list, others []netip.Addr, tell func(*selector, netip.Addr)) {
		if p == nil {
			return
		}
		mark := e.nextMark()
		for i := 0; other != nil && i < len(other.edges); i++ {
			other.edges[i].sel.mark = mark
		}
		for _, ed := range p.edges {
			for _, a := range list {
				if set := ed.sel.set; set != nil && set.kept && (ed.sel.mark != mark || !slices.Contains(others, a)) {
					tell(ed.sel, a)
				}
			}
		}
	}
	each(from, to, had, has, e.lose)
	each(to, from, has, had, e.gain)
}

func (e *Engine) gain(s *selector, a netip.Addr) {
	p := hostPrefix(a)
	i, there := slices.BinarySearchFunc(s.set.addrs, p, comparePrefix)
	if there {
		return // another member has it too
	}
	s.set.addrs = slices.Insert(s.set.addrs, i, p)
	e.noteAddress(s, a, true)
}

func (e *Engine) lose(s *selector, a netip.Addr) {
	for _, m := range e.owners[a] {
		if s.selects(m.profile) {
			return
		}
	}
	if i, there := slices.BinarySearchFunc(s.set.addrs, hostPrefix(a), comparePrefix); there {
		s.set.addrs = slices.Delete(s.set.addrs, i, i+1)
		e.noteAddress(s, a, false)
	}
}

// noteAddress tells the views that an address joined or left a selector.
func (e *Engine) noteAddress(s *selector, a netip.Addr, joined bool) {
	for _, v := range s.set.views {
		v.sets[s.set.name].note(hostPrefix(a), joined)
	}
	if len(e.needs) == 0 {
		return
	}
	e.touchNeeds(need{sel: s, named: true})
	for d := range e.needs[need{sel: s}] {
		if slices.ContainsFunc(e.owners[a], func(m *member) bool { return d.v.ports[m.id] }) {
			d.v.dirty[d.id] = true
		}
	}
}
