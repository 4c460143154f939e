package policyovs

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierloom/tierloom/ovs"
)

// A set is an address set of the program. Its addresses are known by the
// classes that they are in; other prefixes are matched by the rules themselves.
type set struct {
	id      string
	there   bool // in the program; else only rules name it
	members map[netip.Prefix]bool
	wide    []netip.Prefix        // of the members those that are more than an address
	users   [2]map[*rule]bool     // rules that name it, by direction
	others  [2]map[*rule]bool     // rules that exclude it
	classes [2][2]map[*class]bool // that are part of it, by direction and family
}

func newSet(id string) *set {
	s := &set{id: id, members: map[netip.Prefix]bool{}}
	for d := range s.users {
		s.users[d], s.others[d] = map[*rule]bool{}, map[*rule]bool{}
		for f := range s.classes[d] {
			s.classes[d][f] = map[*class]bool{}
		}
	}
	return s
}

// known reports whether a direction looks the set's addresses up.
func (s *set) known(d int) bool { return len(s.users[d]) > 0 }

// namedBy returns those of users and others that a rule belongs to.
func (s *set) namedBy(r *rule) map[*rule]bool {
	if r.Peers.Excluded {
		return s.others[dirOf(r.Direction)]
	}
	return s.users[dirOf(r.Direction)]
}

// named reports whether any rule names or excludes it.
func (s *set) named() bool {
	return len(s.users[0])+len(s.users[1])+len(s.others[0])+len(s.others[1]) > 0
}

// change adds and removes members, and says whether wide ones are among them.
func (s *set) change(added, removed []netip.Prefix) bool {
	wide := false
	for _, p := range removed {
		delete(s.members, p)
		wide = wide || !p.IsSingleIP()
	}
	for _, p := range added {
		s.members[p] = true
		wide = wide || !p.IsSingleIP()
	}
	if wide {
		s.wide = nil
		for p := range s.members {
			if !p.IsSingleIP() {
				s.wide = append(s.wide, p)
			}
		}
	}
	return wide
}

// A class is all addresses of one family that are in the same sets of those
// that have one register. Which register that is depends on a set's id: so an
// address is in one class a register, and there are few classes, though an
// address may be in any combination of sets.
type class struct {
	sets   []*set // by id
	reg    int    // from Layout.Class on
	number *number
	addrs  int // how many
}

// An address is one that is in sets which a direction looks up.
type address struct {
	sets    []*set   // by id
	classes []*class // by register, nil if it is in no set of it
}

// A space is all addresses of a family in one direction.
type space struct {
	dir, family int // families: 0 is IPv4, 1 IPv6
	addrs       map[netip.Addr]*address
	classes     map[string]*class // by name
	numbers     *numbers
	touched     map[netip.Addr]bool
	changed     func(*set) // called when a set has a class more, or less, or with another number
}

func newSpace(dir, family int, changed func(*set)) *space {
	return &space{dir: dir, family: family, changed: changed, addrs: map[netip.Addr]*address{}, classes: map[string]*class{}, numbers: newNumbers(), touched: map[netip.Addr]bool{}}
}

func compareSets(a, b *set) int { return cmp.Compare(a.id, b.id) }

// join puts an address in a set; leave takes it out.
func (s *space) join(a netip.Addr, x *set) {
	at := s.addrs[a]
	if at == nil {
		at = &address{}
		s.addrs[a] = at
	}
	if i, found := slices.BinarySearchFunc(at.sets, x, compareSets); !found {
		at.sets = slices.Insert(at.sets, i, x)
	}
	s.touched[a] = true
}

func (s *space) leave(a netip.Addr, x *set) {
	at := s.addrs[a]
	if i, found := slices.BinarySearchFunc(at.sets, x, compareSets); found {
		at.sets = slices.Delete(at.sets, i, i+1)
	}
	s.touched[a] = true
}

// classify finds the classes of the addresses touched: one for each of regs
// registers, or none.
func (s *space) classify(regs int) {
	var left []*class
	for a := range s.touched {
		at := s.addrs[a]
		old := at.classes
		at.classes = make([]*class, regs)
		parts := make([][]*set, regs)
		for _, x := range at.sets {
			i := int(ovs.ObjectHash(x.id) % uint32(regs))
			parts[i] = append(parts[i], x)
		}
		for i, sets := range parts {
			if len(sets) > 0 {
				at.classes[i] = s.class(i, sets)
				at.classes[i].addrs++
			}
		}
		for _, c := range old {
			if c != nil {
				c.addrs--
				left = append(left, c)
			}
		}
	}
	for _, c := range left {
		if c.addrs == 0 && s.classes[c.number.name] == c {
			delete(s.classes, c.number.name)
			s.numbers.remove(c.number)
			s.tell(c)
		}
	}
}

// class returns the class of some sets, which it makes if need be.
func (s *space) class(reg int, sets []*set) *class {
	name := binary.AppendUvarint(nil, uint64(reg))
	for _, x := range sets {
		name = append(binary.AppendUvarint(name, uint64(len(x.id))), x.id...)
	}
	c := s.classes[string(name)]
	if c == nil {
		c = &class{sets: slices.Clone(sets), reg: reg}
		s.classes[string(name)] = c
		c.number = s.numbers.add(string(name), func() { s.tell(c); s.touchAll(c) })
		s.tell(c)
	}
	return c
}

// tell notes in its sets whether a class is there, and that it changed.
func (s *space) tell(c *class) {
	for _, x := range c.sets {
		if s.classes[c.number.name] == c {
			x.classes[s.dir][s.family][c] = true
		} else {
			delete(x.classes[s.dir][s.family], c)
		}
		s.changed(x)
	}
}

// touchAll touches the addresses of a class.
func (s *space) touchAll(c *class) {
	for a, at := range s.addrs {
		if slices.Contains(at.classes, c) {
			s.touched[a] = true
		}
	}
}

// classesOf returns the classes that are part of any of some sets.
func classesOf(sets []*set, dir, family int) []*class {
	seen := map[*class]bool{}
	for _, x := range sets {
		maps.Copy(seen, x.classes[dir][family])
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b *class) int {
		return cmp.Or(cmp.Compare(a.reg, b.reg), cmp.Compare(a.number.id, b.number.id))
	})
}

// all returns the members in no order.
func (s *set) all() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(s.members))
	for p := range s.members {
		out = append(out, p)
	}
	return out
}
