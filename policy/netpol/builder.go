package netpol

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierloom/tierloom/policy"
)

// A builder makes the groups and sections of one policy after another. Slices
// within these are parts of a few large ones, which are made at the size that a policy
// needs and used again for the next: they are appended to and then cut off, so that
// a wrong size costs time and nothing else.
type builder struct {
	cfg      Config
	id, name string // prefixes of ids and of display names
	groups   []policy.Group
	sections []policy.Section
	rules    []policy.Rule
	exprs    []policy.Expr
	conds    []policy.Condition
	strings  []string
	text     strings.Builder // of all ids and names of one policy
	odd      bool            // a selector has a label that is not well formed at first sight
	tags     []policy.Tag    // of a pod
	ips      []netip.Addr
}

// A size is how much of what a policy needs.
type size struct{ groups, rules, conds, strings int }

// selector counts a group by selectors.
func (n *size) selector(cfg *Config, list ...*metav1.LabelSelector) {
	n.groups++
	n.strings += 2 // its id in a rule, and a name
	n.conds += 1 + len(cfg.ClusterTags)
	for _, s := range list {
		if s == nil {
			continue
		}
		k := len(s.MatchLabels) + len(s.MatchExpressions)
		n.conds, n.strings = n.conds+k, n.strings+len(s.MatchLabels)
		for i := range s.MatchExpressions {
			n.strings += len(s.MatchExpressions[i].Values)
		}
	}
	n.strings += len(cfg.ClusterTags)
}

// begin forgets the policy before and makes room for one.
func (b *builder) begin(id, namespace, name string, n size) {
	b.groups = slices.Grow(b.groups[:0], n.groups)
	b.sections = slices.Grow(b.sections[:0], 2)
	b.rules = slices.Grow(b.rules[:0], n.rules)
	b.exprs = slices.Grow(b.exprs[:0], n.conds)
	b.conds = slices.Grow(b.conds[:0], n.conds)
	b.strings = slices.Grow(b.strings[:0], n.strings)
	b.odd = false
	b.text.Reset()
	// Each group has an id and a name, each rule a name, and one section an id,
	// with so many bytes after those of the policy, mostly.
	const group, rule, section = len("-ingress-0-0"), len(" isolation ingress"), len("-isolation")
	long := len(namespace) + len("/") + len(name)
	b.text.Grow(n.groups*(len(id)+long+2*group) + n.rules*(long+rule) + len(id) + section + long)
	b.id, b.name = id, b.join(namespace, "/", name)
}

// join returns one string of several.
func (b *builder) join(parts ...string) string {
	start := b.text.Len()
	for _, s := range parts {
		b.text.WriteString(s)
	}
	return b.text.String()[start:]
}

// group adds a group and returns its id.
func (b *builder) group(suffix string, g policy.Group) string {
	g.ID, g.DisplayName, g.Tags = b.join(b.id, "-", suffix), b.join(b.name, " ", suffix), b.cfg.Tags
	b.groups = append(b.groups, g)
	return g.ID
}

// maxLooked bounds how many groups are looked at for equal criteria.
const maxLooked = 16

// have returns the id of one of the first groups, if it selects by the same
// criteria: often a peer is the pods themselves, or that of another rule.
func (b *builder) have(criteria policy.Expr) (string, bool) {
	if criteria.IsZero() {
		return "", false
	}
	for i := range b.groups[:min(len(b.groups), maxLooked)] {
		if sameTerms(b.groups[i].Criteria.All, criteria.All) {
			return b.groups[i].ID, true
		}
	}
	return "", false
}

// sameTerms compares lists of conditions.
func sameTerms(a, b []policy.Expr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i].Condition, b[i].Condition
		if x.Subject != y.Subject || x.Key != y.Key || compareConditions(*x, *y) != 0 {
			return false
		}
	}
	return true
}

// list returns a list of one string.
func (b *builder) list(s string) []string {
	b.strings = append(b.strings, s)
	n := len(b.strings)
	return b.strings[n-1 : n : n]
}

// all returns an expression of the conditions from a place on.
func (b *builder) all(from int) policy.Expr {
	start := len(b.exprs)
	for i := from; i < len(b.conds); i++ {
		b.exprs = append(b.exprs, policy.Expr{Condition: &b.conds[i]})
	}
	n := len(b.exprs)
	return policy.Expr{All: b.exprs[start:n:n]}
}

