package netpol

import (
	"cmp"
	"fmt"

	"github.com/tierloom/tierloom/policy"
)

// Defaults of [Config].
const (
	DefaultAllowPriority     = 1000
	DefaultIsolationPriority = 2000
)

// Config says how policies are translated. The zero value is good for one cluster.
type Config struct {
	// IDPrefix starts every id. An id goes on with the UID of the policy, or
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
	// Category of the sections; empty is Application.
	Category policy.Category
	// AllowPriority and IsolationPriority are sequence numbers of sections, the
	// second larger; 0 is the default.
	AllowPriority, IsolationPriority int
	// Logged is put on every rule; LogDrops on those of isolation.
	Logged, LogDrops bool
}

// setDefaults fills in what is missing and reports what does not fit.
func (c *Config) setDefaults() error {
	c.AllowPriority = cmp.Or(c.AllowPriority, DefaultAllowPriority)
	c.IsolationPriority = cmp.Or(c.IsolationPriority, DefaultIsolationPriority)
	c.Category = cmp.Or(c.Category, policy.Application)
	if c.AllowPriority < 0 || c.AllowPriority >= c.IsolationPriority || c.Category.Rank() < 0 {
		return fmt.Errorf("netpol: config: category %q, allow priority %d, isolation priority %d: %w",
			c.Category, c.AllowPriority, c.IsolationPriority, policy.ErrInvalid)
	}
	return nil
}

// namespace returns what members call a namespace.
func (c *Config) namespace(name string) string {
	if c.Namespace == nil {
		return name
	}
	return c.Namespace(name)
}

// id returns the id of an object of the cluster.
func (c *Config) id(uid, namespace, name string) string {
	switch {
	case uid != "":
		return c.IDPrefix + uid
	case namespace == "":
		return c.IDPrefix + name
	}
	return c.IDPrefix + namespace + "." + name
}
