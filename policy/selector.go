package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
)

// A selector is an expression that groups select members by. Groups with equal
// ones share it.
type selector struct {
	match    matcher
	hash     uint64
	at       []place    // where it is indexed
	profiles []back     // those that it selects
	groups   []*group   // whose criteria it is
	leading  []*group   // those of groups that lead to rules, see group.lead
	set      *memberSet // nil until asked for
	mark     uint64
	// Room for what most have.
	oneAt       [1]place
	twoProfiles [2]back
	oneGroup    [1]*group
	oneLeading  [1]*group
}

// A memberSet is the addresses of a selector's members.
type memberSet struct {
	name  string
	addrs []netip.Prefix // sorted and distinct, if kept
	kept  bool
	views []*View // that have the set
}

// A back is a profile that a selector selects, and the place of the edge in its list.
type back struct {
	p   *profile
	pos int32
}

func (s *selector) join(p *profile) {
	p.edges = append(p.edges, edge{s, int32(len(s.profiles))})
	s.profiles = append(s.profiles, back{p, int32(len(p.edges) - 1)})
}

// leave takes the profile at a place out of the list; its edge stays.
func (s *selector) leave(pos int32) {
	last := len(s.profiles) - 1
	moved := s.profiles[last]
	s.profiles[pos] = moved
	moved.p.edges[moved.pos].pos = pos
	s.profiles = s.profiles[:last]
}

// cut takes an edge out of the profile's list.
func (p *profile) cut(pos int32) {
	last := len(p.edges) - 1
	moved := p.edges[last]
	p.edges[pos] = moved
	moved.sel.profiles[moved.pos].pos = pos
	p.edges = p.edges[:last]
}

func (s *selector) selects(p *profile) bool {
	for i := range p.edges {
		if p.edges[i].sel == s {
			return true
		}
	}
	return false
}

// members returns the selector's address set. Its name derives from the
// expression alone.
func (s *selector) members() *memberSet {
	if s.set == nil {
		b, err := json.Marshal(s.match.expr())
		if err != nil {
			b = []byte(err.Error()) // cannot be: expressions are strings
		}
		sum := sha256.Sum256(b)
		s.set = &memberSet{name: "members:" + hex.EncodeToString(sum[:12])}
	}
	return s.set
}

// selectorLocked returns the selector of a valid expression, a new one if need be.
func (e *Engine) selectorLocked(x Expr) *selector {
	h := e.hash.expr(&x)
	if s := e.selectors.get(h, func(s *selector) bool { return s.match.is(&x) }); s != nil {
		return s
	}
	s := &selector{hash: h}
	s.match.set(&x)
	s.at, s.profiles, s.groups, s.leading = s.oneAt[:0], s.twoProfiles[:0], s.oneGroup[:0], s.oneLeading[:0]
	e.selectors.add(h, s)
	for _, id := range s.match.names(nil) {
		e.nameLocked(id, +1)
	}
	e.indexSelectorLocked(s)
	return s
}

// releaseLocked forgets a selector that no group has.
func (e *Engine) releaseLocked(s *selector) {
	if len(s.groups) > 0 {
		return
	}
	if s.set != nil {
		for _, v := range s.set.views {
			set := v.sets[s.set.name]
			set.freeze(e)
			set.sel, set.group = nil, &group{}
		}
		s.set.views = nil
	}
	for _, b := range s.profiles {
		b.p.cut(b.pos)
	}
	s.profiles = nil
	for _, pl := range s.at {
		e.unlistSelector(pl)
	}
	e.selectors.remove(s.hash, s)
	for _, id := range s.match.names(nil) {
		e.nameLocked(id, -1)
	}
}

// nameLocked counts the selectors that name a member. A member that is named
// has a profile of its own.
func (e *Engine) nameLocked(id string, n int) {
	count := e.named[id] + n
	if count > 0 {
		e.named[id] = count
	} else {
		delete(e.named, id)
	}
	m := e.memberLocked(id)
	named := count > 0
	if m == nil || named == (m.profile.ID != "") {
		return
	}
	o := m.object()
	from, to := m.profile, e.profileLocked(&o, named, e.hash.profile(&o, named))
	from.remove(m)
	to.add(m)
	e.dropLocked(from)
}
