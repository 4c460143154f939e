package policy

import (
	"hash/maphash"
	"maps"
	"slices"
)

// A profile is what members have in common as far as groups and rules go: all
// but id and addresses. Members that are equal in it share the profile, and
// with it their groups and their rules. A member that a selector names by its
// id has a profile of its own.
type profile struct {
	Member  // the ID only if a selector names it; no IPs
	hash    uint64
	members []*member
	at      []place // where it is indexed
	edges   []edge  // selectors that select it
	rules   []*rule // of its groups, in order; valid if known
	known   bool
	mark    uint64
	// Room for what most have.
	twoMembers [2]*member
	twoEdges   [2]edge
}

// An edge is a selector that selects a profile, and the profile's place in its list.
type edge struct {
	sel *selector
	pos int32
}

// hasher makes the keys of the indexes. What is looked up by a hash is
// compared afterwards, so that equal hashes do no harm.
type hasher struct{ seed maphash.Seed }

// Kinds of keys, mixed into hashes.
const (
	keyAll uint64 = iota + 1
	keyMember
	keyKind
	keyNamespace
	keyTag
	keyScope
	keyNamespaceTag
	keyNamespaceScope
	keyPort
)

func mix(a, b uint64) uint64 {
	a ^= b + 0x9e3779b97f4a7c15
	a *= 0xff51afd7ed558ccd
	a ^= a >> 32
	a *= 0xc4ceb9fe1a85ec53
	return a ^ a>>29
}

func (h hasher) id(s string) uint64 { return maphash.String(h.seed, s) }

func (h hasher) text(kind uint64, s string) uint64 { return mix(kind, maphash.String(h.seed, s)) }

func (h hasher) tag(kind uint64, t Tag) uint64 {
	return mix(h.text(kind, t.Scope), maphash.String(h.seed, t.Tag))
}

// profile is the hash of what makes a profile, whatever the order of tags.
func (h hasher) profile(m *Member, named bool) uint64 {
	sum := h.text(keyKind, m.Kind) + h.text(keyNamespace, m.Namespace)
	for _, t := range m.Tags {
		sum += h.tag(keyTag, t)
	}
	for _, t := range m.NamespaceTags {
		sum += h.tag(keyNamespaceTag, t)
	}
	for name, p := range m.Ports {
		sum += mix(h.text(keyPort, name), uint64(p.TCP)<<32|uint64(p.UDP)<<16|uint64(p.SCTP))
	}
	if named {
		sum += h.text(keyMember, m.ID)
	}
	return sum
}

// is reports whether a member belongs to the profile.
func (p *profile) is(m *Member, named bool) bool {
	id := ""
	if named {
		id = m.ID
	}
	return p.ID == id && p.Kind == m.Kind && p.Namespace == m.Namespace &&
		sameTags(p.Tags, m.Tags) && sameTags(p.NamespaceTags, m.NamespaceTags) && maps.Equal(p.Ports, m.Ports)
}

func sameTags(a, b []Tag) bool {
	if len(a) != len(b) {
		return false
	}
	for i, t := range b {
		if a[i] != t && !slices.Contains(a, t) {
			return false
		}
	}
	return true
}

// profileLocked returns the profile of a member by its hash, a new one if need
// be; named says that a selector names the member.
func (e *Engine) profileLocked(m *Member, named bool, h uint64) *profile {
	if p := e.profiles.get(h, func(p *profile) bool { return p.is(m, named) }); p != nil {
		return p
	}
	p := &profile{Member: *m, hash: h}
	p.members, p.edges = p.twoMembers[:0], p.twoEdges[:0]
	p.IPs = nil
	if !named {
		p.ID = ""
	}
	p.Tags, p.NamespaceTags, p.Ports = slices.Clone(m.Tags), slices.Clone(m.NamespaceTags), maps.Clone(m.Ports)
	e.profiles.add(h, p)
	e.indexProfileLocked(p)
	return p
}

// dropLocked forgets a profile that has no members.
func (e *Engine) dropLocked(p *profile) {
	if len(p.members) > 0 {
		return
	}
	p.portKeys(func(k portKey) {
		if e.byPort[k] = without1(e.byPort[k], p); len(e.byPort[k]) == 0 {
			delete(e.byPort, k)
		}
	})
	for _, ed := range p.edges {
		ed.sel.leave(ed.pos)
	}
	for _, pl := range p.at {
		e.unlistProfile(pl)
	}
	e.profiles.remove(p.hash, p)
}

func (p *profile) add(m *member) {
	m.profile, m.pos = p, int32(len(p.members))
	p.members = append(p.members, m)
}

func (p *profile) remove(m *member) {
	last := len(p.members) - 1
	moved := p.members[last]
	p.members[m.pos], moved.pos = moved, m.pos
	p.members[last] = nil
	p.members = p.members[:last]
}

// portKeys are the names that the profile's members give to ports.
func (p *profile) portKeys(f func(portKey)) {
	for name, n := range p.Ports {
		for _, proto := range []Protocol{TCP, UDP, SCTP} {
			if n.Number(proto) != 0 {
				f(portKey{name, proto})
			}
		}
	}
}
