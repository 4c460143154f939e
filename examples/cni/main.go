// Command cni is the CNI plugin: it hands what the runtime asks to the node
// agent.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tierloom/tierloom/cni/plugin"
)

func main() {
	fs := flag.NewFlagSet("cni", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(os.Stderr, "cni: the Tierloom CNI plugin (specification 0.4.0, 1.0.0 and 1.1.0).\n\n"+
			"A container runtime runs it with CNI_COMMAND and the rest of the specification's\n"+
			"environment set, and the network configuration on standard input.\n")
	}
	if err := fs.Parse(os.Args[1:]); err != nil {
		os.Exit(0)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := plugin.Plugin{Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(p.Main(ctx))
}
