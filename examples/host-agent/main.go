// Command host-agent makes a host's Open vSwitch enforce and forward what the
// manager's span for the host says.
package main

import (
	"context"
	"os"

	"github.com/tierloom/tierloom/examples/internal/hostagent"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

func main() {
	opts := hostagent.DefaultOptions()
	os.Exit(proc.Main(os.Args[1:], os.Stderr, proc.Command{
		Name: "host-agent", Summary: "realizes the manager's span for a host in its Open vSwitch.", Config: &opts,
		Flags: opts.Flags, Validate: opts.Validate,
		Run: func(ctx context.Context, env proc.Env) error {
			cfg, err := opts.Config(env)
			if err != nil {
				return err
			}
			agent := hostagent.New(cfg)
			env.Status.HandleFunc("GET /policy", agent.ServePolicy)
			return agent.Run(ctx)
		},
	}))
}
