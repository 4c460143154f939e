package policy

// A key is a property that a member has, found without looking at all
// members: a tag, that there is a tag of a scope, or the namespace.
type key struct {
	subject Subject
	key     Key
	scope   string
	value   string
	exists  bool // any value
}

// An index finds things by key.
type index[T comparable] map[key]map[T]bool

func (x index[T]) add(k key, v T) {
	if x[k] == nil {
		x[k] = map[T]bool{}
	}
	x[k][v] = true
}

func (x index[T]) remove(k key, v T) {
	delete(x[k], v)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

// memberKeys returns all keys of a member.
func memberKeys(m Member) []key {
	seen := map[key]bool{{subject: OfMember, key: KeyName, value: m.ID}: true}
	for _, t := range m.Tags {
		seen[key{subject: OfMember, key: KeyTag, scope: t.Scope, value: t.Tag}] = true
		seen[key{subject: OfMember, key: KeyTag, scope: t.Scope, exists: true}] = true
	}
	if m.Namespace != "" {
		seen[key{subject: OfNamespace, key: KeyName, value: m.Namespace}] = true
		for _, t := range m.NamespaceTags {
			seen[key{subject: OfNamespace, key: KeyTag, scope: t.Scope, value: t.Tag}] = true
			seen[key{subject: OfNamespace, key: KeyTag, scope: t.Scope, exists: true}] = true
		}
	}
	if m.Kind != "" {
		seen[key{subject: OfMember, key: KeyKind, value: m.Kind}] = true
	}
	out := make([]key, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	return out
}

// keys returns keys of which every selected member has at least one; false if
// there are none such, as with NOTIN. The zero Expr selects nothing: no keys, true.
func (e Expr) keys() ([]key, bool) {
	switch {
	case e.Condition != nil:
		return e.Condition.keys()
	case len(e.All) > 0:
		var best []key
		found := false
		for _, x := range e.All {
			if keys, ok := x.keys(); ok && (!found || len(keys) < len(best)) {
				best, found = keys, true
			}
		}
		return best, found
	}
	var out []key
	for _, x := range e.Any {
		keys, ok := x.keys()
		if !ok {
			return nil, false
		}
		out = append(out, keys...)
	}
	return out, true
}

func (c Condition) keys() ([]key, bool) {
	k := key{subject: c.Subject, key: c.Key, scope: c.Scope}
	if k.subject == "" {
		k.subject = OfMember
	}
	if k.key == "" {
		k.key = KeyTag
	}
	switch c.Operator {
	case Equals, In:
		out := make([]key, len(c.Values))
		for i, v := range c.Values {
			out[i] = k
			out[i].value = v
		}
		return out, true
	case Exists:
		if k.key == KeyTag {
			k.exists = true
			return []key{k}, true
		}
	}
	return nil, false
}
