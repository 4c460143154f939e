package netpol

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/tierloom/tierloom/policy"
)

// Defaults of [Config].
const (
	DefaultAllowPriority     = 1000
	DefaultIsolationPriority = 2000
	DefaultTierPriority      = 1000 // of an AdminTier or BaselineTier policy of priority 0
	DefaultLastPriority      = 9000
	DefaultNodeScope         = "spec:nodeName" // no label can have a colon
)

// Config says how policies are translated. The zero value is good for one cluster.
type Config struct {
	// IDPrefix starts every id. An id goes on with the UID of the object, or
	// its namespace and name if it has none.
	IDPrefix string
	// Tags are put on every group and section; these share the slice.
	Tags []policy.Tag
	// ClusterTags are tags that the namespaces of the cluster have, where the
	// members of several clusters are in one Engine: selectors select no others.
	ClusterTags []policy.Tag
	// Namespace returns what [policy.Member.Namespace] is for a namespace; nil
	// is its name.
	Namespace func(name string) string
	// Category of NetworkPolicies; empty is Application.
	Category policy.Category
	// AllowPriority and IsolationPriority are sequence numbers of sections, the
	// second larger; 0 is the default.
	AllowPriority, IsolationPriority int
	// AdminCategory is that of tier Admin, one before Application; empty is
	// Environment. Tier Baseline is category Baseline.
	AdminCategory policy.Category
	// AdminPriority and BaselinePriority are added to the priority of a
	// ClusterNetworkPolicy, 0 to 1000, for the sequence number of its section;
	// 0 is DefaultTierPriority.
	AdminPriority, BaselinePriority int
	// LastPriority is the sequence number of a [Baseline], in category Baseline; 0
	// is DefaultLastPriority.
	LastPriority int
	// DefaultDrop says that [policy.Config.Default] of the Engine is Drop, which
	// is then what Pass in tier Baseline comes to; else it is to accept, as
	// Kubernetes has it.
	DefaultDrop bool
	// NodeCategory is that of what a node may send to its own pods; empty is
	// Infrastructure.
	NodeCategory policy.Category
	// NodeScope is the scope of the tag that names the node of a pod; empty is
	// DefaultNodeScope.
	NodeScope string
	// NodeSources are prefixes that every node's traffic to its own pods may come
	// from besides its addresses, such as that of a gateway port for probes.
	NodeSources []netip.Prefix
	// Logged is put on every rule; LogDrops on those that drop.
	Logged, LogDrops bool
	// LogLabel is put on every rule that is logged.
	LogLabel string
}

// setDefaults fills in what is missing and reports what does not fit.
func (c *Config) setDefaults() error {
	c.AllowPriority = cmp.Or(c.AllowPriority, DefaultAllowPriority)
	c.IsolationPriority = cmp.Or(c.IsolationPriority, DefaultIsolationPriority)
	c.AdminPriority = cmp.Or(c.AdminPriority, DefaultTierPriority)
	c.BaselinePriority = cmp.Or(c.BaselinePriority, DefaultTierPriority)
	c.LastPriority = cmp.Or(c.LastPriority, DefaultLastPriority)
	c.Category = cmp.Or(c.Category, policy.Application)
	c.AdminCategory = cmp.Or(c.AdminCategory, policy.Environment)
	c.NodeCategory = cmp.Or(c.NodeCategory, policy.Infrastructure)
	c.NodeScope = c.nodeScope()
	switch {
	case c.AllowPriority < 0 || c.AllowPriority >= c.IsolationPriority:
		return invalid("allow priority %d, isolation priority %d: want the second larger", c.AllowPriority, c.IsolationPriority)
	case c.Category.Rank() < 0:
		return invalid("category %q: want one of %v", c.Category, policy.Categories())
	case c.NodeCategory.Rank() < 0:
		return invalid("node category %q: want one of %v", c.NodeCategory, policy.Categories())
	case c.AdminCategory.Rank() < 0 || c.AdminCategory.Rank() >= policy.Application.Rank():
		return invalid("admin category %q: want one before %s", c.AdminCategory, policy.Application)
	case c.AdminPriority < 0 || c.BaselinePriority < 0:
		return invalid("admin priority %d, baseline priority %d: want none negative", c.AdminPriority, c.BaselinePriority)
	case c.LastPriority <= c.BaselinePriority+maxClusterPriority:
		return invalid("last priority %d: want more than %d", c.LastPriority, c.BaselinePriority+maxClusterPriority)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("netpol: config: "+format+": %w", append(args, policy.ErrInvalid)...)
}

func (c *Config) nodeScope() string { return cmp.Or(c.NodeScope, DefaultNodeScope) }

// namespace returns what members call a namespace.
func (c *Config) namespace(name string) string {
	if c.Namespace == nil {
		return name
	}
	return c.Namespace(name)
}

// logs sets whether a rule is logged, by its action, and with which label.
func (c *Config) logs(r *policy.Rule) {
	if c.Logged || c.LogDrops && r.Action == policy.Drop {
		r.Logged, r.LogLabel = true, c.LogLabel
	}
}

// id returns the id of an object of the cluster: by its UID, or by kind and name
// with a colon between, which ids of NetworkPolicies have not.
func (c *Config) id(uid types.UID, kind string, name ...string) string {
	if uid != "" {
		return c.IDPrefix + string(uid)
	}
	return c.IDPrefix + kind + ":" + strings.Join(name, "")
}
