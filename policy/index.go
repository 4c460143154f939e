package policy

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
