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
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/draw"
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
  realized                          list what hosts have realized
  topology [-format svg|mermaid]    draw the logical topology with its placement

flags:
`

// ErrUsage says that the command line makes no sense.
var ErrUsage = errors.New("usage")

// Run carries out one command line and writes what it answers to out.
func Run(ctx context.Context, args []string, out, help io.Writer) error {
	var tls proc.TLS
	manager := "https://127.0.0.1:7443"
	fs := flag.NewFlagSet("tierloomctl", flag.ContinueOnError)
	fs.SetOutput(help)
	fs.Usage = func() {
		fmt.Fprint(help, Usage)
		fs.PrintDefaults()
	}
	fs.StringVar(&manager, "manager", manager, "`URL` of the manager")
	tls.Flags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := tls.Validate(); err != nil {
		return err
	}
	hc, err := tls.HTTPClient()
	if err != nil {
		return err
	}
	c := &command{api: api.NewClient(manager, hc), out: out}
	commands := map[string]func(context.Context, []string) error{
		"status": c.status, "get": c.get, "apply": c.apply, "delete": c.delete,
		"leases": c.leases, "realized": c.realized, "topology": c.topology,
	}
	run, ok := commands[fs.Arg(0)]
	if !ok {
		fs.Usage()
		return fmt.Errorf("%w: no command %q", ErrUsage, fs.Arg(0))
	}
	return run(ctx, fs.Args()[1:])
}

type command struct {
	api *api.Client
	out io.Writer
}

func (c *command) status(ctx context.Context, _ []string) error {
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

// split parses flags that may stand among the words.
func split(fs *flag.FlagSet, args []string) ([]string, error) {
	var words []string
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return words, nil
}

func (c *command) get(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("get", flag.ContinueOnError)
	format := fs.String("o", "table", "table or json")
	tag := fs.String("tag", "", "`scope=value` that the objects carry")
	words, err := split(fs, args)
	if err != nil {
		return err
	}
	var q intent.Query
	switch {
	case len(words) > 2, len(words) == 0 && *tag == "":
		return fmt.Errorf("%w: get KIND [ID], or get -tag SCOPE=VALUE", ErrUsage)
	case len(words) == 2:
		q.ID = words[1]
		fallthrough
	case len(words) == 1:
		q.ResourceType = words[0]
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
	fs := flag.NewFlagSet("apply", flag.ContinueOnError)
	file := fs.String("f", "", "`file` of objects, YAML documents")
	if _, err := split(fs, args); err != nil {
		return err
	}
	raw, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	objs, err := parse(*file, string(raw))
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
func parse(file, text string) ([]intent.Object, error) {
	var objs []intent.Object
	var errs []error
	line := 1
	for doc := range strings.SplitSeq(text, "\n---\n") {
		begins := line
		line += strings.Count(doc, "\n") + 2
		if strings.TrimSpace(doc) == "" {
			continue
		}
		raw, err := yaml.YAMLToJSONStrict([]byte(doc))
		var o intent.Object
		if err == nil {
			err = json.Unmarshal(raw, &o)
		}
		if err == nil {
			err = o.Validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, begins, err))
			continue
		}
		objs = append(objs, o)
	}
	return objs, errors.Join(errs...)
}

func (c *command) delete(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%w: delete KIND ID", ErrUsage)
	}
	if _, err := intent.Lookup(ctx, c.api.Intent, args[0], args[1]); err != nil {
		return err
	}
	_, err := c.api.Intent.Apply(ctx, []intent.Change{intent.Delete(args[0], args[1])})
	return err
}

func (c *command) leases(ctx context.Context, args []string) error {
	list, err := c.api.Allocations(ctx, strings.Join(args, ""))
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

func (c *command) realized(ctx context.Context, _ []string) error {
	objs, _, err := c.api.Realized.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	return c.table(objs)
}

func (c *command) topology(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("topology", flag.ContinueOnError)
	format := fs.String("format", "mermaid", "svg or mermaid")
	if _, err := split(fs, args); err != nil {
		return err
	}
	objs, _, err := c.api.Intent.List(ctx, intent.Query{})
	if err != nil {
		return err
	}
	g, err := draw.Build(objs)
	if err != nil {
		return err
	}
	switch *format {
	case "svg":
		_, err = c.out.Write(g.SVG())
	case "mermaid":
		_, err = io.WriteString(c.out, g.Mermaid())
	default:
		err = fmt.Errorf("%w: -format %q: want svg or mermaid", ErrUsage, *format)
	}
	return err
}
