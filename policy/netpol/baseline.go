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
	b, err := newBaseline(&baseline, cfg, "baseline", "baseline "+string(baseline))
	if err != nil || baseline == NoBaseline {
		return nil, nil, err
	}
	all := b.group("pods", policy.Group{Criteria: b.selected(nil, nil)})
	peers, action := []string{all}, policy.Drop
	switch baseline {
	case AllowCluster:
		action = policy.Allow
	case AllowNamespaceStrict:
		peers = nil
	}
	b.bothWays(all, peers, action, cfg.Logged || cfg.LogDrops && action == policy.Drop)
	return b.groups, b.sections, nil
}

// CompileNamespaceBaseline returns what a baseline is for one namespace; nothing
// for AllowCluster.
func CompileNamespaceBaseline(baseline Baseline, namespace string, cfg Config) ([]policy.Group, []policy.Section, error) {
	b, err := newBaseline(&baseline, cfg, "baseline:"+namespace, "baseline "+string(baseline)+" "+namespace)
	if err != nil || baseline == NoBaseline || baseline == AllowCluster {
		return nil, nil, err
	}
	b.cfg.LastPriority--
	own := b.group("pods", policy.Group{Criteria: b.pods(cfg.namespace(namespace), nil)})
	b.bothWays(own, []string{own}, policy.Allow, cfg.Logged)
	return b.groups, b.sections, nil
}

func newBaseline(baseline *Baseline, cfg Config, id, name string) (*builder, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := baseline.UnmarshalText([]byte(*baseline)); err != nil {
		return nil, err
	}
	return &builder{cfg: cfg, id: cfg.IDPrefix + id, name: name}, nil
}

// bothWays adds a section that does one thing with what members of a group get
// from peers and send to them; no peers are any.
func (b *builder) bothWays(group string, peers []string, action policy.Action, logged bool) {
	b.sections = append(b.sections, policy.Section{ID: b.id, DisplayName: b.name, Tags: b.cfg.Tags, Category: policy.Baseline,
		Priority: b.cfg.LastPriority, AppliedTo: []string{group}, Rules: []policy.Rule{
			{ID: "ingress", Sequence: 1, Sources: peers, Action: action, Direction: policy.Ingress, Logged: logged},
			{ID: "egress", Sequence: 1, Destinations: peers, Action: action, Direction: policy.Egress, Logged: logged},
		}})
}
