// Command edge-agent joins the overlay to the physical network: tunnels on one
// side, kernel routing, NAT and load balancing on the other.
package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/tierloom/tierloom/examples/internal/edgeagent"
	"github.com/tierloom/tierloom/examples/internal/hostagent"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/topology"
)

type options struct {
	hostagent.Options `json:",inline"`
	Uplink            string `json:"uplink"`
}

func main() {
	opts := options{Options: hostagent.DefaultOptions()}
	os.Exit(proc.Main(os.Args[1:], os.Stderr, proc.Command{
		Name: "edge-agent", Summary: "realizes tier-0 gateways on an edge.", Config: &opts,
		Flags: func(fs *flag.FlagSet) {
			opts.Flags(fs)
			fs.StringVar(&opts.Uplink, "uplink", opts.Uplink, "`interface` towards the physical router")
		},
		Validate: func() error {
			err := opts.Validate()
			if opts.Uplink == "" {
				err = errors.Join(err, errors.New("uplink: required"))
			}
			return err
		},
		Run: func(ctx context.Context, env proc.Env) error {
			cfg, err := opts.Config(env)
			if err != nil {
				return err
			}
			cfg.Role, cfg.Outside = topology.RoleEdge, edgeagent.New(opts.Uplink, env.Log)
			return hostagent.New(cfg).Run(ctx)
		},
	}))
}
