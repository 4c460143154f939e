// Command tierloomctl reads and writes the manager's objects.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tierloom/tierloom/examples/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := ctl.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, ctl.ErrUsage):
		fmt.Fprintln(os.Stderr, "tierloomctl:", err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "tierloomctl:", err)
	os.Exit(1)
}
