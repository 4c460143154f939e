// Command tierloomctl reads and writes the manager's objects.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tierloom/tierloom/examples/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := ctl.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
