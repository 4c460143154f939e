package netpol

import (
	"fmt"

	"github.com/tierloom/tierloom/policy"
)

// A Baseline is what holds for pods where no policy decides: the last sections
// of tier Baseline. Pass in that tier passes over it, too.
type Baseline string

// Baselines. They are about connections that pods of the cluster make or get;
// the Engine decides what they leave open.
const (
	NoBaseline Baseline = ""
	// AllowCluster lets all pods of the cluster talk to each other.
	AllowCluster Baseline = "allow_cluster"
	// AllowNamespace lets the pods of a namespace talk to each other, and not
	// with those of other namespaces.
	AllowNamespace Baseline = "allow_namespace"
	// AllowNamespaceStrict is AllowNamespace without anything from or to outside
	// the cluster, either.
	AllowNamespaceStrict Baseline = "allow_namespace_strict"
)

// UnmarshalText takes the name of a baseline; empty and "none" are none.
func (b *Baseline) UnmarshalText(text []byte) error {
	switch v := Baseline(text); v {
	case NoBaseline, AllowCluster, AllowNamespace, AllowNamespaceStrict:
		*b = v
	case "none":
		*b = NoBaseline
	default:
		return fmt.Errorf("netpol: baseline %q is none of %s, %s, %s: %w", text, AllowCluster, AllowNamespace, AllowNamespaceStrict, policy.ErrInvalid)
	}
	return nil
}

// CompileBaseline returns what a baseline is for the cluster as a whole. It goes
// with [CompileNamespaceBaseline] for each namespace.
func CompileBaseline(baseline Baseline, cfg Config) ([]policy.Group, []policy.Section, error) {
	b, err := newBaseline(&baseline, cfg, "baseline")
	if err != nil || baseline == NoBaseline || baseline == AllowNamespaceStrict {
		return nil, nil, err
	}
	all := b.group("pods", policy.Group{Criteria: b.selected(nil, nil)})
	if baseline == AllowCluster {
		b.baseline(all, b.bothWays("", policy.Allow, all))
	}
	return b.groups, b.sections, nil
}

// CompileNamespaceBaseline returns what a baseline is for one namespace; nothing
// for AllowCluster. It is one section, so that nothing is dropped on the way to it
// that it allows.
func CompileNamespaceBaseline(baseline Baseline, namespace string, cfg Config) ([]policy.Group, []policy.Section, error) {
	b, err := newBaseline(&baseline, cfg, "baseline:"+namespace)
	if err != nil || baseline == NoBaseline || baseline == AllowCluster {
		return nil, nil, err
	}
	own := b.group("pods", policy.Group{Criteria: b.pods(cfg.namespace(namespace), nil)})
	rules := b.bothWays("own-", policy.Allow, own)
	if baseline == AllowNamespace {
		rules = append(rules, b.bothWays("other-", policy.Drop, cfg.IDPrefix+"baseline-pods")...)
	} else {
		rules = append(rules, b.bothWays("other-", policy.Drop)...)
	}
	b.baseline(own, rules)
	return b.groups, b.sections, nil
}

func newBaseline(baseline *Baseline, cfg Config, id string) (*builder, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := baseline.UnmarshalText([]byte(*baseline)); err != nil {
		return nil, err
	}
	return &builder{cfg: cfg, id: cfg.IDPrefix + id, name: id + " " + string(*baseline)}, nil
}

// baseline adds the one section of a baseline.
func (b *builder) baseline(scope string, rules []policy.Rule) {
	for i := range rules {
		rules[i].Sequence = i + 1
	}
	b.sections = append(b.sections, policy.Section{ID: b.id, DisplayName: b.name, Tags: b.cfg.Tags, Category: policy.Baseline,
		Priority: b.cfg.LastPriority, AppliedTo: []string{scope}, Rules: rules})
}

// bothWays returns rules that do one thing with what comes from peers and with
// what goes to them; no peers are any.
func (b *builder) bothWays(id string, action policy.Action, peers ...string) []policy.Rule {
	rules := []policy.Rule{
		{ID: id + "ingress", Sources: peers, Action: action, Direction: policy.Ingress},
		{ID: id + "egress", Destinations: peers, Action: action, Direction: policy.Egress},
	}
	for i := range rules {
		b.cfg.logs(&rules[i])
	}
	return rules
}
