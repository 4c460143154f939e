// Command lab builds a fabric on one machine, proves it, and takes it down.
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tierloom/tierloom/examples/internal/lab"
)

//go:embed manifests policies
var files embed.FS

const usage = `lab builds a Tierloom fabric out of network namespaces and real Open vSwitch,
runs every process in its place, checks it on real packets, and takes it down.

usage:
  lab up [--bin DIR] [--keep] [--json FILE] [--picture FILE]
  lab down
  lab workload --name NAME --tcp PORTS --udp PORTS

`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "up":
		err = up(ctx, args[1:])
	case "down":
		err = lab.Down(ctx, "", func(s string) { fmt.Println("==> " + s) })
	case "workload":
		err = workload(ctx, args[1:])
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	default:
		fmt.Fprintf(os.Stderr, "lab: no command %q\n\n%s", args[0], usage)
		return 2
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		return 1
	}
	return 0
}

func up(ctx context.Context, args []string) error {
	var cfg lab.Config
	f := flag.NewFlagSet("lab up", flag.ContinueOnError)
	f.StringVar(&cfg.Bin, "bin", "bin", "`folder` of the binaries")
	f.BoolVar(&cfg.Keep, "keep", false, "leave the lab up after the checks")
	f.StringVar(&cfg.JSON, "json", "", "write the checks to this `file`")
	f.StringVar(&cfg.Logs, "logs", "", "keep the logs of every process in this `folder`")
	f.StringVar(&cfg.Picture, "picture", "topology.svg", "draw the topology to this `file`")
	if err := f.Parse(args); err != nil {
		return err
	}
	var err error
	if cfg.Manifests, err = fs.Sub(files, "manifests"); err != nil {
		return err
	}
	if cfg.Policies, err = fs.Sub(files, "policies"); err != nil {
		return err
	}
	if cfg.Keep && os.Getenv(lab.HolderEnv) == "" {
		return lab.Hold(ctx, os.Args)
	}
	cfg.Out = os.Stdout
	return lab.Run(ctx, cfg)
}

func workload(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("lab workload", flag.ContinueOnError)
	name := f.String("name", "", "what to answer with")
	tcp := f.String("tcp", "", "TCP `ports`, separated by commas")
	udp := f.String("udp", "", "UDP `ports`, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	ports := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	}
	return lab.Workload(ctx, *name, ports(*tcp), ports(*udp))
}
