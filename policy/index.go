package policy

import "slices"

// A posting is the profiles that have a property, and the selectors that select
// nothing without it. Each profile is in the posting of every property that it
// has, each selector in one, or a few, that all that it selects are in.
type posting struct {
	key       uint64
	profiles  []*profile
	selectors []*selector
	firstP    [1]*profile // most have one of each
	firstS    [1]*selector
}

// A place is where in a posting something is.
type place struct {
	in  *posting
	pos int32
}

func (e *Engine) postingLocked(key uint64) *posting {
	x := e.postingAt(key)
	if x == nil {
		x = &posting{key: key}
		x.profiles, x.selectors = x.firstP[:0], x.firstS[:0]
		e.postings.add(key, x)
	}
	return x
}

// postingAt returns the posting of a key, nil if nothing is there.
func (e *Engine) postingAt(key uint64) *posting {
	return e.postings.get(key, func(*posting) bool { return true })
}

func (e *Engine) tidy(x *posting) {
	if len(x.profiles) == 0 && len(x.selectors) == 0 {
		e.postings.remove(x.key, x)
	}
}

func (e *Engine) unlistProfile(pl place) {
	pl.in.profiles = unlist(pl.in.profiles, pl, func(p *profile) []place { return p.at })
	e.tidy(pl.in)
}

func (e *Engine) unlistSelector(pl place) {
	pl.in.selectors = unlist(pl.in.selectors, pl, func(s *selector) []place { return s.at })
	e.tidy(pl.in)
}

// unlist takes what is at a place out of a posting's list. The last comes
// there, and has its own place changed.
func unlist[T any](list []*T, pl place, places func(*T) []place) []*T {
	last := len(list) - 1
	moved := list[last]
	list[pl.pos] = moved
	at := places(moved)
	for i := range at {
		if at[i].in == pl.in {
			at[i].pos = pl.pos
			break
		}
	}
	list[last] = nil
	return list[:last]
}

// indexProfileLocked lists a new profile under its properties and joins it
// with the selectors that select it.
func (e *Engine) indexProfileLocked(p *profile) {
	p.portKeys(func(k portKey) { e.byPort[k] = append(e.byPort[k], p) })
	mark := e.nextMark()
	p.at = make([]place, 0, 4+3*len(p.Tags)+2*len(p.NamespaceTags))
	e.keys = e.hash.keysOf(p, e.keys[:0])
	for _, k := range e.keys {
		e.read += e.postings.ahead(k)
	}
	for _, k := range e.keys {
		x := e.postingLocked(k)
		if n := len(x.profiles); n > 0 && x.profiles[n-1] == p {
			continue // two tags of one scope
		}
		p.at = append(p.at, place{x, int32(len(x.profiles))})
		x.profiles = append(x.profiles, p)
		for _, s := range x.selectors {
			if s.mark != mark && s.match.matches(p) {
				s.mark = mark
				s.join(p)
			}
		}
	}
}

// indexSelectorLocked lists a new selector and joins it with the profiles that it selects.
func (e *Engine) indexSelectorLocked(s *selector) {
	mark := e.nextMark()
	e.keys = e.keys[:0]
	keys, ok := e.requiredLocked(&s.match)
	if !ok {
		keys = []uint64{keyAll}
	}
	for _, k := range keys {
		x := e.postingLocked(k)
		if n := len(x.selectors); n > 0 && x.selectors[n-1] == s {
			continue // a value that is there twice
		}
		s.at = append(s.at, place{x, int32(len(x.selectors))})
		x.selectors = append(x.selectors, s)
		for _, p := range x.profiles {
			if p.mark != mark && s.match.matches(p) {
				p.mark = mark
				s.join(p)
			}
		}
	}
}

