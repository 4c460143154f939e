// Command embed-ipam shows package ipam alone in a foreign program: a durable
// pool of addresses, leased by owner.
package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed-ipam:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "embed-ipam")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for range 2 { // the second time as after a restart
		store, err := boltstore.Open(filepath.Join(dir, "leases.db"))
		if err != nil {
			return err
		}
		leases, err := ipam.Open(ctx, store, ipam.Config{})
		if err != nil {
			return err
		}
		pool, err := leases.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.4.0.0/24")}})
		if err != nil {
			return err
		}
		for _, owner := range []string{"pod-a/eth0", "pod-b/eth0"} {
			addr, err := pool.Acquire(ctx, owner)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, owner, addr)
		}
		if err := store.Close(); err != nil {
			return err
		}
	}
	return nil
}
