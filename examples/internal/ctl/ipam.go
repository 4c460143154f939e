package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tierloom/tierloom/examples/internal/etcdstore"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

const ipamUsage = `ipam [flags] COMMAND

  leases [PREFIX]   list the values of owners that begin with PREFIX
  show NAME         explain a value, or what an owner has: who, since when, why held
  check             look for conflicts; fails if there are any
  export            write all records as JSON lines
  import FILE       put the records of such a file into a store that nothing else uses
`

// ipam reads the leases of a manager or of a store.
func (c *command) ipam(ctx context.Context, args []string) error {
	fs := flags("ipam")
	where := fs.String("store", "manager", "where the `leases` are: manager, bolt:FILE, or etcd:URL[,URL][#PREFIX]")
	space := fs.String("space", "", "only this space")
	words, err := c.words(fs, args, ipamUsage, 1, 2)
	if err != nil {
		return err
	}
	verb, name := words[0], strings.Join(words[1:], "")
	if verb == "export" || verb == "import" {
		return c.migrate(ctx, *where, verb, name)
	}
	read := map[string]func([]ipam.Record, string) error{"leases": c.listRecords, "show": c.show, "check": c.check}[verb]
	switch {
	case read == nil:
		return fmt.Errorf("%w: no command ipam %q", ErrUsage, verb)
	case verb == "show" && name == "":
		return fmt.Errorf("%w: ipam show VALUE or OWNER", ErrUsage)
	}
	records, err := c.records(ctx, *where)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r ipam.Record) bool { return *space != "" && r.Space != *space })
	slices.SortFunc(records, func(a, b ipam.Record) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), compareValues(a.Value, b.Value))
	})
	return read(records, name)
}

// compareValues orders addresses and subnets by number, others as text.
func compareValues(a, b string) int {
	x, errX := netip.ParsePrefix(a)
	y, errY := netip.ParsePrefix(b)
	if errX == nil && errY == nil {
		return x.Compare(y)
	}
	p, errP := netip.ParseAddr(a)
	q, errQ := netip.ParseAddr(b)
	if errP == nil && errQ == nil {
		return p.Compare(q)
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func (c *command) records(ctx context.Context, where string) ([]ipam.Record, error) {
	if where == "manager" {
		return c.api.Records(ctx)
	}
	store, done, err := openStore(where)
	if err != nil {
		return nil, err
	}
	defer done()
	var out []ipam.Record
	r, err := ipam.Open(ctx, store, ipam.Config{})
	if err != nil {
		return nil, err
	}
	for rec := range r.Records() {
		out = append(out, rec)
	}
	return out, nil
}

func openStore(where string) (store ipam.Store, done func(), err error) {
	kind, rest, _ := strings.Cut(where, ":")
	switch {
	case kind == "bolt" && rest != "":
		if _, err := os.Stat(rest); err != nil {
			return nil, nil, err
		}
		s, err := boltstore.Open(rest)
		if err != nil {
			return nil, nil, fmt.Errorf("%w; a manager that runs has it open: ask that with -store manager", err)
		}
		return s, func() { _ = s.Close() }, nil
	case kind == "etcd" && rest != "":
		urls, prefix, found := strings.Cut(rest, "#")
		if !found {
			prefix = etcdstore.DefaultPrefix
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(urls, ","), DialTimeout: 5 * time.Second})
		if err != nil {
			return nil, nil, err
		}
		return etcdstore.New(client, prefix), func() { _ = client.Close() }, nil
	}
	return nil, nil, fmt.Errorf("%w: -store %q: want manager, bolt:FILE or etcd:URL", ErrUsage, where)
}

func (c *command) listRecords(records []ipam.Record, prefix string) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SPACE\tVALUE\tOWNER\tSTATE\tGENERATION")
	for _, r := range records {
		if strings.HasPrefix(r.Owner, prefix) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", r.Space, r.Value, r.Owner, stateOf(r, time.Now()), r.Generation)
		}
	}
	return w.Flush()
}

// stateOf says in a word what a record is.
func stateOf(r ipam.Record, now time.Time) string {
	switch {
	case r.Free(now):
		return "free"
	case len(r.Contested) > 0:
		return "contested"
	case r.Held():
		return "leased"
	case r.Pinned:
		return "pinned"
	case r.Unacknowledged:
		return "unacknowledged"
	}
	return "quarantine"
}

func (c *command) show(records []ipam.Record, name string) error {
	found := false
	for _, r := range records {
		if r.Value == name || r.Owner == name || slices.Contains(r.Contested, name) {
			found = true
			why := r.Why()
			if r.Free(time.Now()) {
				why += ", free by now"
			}
			fmt.Fprintf(c.out, "%s in %s: %s (generation %d)\n", r.Value, r.Space, why, r.Generation)
		}
	}
	if !found {
		return fmt.Errorf("nothing has, or had, %q", name)
	}
	return nil
}

// errFaults says that check found some.
var errFaults = errors.New("leases need attention")

func (c *command) check(records []ipam.Record, _ string) error {
	faults := checkRecords(records, time.Now())
	for _, f := range faults {
		fmt.Fprintln(c.out, f)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %d of %d", errFaults, len(faults), len(records))
	}
	_, err := fmt.Fprintf(c.out, "%d records, no conflict\n", len(records))
	return err
}

// checkRecords returns what somebody must look at, of records sorted by space
// and value.
func checkRecords(records []ipam.Record, now time.Time) (faults []string) {
	owned := map[[2]string]string{}
	var wide ipam.Record // the last subnet that is not in another
	for _, r := range records {
		if r.Free(now) {
			continue // others may have been given a part of it
		}
		why := fmt.Sprintf("%s in %s: %s", r.Value, r.Space, r.Why())
		key := [2]string{r.Space, r.Owner}
		if other := owned[key]; r.Owned() && other != "" {
			faults = append(faults, fmt.Sprintf("%s, who owns %s, too", why, other))
		} else if r.Owned() {
			owned[key] = r.Value
		}
		if len(r.Contested) > 0 || r.Unacknowledged && !now.Before(r.Until) {
			faults = append(faults, why)
		}
		p, err := netip.ParsePrefix(r.Value)
		if err != nil {
			continue
		}
		if r.Space == wide.Space && netip.MustParsePrefix(wide.Value).Overlaps(p) {
			faults = append(faults, fmt.Sprintf("%s; it overlaps %s, %s", why, wide.Value, wide.Why()))
		} else {
			wide = r
		}
	}
	return faults
}

func (c *command) migrate(ctx context.Context, where, verb, file string) error {
	store, done, err := openStore(where)
	if err != nil {
		return err
	}
	defer done()
	if verb == "export" {
		return ipam.Export(ctx, store, c.out)
	}
	var in io.ReadCloser
	if in, err = os.Open(file); err != nil {
		return err
	}
	defer in.Close()
	n, err := ipam.Import(ctx, store, in)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d records put\n", n)
	return err
}
