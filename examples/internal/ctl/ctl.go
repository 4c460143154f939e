// Package ctl is the administrator's command line: it reads and writes the
// manager's intent, lists leases, and draws the topology.
package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/draw"
	"github.com/tierloom/tierloom/examples/internal/manifest"
	"github.com/tierloom/tierloom/examples/internal/proc"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// Usage is what --help prints before the flags.
const Usage = `tierloomctl reads and writes the manager's objects.

usage: tierloomctl [flags] COMMAND

commands:
  status                            revision counters
  get KIND [ID] [-o json]           list objects of a kind, or show one
  get -tag SCOPE=VALUE [-o json]    list what carries a tag
  apply -f FILE                     write the objects of a YAML file, all or none
  delete KIND ID                    delete an object
  leases [PREFIX]                   list leases of owners that begin with PREFIX
  ipam leases|show|check            explain what leases hold; ipam --help tells more
  policy rules                      list all rules in the order they are tried
  policy explain -from A -to B:PORT  tell which rules decide about a packet
  policy counters -agent URL        list how many packets met each rule at a host
  realized                          list what hosts have realized
  topology [-format svg|mermaid]    draw the logical topology with its placement

It ends with 0, with 1 for what failed, with 2 for a command line that makes no sense.

flags:
`

// ErrUsage says that the command line makes no sense.
var ErrUsage = errors.New("usage")

// Main carries out one command line and returns its exit code: 0, 1 for a
// failure, 2 for a command line that makes no sense. What is wrong is a line
// of errs.
func Main(ctx context.Context, args []string, out, errs io.Writer) int {
	err := Run(ctx, args, out, errs)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(errs, "tierloomctl:", err)
	if errors.Is(err, ErrUsage) {
		return 2
	}
	return 1
}

// Run carries out one command line and writes what it answers to out, and
// help, if it is asked for, to help.
func Run(ctx context.Context, args []string, out, help io.Writer) error {
	var tls proc.TLS
	manager := "https://127.0.0.1:7443"
	fs := flag.NewFlagSet("tierloomctl", flag.ContinueOnError)
	fs.StringVar(&manager, "manager", manager, "`URL` of the manager")
	tls.Flags(fs)
	if err := parseFlags(fs, args, Usage, help); err != nil {
		return err
	}
	if u, err := url.Parse(manager); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: -manager %q: want a URL such as https://192.0.2.1:7443", ErrUsage, manager)
	}
	if err := tls.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	hc, err := tls.HTTPClient()
	if err != nil {
		return err
	}
	c := &command{api: api.NewClient(manager, hc), out: out, help: help}
	commands := map[string]func(context.Context, []string) error{
		"status": c.status, "get": c.get, "apply": c.apply, "delete": c.delete,
		"leases": c.leases, "realized": c.realized, "topology": c.topology, "ipam": c.ipam, "policy": c.policy,
	}
	run, ok := commands[fs.Arg(0)]
	if !ok {
		return fmt.Errorf("%w: no command %q; --help lists them", ErrUsage, fs.Arg(0))
	}
	return run(ctx, fs.Args()[1:])
}

// parseFlags reads flags. Asked for help it writes usage and the flags.
func parseFlags(fs *flag.FlagSet, args []string, usage string, help io.Writer) error {
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		fs.SetOutput(help)
		fs.PrintDefaults()
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return nil
}

type command struct {
	api       *api.Client
	out, help io.Writer
}

// words reads the flags of a command, which may stand among its words, and
// returns the words, of which there may be from least to most. Usage is the
// command's line of [Usage].
func (c *command) words(fs *flag.FlagSet, args []string, usage string, least, most int) ([]string, error) {
	var words []string
	for len(args) > 0 {
		if err := parseFlags(fs, args, "usage: tierloomctl "+usage+"\n", c.help); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) < least || len(words) > most {
		return nil, fmt.Errorf("%w: %s", ErrUsage, usage)
	}
	return words, nil
}

func flags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

func (c *command) status(ctx context.Context, args []string) error {
	if _, err := c.words(flags("status"), args, "status", 0, 0); err != nil {
		return err
	}
	s, err := c.api.Status(ctx)
	if err != nil {
		return err
	}
	return c.json(s)
}