func (b *builder) when(c policy.Condition) { b.conds = append(b.conds, c) }

// inCluster adds what tells the cluster from others.
func (b *builder) inCluster(of policy.Subject) {
	for _, t := range b.cfg.ClusterTags {
		b.when(policy.Condition{Subject: of, Operator: policy.Equals, Scope: t.Scope, Values: b.list(t.Tag)})
	}
}

// pods returns what selects pods of one namespace.
func (b *builder) pods(namespace string, pods *metav1.LabelSelector) policy.Expr {
	start := len(b.conds)
	b.when(policy.Condition{Subject: policy.OfNamespace, Key: policy.KeyName, Operator: policy.Equals, Values: b.list(namespace)})
	b.inCluster(policy.OfNamespace)
	b.selector(pods, policy.OfMember)
	return b.all(start)
}

// selected returns what selects pods by their namespaces, all for an empty
// selector; pods may be nil.
func (b *builder) selected(namespaces, pods *metav1.LabelSelector) policy.Expr {
	start := len(b.conds)
	b.inCluster(policy.OfNamespace)
	b.selector(namespaces, policy.OfNamespace)
	if len(b.conds) == start { // nobody without a namespace is a pod
		b.when(policy.Condition{Subject: policy.OfNamespace, Key: policy.KeyName, Operator: policy.Exists})
	}
	b.selector(pods, policy.OfMember)
	return b.all(start)
}

// selector adds the conditions of a selector that has been validated, but for its
// labels: in one order and each once, so that what selects the same by the same terms is equal.
func (b *builder) selector(s *metav1.LabelSelector, of policy.Subject) {
	if s == nil {
		return
	}
	start := len(b.conds)
	for k, v := range s.MatchLabels {
		b.odd = b.odd || !isLabelKey(k) || !isLabelValue(v)
		b.when(policy.Condition{Subject: of, Operator: policy.Equals, Scope: k, Values: b.list(v)})
	}
	for i := range s.MatchExpressions {
		b.requirement(&s.MatchExpressions[i], of)
	}
	if list := b.conds[start:]; len(list) > 1 {
		slices.SortFunc(list, compareConditions)
		list = slices.CompactFunc(list, func(x, y policy.Condition) bool { return compareConditions(x, y) == 0 })
		b.conds = b.conds[:start+len(list)]
	}
}

func (b *builder) requirement(r *metav1.LabelSelectorRequirement, of policy.Subject) {
	c := policy.Condition{Subject: of, Operator: operator(r.Operator), Scope: r.Key}
	if len(r.Values) > 0 {
		start := len(b.strings)
		b.strings = append(b.strings, r.Values...)
		slices.Sort(b.strings[start:])
		c.Values = slices.Compact(b.strings[start:len(b.strings):len(b.strings)])
	}
	if c.Operator == policy.In && len(c.Values) == 1 {
		c.Operator = policy.Equals
	}
	b.when(c)
}

func operator(o metav1.LabelSelectorOperator) policy.Operator {
	switch o {
	case metav1.LabelSelectorOpIn:
		return policy.In
	case metav1.LabelSelectorOpNotIn:
		return policy.NotIn
	case metav1.LabelSelectorOpExists:
		return policy.Exists
	}
	return policy.NotExists
}

func compareConditions(x, y policy.Condition) int {
	return cmp.Or(cmp.Compare(x.Scope, y.Scope), cmp.Compare(x.Operator, y.Operator), slices.Compare(x.Values, y.Values))
}

// prefix reads a CIDR that has been validated.
func prefix(s string) netip.Prefix {
	p, _ := netip.ParsePrefix(s)
	return p.Masked()
}

// copied returns a list of its own; nil if it is empty.
func (b *builder) copied(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	start := len(b.strings)
	b.strings = append(b.strings, list...)
	n := len(b.strings)
	return b.strings[start:n:n]
}

// numbers are those of most lists.
var numbers = [...]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// numbered returns "ingress-0".
func (b *builder) numbered(name string, i int) string {
	switch {
	case i == 0 && name == "ingress": // what most policies have
		return "ingress-0"
	case i == 0 && name == "egress":
		return "egress-0"
	case i < len(numbers):
		return b.join(name, "-", numbers[i])
	}
	return b.join(name, "-", strconv.Itoa(i))
}
