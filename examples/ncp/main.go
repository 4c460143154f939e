// Command ncp turns the objects of one Kubernetes cluster into intent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/ncp"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/policy/netpol"
)

type config struct {
	Cluster      string `json:"cluster"`
	Manager      string `json:"manager"`
	SubnetPrefix int    `json:"subnet_prefix"`
	MTU          int    `json:"mtu"`
	Manifests    string `json:"manifests"`
	Status       string `json:"status"`
	Kubeconfig   string `json:"kubeconfig"`
	// Baseline is allow_cluster, allow_namespace or allow_namespace_strict.
	Baseline    string         `json:"baseline_policy_type"`
	NodeSources []netip.Prefix `json:"node_sources"`
	LogDropped  bool           `json:"log_dropped_traffic"`
	LogTraffic  string         `json:"log_firewall_traffic"` // ALL or DENY
	MaxTags     int            `json:"max_tags"`
	TLS         proc.TLS       `json:"tls"`
}

func (c *config) validate() error {
	var errs []error
	if c.Cluster == "" {
		errs = append(errs, errors.New("cluster: required"))
	}
	if (c.Manifests == "") == (c.Kubeconfig == "") {
		errs = append(errs, errors.New("give either kubeconfig, or manifests and status"))
	}
	if c.Manifests != "" && c.Status == "" {
		errs = append(errs, errors.New("status: required with manifests"))
	}
	if t := c.LogTraffic; t != "" && t != ncp.LogAll && t != ncp.LogDeny {
		errs = append(errs, fmt.Errorf("log_firewall_traffic %q: want %s or %s", t, ncp.LogAll, ncp.LogDeny))
	}
	if err := new(netpol.Baseline).UnmarshalText([]byte(c.Baseline)); err != nil {
		errs = append(errs, fmt.Errorf("baseline_policy_type: %w", err))
	}
	return errors.Join(append(errs, c.TLS.Validate())...)
}

func main() {
	cfg := config{Manager: "https://127.0.0.1:7443", SubnetPrefix: 24, MTU: 1450}
	os.Exit(proc.Main(os.Args[1:], os.Stderr, proc.Command{
		Name: "ncp", Summary: "turns a cluster's objects into the manager's intent.", Config: &cfg,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&cfg.Cluster, "cluster", cfg.Cluster, "`name` of this cluster among those that share the manager")
			fs.StringVar(&cfg.Manager, "manager", cfg.Manager, "`URL` of the manager")
			fs.IntVar(&cfg.SubnetPrefix, "subnet-prefix", cfg.SubnetPrefix, "prefix length of a namespace's subnet")
			fs.IntVar(&cfg.MTU, "mtu", cfg.MTU, "MTU of pod interfaces in bytes")
			fs.StringVar(&cfg.Manifests, "manifests", cfg.Manifests, "standalone mode: `folder` of manifests")
			fs.StringVar(&cfg.Status, "status", cfg.Status, "standalone mode: `folder` for what an API server would keep")
			fs.StringVar(&cfg.Kubeconfig, "kubeconfig", cfg.Kubeconfig, "`file` that says where the Kubernetes API server is")
			fs.StringVar(&cfg.Baseline, "baseline-policy-type", cfg.Baseline, "what holds where no policy decides: allow_cluster, allow_namespace, allow_namespace_strict or `none`")
			fs.IntVar(&cfg.MaxTags, "max-tags", cfg.MaxTags, "`number` of tags that an object may have; 0 is any")
			fs.BoolVar(&cfg.LogDropped, "log-dropped-traffic", cfg.LogDropped, "log what policies drop")
			fs.StringVar(&cfg.LogTraffic, "log-firewall-traffic", cfg.LogTraffic, "log what policies drop (DENY), or all that they decide (`ALL`)")
			cfg.TLS.Flags(fs)
		},
		Validate: cfg.validate,
		Run:      func(ctx context.Context, env proc.Env) error { return run(ctx, cfg, env) },
	}))
}

func run(ctx context.Context, cfg config, env proc.Env) error {
	hc, err := cfg.TLS.HTTPClient()
	if err != nil {
		return err
	}
	source, err := cluster.Open(cluster.Options{
		Manifests: cfg.Manifests, Status: cfg.Status, Writer: true, Kubeconfig: cfg.Kubeconfig, Log: env.Log,
	})
	if err != nil {
		return err
	}
	c, err := ncp.New(ncp.Config{
		Cluster: cfg.Cluster, SubnetPrefix: cfg.SubnetPrefix, MTU: cfg.MTU,
		Baseline: netpol.Baseline(cfg.Baseline), NodeSources: cfg.NodeSources, MaxTags: cfg.MaxTags,
		Source: source, Reporter: source, Manager: api.NewClient(cfg.Manager, hc), Log: env.Log,
	})
	if err != nil {
		return err
	}
	stop := watchHealth(ctx, env.Health, c)
	defer stop()
	return c.Run(ctx)
}

// watchHealth reports until the inputs are complete.
func watchHealth(ctx context.Context, h *proc.Health, c *ncp.Controller) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			err := c.Healthy()
			h.Set("inputs", err)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
