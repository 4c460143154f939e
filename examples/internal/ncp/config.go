package ncp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/policy/netpol"
)

// Values of Config.LogTraffic.
const (
	LogAll  = "ALL"
	LogDeny = "DENY"
)

// Config is what a [Controller] works with.
type Config struct {
	// Cluster names this cluster among those that share the manager.
	Cluster string
	// SubnetPrefix is the prefix length of a namespace's subnet. Zero means 24.
	SubnetPrefix int
	// MTU of pod interfaces in bytes. Zero means 1450: an underlay of 1500
	// less 50 for GENEVE over IPv4.
	MTU int
	// Baseline is what holds between pods that no policy decides about.
	Baseline netpol.Baseline
	// NodeSources are prefixes that a node's traffic to its own pods comes from,
	// besides its addresses.
	NodeSources []netip.Prefix
	// MaxTags is how many tags an object may have; zero is any number. Labels that
	// there is no room for make none, which is logged.
	MaxTags int
	// LogDropped logs what policies drop. LogTraffic is DENY for that, or ALL for
	// what they allow as well; empty is neither. Each line has the cluster's name.
	LogDropped bool
	LogTraffic string
	// Scopes are the names of tags. The zero value means [model.DefaultScopes].
	Scopes model.Scopes
	// Collect is how often leases without an owner are looked for besides
	// after each change that may leave one. Zero means 30 seconds.
	Collect time.Duration

	Source   cluster.Source
	Reporter cluster.Reporter
	Manager  *api.Client
	// Log may be nil.
	Log *slog.Logger
}

// leastTags are those that an object has beside labels.
const leastTags = 8

func (c *Config) setDefaults() error {
	if c.SubnetPrefix == 0 {
		c.SubnetPrefix = 24
	}
	if c.MTU == 0 {
		c.MTU = 1450
	}
	if c.Scopes == (model.Scopes{}) {
		c.Scopes = model.DefaultScopes()
	}
	if c.Collect == 0 {
		c.Collect = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if c.Cluster == "" || strings.ContainsAny(c.Cluster, "/ ") {
		errs = append(errs, fmt.Errorf("cluster %q: want a name without / or space", c.Cluster))
	}
	if c.SubnetPrefix < 8 || c.SubnetPrefix > 30 {
		errs = append(errs, fmt.Errorf("subnet_prefix %d: want 8 to 30", c.SubnetPrefix))
	}
	if c.MTU < 576 || c.MTU > 9000 {
		errs = append(errs, fmt.Errorf("mtu %d: want 576 to 9000", c.MTU))
	}
	if c.MaxTags != 0 && c.MaxTags <= leastTags {
		errs = append(errs, fmt.Errorf("max_tags %d: want more than %d, or 0 for any number", c.MaxTags, leastTags))
	}
	if c.LogTraffic != "" && c.LogTraffic != LogDeny && c.LogTraffic != LogAll {
		errs = append(errs, fmt.Errorf("log_firewall_traffic %q: want %s or %s", c.LogTraffic, LogAll, LogDeny))
	}
	if err := c.Baseline.UnmarshalText([]byte(c.Baseline)); err != nil {
		errs = append(errs, fmt.Errorf("baseline_policy_type: %w", err))
	}
	return errors.Join(errs...)
}
