// Command embed-ipam shows package ipam alone in a foreign controller: it keeps
// the addresses of its machines in a file, and finds them there again.
package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

func main() {
	if err := reconcile(context.Background(), "leases.db", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed-ipam:", err)
		os.Exit(1)
	}
}

// reconcile gives every machine an address, and takes back those of the others.
func reconcile(ctx context.Context, file string, machines []string, out io.Writer) error {
	store, err := boltstore.Open(file)
	if err != nil {
		return err
	}
	defer store.Close()
	registry, err := ipam.Open(ctx, store, ipam.Config{Quarantine: time.Minute})
	if err != nil {
		return err
	}
	pool, err := registry.Addresses("machines", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/24")}})
	if err != nil {
		return err
	}
	for _, m := range machines {
		addr, err := pool.Acquire(ctx, m) // durable when it returns
		if err != nil {
			return err
		}
		fmt.Fprintln(out, m, addr)
	}
	_, err = registry.Collect(ctx, "machines", ipam.Owners(machines...))
	return err
}