func (c *command) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *command) get(ctx context.Context, args []string) error {
	const usage = "get KIND [ID] [-o json], or get -tag SCOPE=VALUE [-o json]"
	fs := flags("get")
	format := fs.String("o", "table", "table or json")
	tag := fs.String("tag", "", "`scope=value` that the objects carry")
	words, err := c.words(fs, args, usage, 0, 2)
	if err != nil {
		return err
	}
	var q intent.Query
	switch len(words) {
	case 2:
		q.ResourceType, q.ID = words[0], words[1]
	case 1:
		q.ResourceType = words[0]
	case 0:
		if *tag == "" {
			return fmt.Errorf("%w: %s", ErrUsage, usage)
		}
	}
	if *format != "table" && *format != "json" {
		return fmt.Errorf("%w: -o %q: want table or json", ErrUsage, *format)
	}
	if *tag != "" {
		scope, value, ok := strings.Cut(*tag, "=")
		if !ok {
			return fmt.Errorf("%w: -tag %q: want scope=value", ErrUsage, *tag)
		}
		q.Tag = &intent.Tag{Scope: scope, Tag: value}
	}
	objs, _, err := c.api.Intent.List(ctx, q)
	if err != nil {
		return err
	}
	if q.ID != "" && len(objs) == 0 {
		return fmt.Errorf("no %s %q", q.ResourceType, q.ID)
	}
	if *format == "json" {
		return c.json(objs)
	}
	return c.table(objs)
}

func (c *command) table(objs []intent.Object) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tID\tNAME\tREVISION\tBODY")
	for _, o := range objs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", o.ResourceType, o.ID, o.DisplayName, o.Revision, o.Body)
	}
	return w.Flush()
}

func (c *command) apply(ctx context.Context, args []string) error {
	const usage = "apply -f FILE"
	fs := flags("apply")
	file := fs.String("f", "", "`file` of objects, YAML documents")
	if _, err := c.words(fs, args, usage, 0, 0); err != nil {
		return err
	}
	if *file == "" {
		return fmt.Errorf("%w: %s", ErrUsage, usage)
	}
	raw, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	objs, err := parse(*file, raw)
	if err != nil {
		return err
	}
	before, err := c.api.Intent.Status(ctx)
	if err != nil {
		return err
	}
	changes := make([]intent.Change, len(objs))
	for i, o := range objs {
		changes[i] = intent.Put(o)
	}
	revision, err := c.api.Intent.Apply(ctx, changes)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%d objects applied, %d changed\n", len(objs), revision-before.Revision)
	return nil
}

// parse reads YAML documents, each an object; a fault is named by file and
// the line that its document begins at.
func parse(file string, raw []byte) ([]intent.Object, error) {
	var objs []intent.Object
	var errs []error
	for _, part := range manifest.Split(raw) {
		text, err := yaml.YAMLToJSONStrict(part.Text)
		if err == nil && string(text) == "null" {
			continue
		}
		var o intent.Object
		if err == nil {
			err = json.Unmarshal(text, &o)
		}
		if err == nil {
			err = o.Validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s", file, part.Line, part.Error(err)))
			continue
		}
		objs = append(objs, o)
	}
	return objs, errors.Join(errs...)
}

func (c *command) delete(ctx context.Context, args []string) error {
	words, err := c.words(flags("delete"), args, "delete KIND ID", 2, 2)
	if err != nil {
		return err
	}
	if _, err := intent.Lookup(ctx, c.api.Intent, words[0], words[1]); err != nil {
		return err
	}
	_, err = c.api.Intent.Apply(ctx, []intent.Change{intent.Delete(words[0], words[1])})
	return err
}

func (c *command) leases(ctx context.Context, args []string) error {
	words, err := c.words(flags("leases"), args, "leases [PREFIX]", 0, 1)
	if err != nil {
		return err
	}
	list, err := c.api.Allocations(ctx, strings.Join(words, ""))
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b api.Allocation) int {
		return strings.Compare(a.Kind+"\x00"+a.Pool+"\x00"+a.Owner, b.Kind+"\x00"+b.Pool+"\x00"+b.Owner)
	})
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tPOOL\tVALUE\tOWNER")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Kind, a.Pool, a.Value, a.Owner)
	}
	return w.Flush()
}

func (c *command) realized(ctx context.Context, args []string) error {
	if _, err := c.words(flags("realized"), args, "realized", 0, 0); err != nil {
		return err
	}
	objs, _, err := c.api.Realized.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	return c.table(objs)
}

func (c *command) topology(ctx context.Context, args []string) error {
	fs := flags("topology")
	format := fs.String("format", "mermaid", "svg or mermaid")
	if _, err := c.words(fs, args, "topology [-format svg|mermaid]", 0, 0); err != nil {
		return err
	}
	if *format != "svg" && *format != "mermaid" {
		return fmt.Errorf("%w: -format %q: want svg or mermaid", ErrUsage, *format)
	}
	objs, _, err := c.api.Intent.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	g, err := draw.Build(objs)
	if err != nil {
		return err
	}
	if *format == "svg" {
		_, err = c.out.Write(g.SVG())
	} else {
		_, err = io.WriteString(c.out, g.Mermaid())
	}
	return err
}
