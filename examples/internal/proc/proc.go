// Package proc is what every Tierloom process shares: flags over a strict
// configuration file, structured logs, a health endpoint, mutual TLS, and a
// clean end on SIGINT or SIGTERM.
//
// A main is one line; everything worth a test is in the run function:
//
//	func main() { os.Exit(proc.Main(os.Args[1:], os.Stderr, hostagent.Command())) }
package proc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/yaml"
)

// A Command is one process: its configuration and what it runs.
type Command struct {
	Name    string
	Summary string // one sentence for --help
	// Config points to a struct that holds defaults; the file given by
	// --config is read into it, then flags override single fields.
	Config any
	// Flags binds flags to fields of Config.
	Flags func(*flag.FlagSet)
	// Validate names every fault of Config; nil accepts all.
	Validate func() error
	// Run works until ctx is done and then returns nil.
	Run func(ctx context.Context, env Env) error
}

// Env is what a process is given besides its configuration.
type Env struct {
	Log    *slog.Logger
	Health *Health
	// Status answers beside /healthz on the address of --health.
	Status *http.ServeMux
}

// Common are the options of every process.
type common struct {
	config, logLevel, logFormat, health string
}

// Main runs the command and returns its exit code: 0, 1 for a failure, 2 for
// bad usage. It writes logs and errors to stderr.
func Main(args []string, stderr io.Writer, c Command) int {
	opts, err := parse(args, stderr, c)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
		return 2
	}
	log, err := logger(stderr, opts)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	env := Env{Log: log.With("process", c.Name), Health: NewHealth(), Status: http.NewServeMux()}
	if err := serve(ctx, opts.health, env, c.Run); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
		return 1
	}
	return 0
}

// parse reads flags, then the file that --config names, then flags again so
// that they win over the file.
func parse(args []string, stderr io.Writer, c Command) (common, error) {
	var opts common
	fs := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s: %s\n\nusage: %s [flags]\n\n", c.Name, c.Summary, c.Name)
		fs.PrintDefaults()
	}
	fs.StringVar(&opts.config, "config", "", "configuration `file` (YAML); flags override it")
	fs.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&opts.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&opts.health, "health", "", "serve /healthz, and what else there is to tell, on this `address`; empty serves none")
	if c.Flags != nil {
		c.Flags(fs)
	}
	if err := fs.Parse(args); err != nil {
		return opts, err
	}
	if fs.NArg() > 0 {
		return opts, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if opts.config != "" {
		raw, err := os.ReadFile(opts.config)
		if err != nil {
			return opts, err
		}
		if err := yaml.UnmarshalStrict(raw, c.Config); err != nil {
			return opts, fmt.Errorf("%s: %w", opts.config, err)
		}
		if err := fs.Parse(args); err != nil {
			return opts, err
		}
	}
	if c.Validate != nil {
		return opts, c.Validate()
	}
	return opts, nil
}

func logger(w io.Writer, opts common) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(opts.logLevel)); err != nil {
		return nil, fmt.Errorf("log-level %q: want debug, info, warn or error", opts.logLevel)
	}
	ho := &slog.HandlerOptions{Level: level}
	switch opts.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, ho)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, ho)), nil
	}
	return nil, fmt.Errorf("log-format %q: want text or json", opts.logFormat)
}