// keysOf appends the keys of a profile's properties.
func (h hasher) keysOf(p *profile, keys []uint64) []uint64 {
	keys = append(keys, keyAll)
	if p.ID != "" {
		keys = append(keys, h.text(keyMember, p.ID))
	}
	if p.Kind != "" {
		keys = append(keys, h.text(keyKind, p.Kind))
	}
	ns := h.text(keyNamespace, p.Namespace)
	if p.Namespace != "" {
		keys = append(keys, ns)
		for _, t := range p.NamespaceTags {
			keys = append(keys, h.tag(keyNamespaceTag, t), h.text(keyNamespaceScope, t.Scope))
		}
	}
	for _, t := range p.Tags {
		k := h.tag(keyTag, t)
		keys = append(keys, k, h.text(keyScope, t.Scope))
		if p.Namespace != "" {
			keys = append(keys, mix(ns, k))
		}
	}
	return keys
}

// requiredLocked returns keys of which all that an expression selects have at
// least one; false if there are none such, as with NOTIN. Of several
// possibilities it takes what is least crowded. The keys are in e.keys.
func (e *Engine) requiredLocked(m *matcher) ([]uint64, bool) {
	switch m.op {
	case opAll:
		if keys := e.bothLocked(m.list); len(keys) > 0 {
			return keys, true
		}
		var best []uint64
		found := false
		for i := range m.list {
			if keys, ok := e.requiredLocked(&m.list[i]); ok && (!found || e.crowd(keys) < e.crowd(best)) {
				best, found = keys, true
			}
		}
		return best, found
	case opAny:
		var out []uint64
		for i := range m.list {
			keys, ok := e.requiredLocked(&m.list[i])
			if !ok {
				return nil, false
			}
			out = append(out, keys...)
		}
		return out, true
	case opIn:
	case opExists:
		if m.key != keyOfTag {
			return nil, false
		}
	default:
		return nil, false
	}
	start := len(e.keys)
	kinds := [...][2]uint64{keyOfTag: {keyTag, keyNamespaceTag}, keyOfName: {keyMember, keyNamespace}, keyOfKind: {keyKind}}
	kind := kinds[m.key][m.subject]
	switch {
	case m.op == opExists:
		e.keys = append(e.keys, e.hash.text([...]uint64{keyScope, keyNamespaceScope}[m.subject], m.scope))
	case m.key == keyOfTag:
		for _, v := range m.values {
			e.keys = append(e.keys, e.hash.tag(kind, Tag{m.scope, v}))
		}
	case slices.Contains(m.values, ""):
		return nil, false // what is empty is not listed
	default:
		for _, v := range m.values {
			e.keys = append(e.keys, e.hash.text(kind, v))
		}
	}
	return e.keys[start:len(e.keys):len(e.keys)], true
}

// maxBoth bounds the keys that two conditions make together.
const maxBoth = 64

// bothLocked returns keys for the names of a namespace and the values of a tag
// where both are required, none if they are not.
func (e *Engine) bothLocked(list []matcher) []uint64 {
	var namespace, tag *matcher
	for i := range list {
		m := &list[i]
		switch {
		case m.op != opIn:
		case m.subject == ofNamespace && m.key == keyOfName:
			namespace = m
		case m.subject == ofMember && m.key == keyOfTag && (tag == nil || len(m.values) < len(tag.values)):
			tag = m
		}
	}
	if namespace == nil || tag == nil || len(namespace.values)*len(tag.values) > maxBoth {
		return nil
	}
	start := len(e.keys)
	for _, n := range namespace.values {
		ns := e.hash.text(keyNamespace, n)
		for _, t := range tag.values {
			e.keys = append(e.keys, mix(ns, e.hash.tag(keyTag, Tag{tag.scope, t})))
		}
	}
	return e.keys[start:len(e.keys):len(e.keys)]
}

// crowd is how much is listed under some keys.
func (e *Engine) crowd(keys []uint64) int {
	n := 0
	for _, k := range keys {
		if x := e.postingAt(k); x != nil {
			n += len(x.profiles) + len(x.selectors)
		}
	}
	return n
}
