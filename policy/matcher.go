package policy

import (
	"slices"
)

// A matcher is a valid expression in a form that takes little room and time.
type matcher struct {
	op      op
	subject subject
	key     key
	scope   string
	values  []string
	list    []matcher // of opAll and opAny
	one     [1]string // room for the one value that most have
}

type (
	op      uint8
	subject uint8
	key     uint8
)

const (
	opAll op = iota
	opAny
	opIn // or equals
	opNotIn
	opExists
	opNotExists
)

const (
	ofMember subject = iota
	ofNamespace
)

const (
	keyOfTag key = iota
	keyOfName
	keyOfKind
)

func opOf(o Operator) op {
	switch o {
	case Equals, In:
		return opIn
	case NotIn:
		return opNotIn
	case Exists:
		return opExists
	}
	return opNotExists
}

func subjectOf(s Subject) subject {
	if s == OfNamespace {
		return ofNamespace
	}
	return ofMember
}

func keyOf(k Key) key {
	switch k {
	case KeyName:
		return keyOfName
	case KeyKind:
		return keyOfKind
	}
	return keyOfTag
}

// parts returns what an expression other than a condition is made of.
func (e *Expr) parts() (op, []Expr) {
	if len(e.All) > 0 {
		return opAll, e.All
	}
	return opAny, e.Any
}

// set makes the matcher one of an expression.
func (m *matcher) set(x *Expr) {
	if c := x.Condition; c != nil {
		m.op, m.subject, m.key, m.scope = opOf(c.Operator), subjectOf(c.Subject), keyOf(c.Key), c.Scope
		m.values = append(m.one[:0], c.Values...)
		return
	}
	var list []Expr
	m.op, list = x.parts()
	m.list = make([]matcher, len(list))
	for i := range list {
		m.list[i].set(&list[i])
	}
}

// is reports whether the matcher is that of an expression.
func (m *matcher) is(x *Expr) bool {
	if c := x.Condition; c != nil {
		return m.op == opOf(c.Operator) && m.subject == subjectOf(c.Subject) && m.key == keyOf(c.Key) && m.scope == c.Scope && slices.Equal(m.values, c.Values)
	}
	op, list := x.parts()
	if m.op != op || len(m.list) != len(list) {
		return false
	}
	for i := range list {
		if !m.list[i].is(&list[i]) {
			return false
		}
	}
	return true
}

// expr returns the expression, in its shortest form.
func (m *matcher) expr() Expr {
	if m.op > opAny {
		c := Condition{
			Subject: [...]Subject{ofMember: "", ofNamespace: OfNamespace}[m.subject], Key: [...]Key{keyOfTag: "", keyOfName: KeyName, keyOfKind: KeyKind}[m.key],
			Operator: [...]Operator{opIn: In, opNotIn: NotIn, opExists: Exists, opNotExists: NotExists}[m.op], Scope: m.scope, Values: slices.Clone(m.values),
		}
		if m.op == opIn && len(m.values) == 1 {
			c.Operator = Equals
		}
		return Expr{Condition: &c}
	}
	list := make([]Expr, len(m.list))
	for i := range m.list {
		list[i] = m.list[i].expr()
	}
	if m.op == opAll {
		return Expr{All: list}
	}
	return Expr{Any: list}
}

// matches reports whether the expression selects the members of a profile.
func (m *matcher) matches(p *profile) bool {
	switch m.op {
	case opAll:
		for i := range m.list {
			if !m.list[i].matches(p) {
				return false
			}
		}
		return true
	case opAny:
		for i := range m.list {
			if m.list[i].matches(p) {
				return true
			}
		}
		return false
	}
	tags, name := p.Tags, p.ID
	if m.subject == ofNamespace {
		if p.Namespace == "" {
			return false
		}
		tags, name = p.NamespaceTags, p.Namespace
	}
	var present, among bool
	switch m.key {
	case keyOfName:
		present, among = true, slices.Contains(m.values, name)
	case keyOfKind:
		present, among = p.Kind != "", slices.Contains(m.values, p.Kind)
	default:
		for i := range tags {
			if tags[i].Scope == m.scope {
				present = true
				among = among || slices.Contains(m.values, tags[i].Tag)
			}
		}
	}
	switch m.op {
	case opIn:
		return among
	case opNotIn:
		return !among
	case opExists:
		return present
	}
	return !present
}

// names appends the ids of members that the expression is about.
func (m *matcher) names(list []string) []string {
	if m.key == keyOfName && m.subject == ofMember {
		list = append(list, m.values...)
	}
	for i := range m.list {
		list = m.list[i].names(list)
	}
	return list
}

// expr is the hash of an expression; it may be equal for some that are not.
func (h hasher) expr(x *Expr) uint64 {
	if c := x.Condition; c != nil {
		sum := h.text(uint64(subjectOf(c.Subject))<<16|uint64(keyOf(c.Key))<<8|uint64(opOf(c.Operator)), c.Scope)
		for _, v := range c.Values {
			sum = h.text(sum, v)
		}
		return sum
	}
	op, list := x.parts()
	sum := uint64(op)
	for i := range list {
		sum = mix(sum, h.expr(&list[i]))
	}
	return sum
}
