// Command manager is the central store and control plane: it keeps intent and
// leases, and works out what each host needs.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/tierloom/tierloom/examples/internal/manager"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

func main() {
	cfg := manager.Config{Listen: "127.0.0.1:7443", Quarantine: "60s"}
	os.Exit(proc.Main(os.Args[1:], os.Stderr, proc.Command{
		Name: "manager", Summary: "stores intent and leases, and computes each host's span.", Config: &cfg,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` of the API")
			fs.StringVar(&cfg.Data, "data", cfg.Data, "`folder` that the stores are kept in")
			fs.StringVar(&cfg.Quarantine, "quarantine", cfg.Quarantine, "how long a released lease is held back, as a `duration`")
			cfg.TLS.Flags(fs)
		},
		Validate: func() error { return cfg.Validate() },
		Run: func(ctx context.Context, env proc.Env) error {
			return manager.Run(ctx, cfg, env.Log, env.Health)
		},
	}))
}
