package policy

import "slices"

// An Expr selects members: one Condition, or all or any of several
// expressions. The zero Expr selects nothing.
type Expr struct {
	All       []Expr     `json:"all,omitempty"`
	Any       []Expr     `json:"any,omitempty"`
	Condition *Condition `json:"condition,omitempty"`
}

// A Condition is a test of one property of a member or of its namespace. Where
// there are several tags with one scope, EQUALS, IN and EXISTS want one that
// fits, and NOTIN and NOTEXISTS hold where IN and EXISTS do not.
type Condition struct {
	// Subject is whose property it is; empty is the member's.
	Subject Subject `json:"member_type,omitempty"`
	// Key is which property; empty is a tag.
	Key      Key      `json:"key,omitempty"`
	Operator Operator `json:"operator"`
	// Scope is the tag's scope; only with a tag.
	Scope string `json:"scope,omitempty"`
	// Values are one for EQUALS, one or more for IN and NOTIN, else none.
	Values []string `json:"values,omitempty"`
}

// A Subject is whose property a condition is about.
type Subject string

// Subjects.
const (
	OfMember    Subject = "SegmentPort"
	OfNamespace Subject = "Namespace" // a member without a namespace fulfils no such condition
)

// A Key is a property.
type Key string

// Keys.
const (
	KeyTag  Key = "Tag"
	KeyName Key = "Name" // Member.ID, or Member.Namespace
	KeyKind Key = "Kind" // Member.Kind
)

// An Operator compares a property with values.
type Operator string

// Operators.
const (
	Equals    Operator = "EQUALS"
	In        Operator = "IN"
	NotIn     Operator = "NOTIN"
	Exists    Operator = "EXISTS"
	NotExists Operator = "NOTEXISTS"
)

// And selects what every expression selects.
func And(list ...Expr) Expr { return Expr{All: list} }

// Or selects what at least one expression selects.
func Or(list ...Expr) Expr { return Expr{Any: list} }

// When selects by one condition.
func When(c Condition) Expr { return Expr{Condition: &c} }

// TagEquals selects members with a tag.
func TagEquals(scope, value string) Expr {
	return When(Condition{Operator: Equals, Scope: scope, Values: []string{value}})
}

// NamespaceTagEquals selects members whose namespace has a tag.
func NamespaceTagEquals(scope, value string) Expr {
	return When(Condition{Subject: OfNamespace, Operator: Equals, Scope: scope, Values: []string{value}})
}

// InNamespace selects the members of a namespace.
func InNamespace(name string) Expr {
	return When(Condition{Subject: OfNamespace, Key: KeyName, Operator: Equals, Values: []string{name}})
}

// IsZero reports whether the expression is empty.
func (e Expr) IsZero() bool { return e.All == nil && e.Any == nil && e.Condition == nil }

// Matches reports whether the expression selects a member.
func (e Expr) Matches(m Member) bool { return e.matches(&m) }

func (e *Expr) matches(m *Member) bool {
	switch {
	case e.Condition != nil:
		return e.Condition.matches(m)
	case len(e.All) > 0:
		for i := range e.All {
			if !e.All[i].matches(m) {
				return false
			}
		}
		return true
	}
	for i := range e.Any {
		if e.Any[i].matches(m) {
			return true
		}
	}
	return false
}

// Matches reports whether a member fulfils the condition.
func (c Condition) Matches(m Member) bool { return c.matches(&m) }

func (c *Condition) matches(m *Member) bool {
	tags, name := m.Tags, m.ID
	if c.Subject == OfNamespace {
		if m.Namespace == "" {
			return false
		}
		tags, name = m.NamespaceTags, m.Namespace
	}
	var present, among bool
	switch c.Key {
	case KeyName:
		present, among = true, slices.Contains(c.Values, name)
	case KeyKind:
		present, among = m.Kind != "", slices.Contains(c.Values, m.Kind)
	default:
		for _, t := range tags {
			if t.Scope == c.Scope {
				present = true
				among = among || slices.Contains(c.Values, t.Tag)
			}
		}
	}
	switch c.Operator {
	case Equals, In:
		return among
	case NotIn:
		return !among
	case Exists:
		return present
	case NotExists:
		return !present
	}
	return false
}

// maxDepth bounds the nesting of expressions.
const maxDepth = 16

// validate adds the faults of an expression; their fields begin with a dot.
func (e *Expr) validate(f *faults, depth int) {
	n := 0
	for _, set := range [...]bool{e.Condition != nil, len(e.All) > 0, len(e.Any) > 0} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		f.add("", "exactly one of condition, all and any must be set")
		return
	case depth > maxDepth:
		f.add("", "nested deeper than %d", maxDepth)
		return
	}
	for i := range e.All {
		n := len(f.list)
		e.All[i].validate(f, depth+1)
		f.within(n, ".all[%d]", i)
	}
	for i := range e.Any {
		n := len(f.list)
		e.Any[i].validate(f, depth+1)
		f.within(n, ".any[%d]", i)
	}
	if e.Condition != nil {
		e.Condition.validate(f)
	}
}

func (c *Condition) validate(f *faults) {
	if c.Subject != "" && c.Subject != OfMember && c.Subject != OfNamespace {
		f.add(".condition.member_type", "%q is neither %s nor %s", c.Subject, OfMember, OfNamespace)
	}
	switch c.Key {
	case "", KeyTag:
		if c.Scope == "" {
			f.add(".condition.scope", "empty")
		}
	case KeyName, KeyKind:
		if c.Scope != "" {
			f.add(".condition.scope", "set with key %s", c.Key)
		}
		if c.Key == KeyKind && c.Subject == OfNamespace {
			f.add(".condition.key", "a namespace has no kind")
		}
	default:
		f.add(".condition.key", "%q is none of %s, %s, %s", c.Key, KeyTag, KeyName, KeyKind)
	}
	if c.Key == KeyName && slices.Contains(c.Values, "") {
		f.add(".condition.values", "an empty name")
	}
	n := len(c.Values)
	switch c.Operator {
	case Equals:
		if n != 1 {
			f.add(".condition.values", "%d values, want 1 with %s", n, c.Operator)
		}
	case In, NotIn:
		if n == 0 {
			f.add(".condition.values", "none with %s", c.Operator)
		}
	case Exists, NotExists:
		if n != 0 {
			f.add(".condition.values", "%d values, want none with %s", n, c.Operator)
		}
	default:
		f.add(".condition.operator", "%q is none of %s, %s, %s, %s, %s", c.Operator, Equals, In, NotIn, Exists, NotExists)
	}
}
