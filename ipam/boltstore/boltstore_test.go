package boltstore_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
	"github.com/tierloom/tierloom/ipam/ipamtest"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	ipamtest.TestStore(t, func(t *testing.T, name string) (ipam.Store, func()) {
		s, err := boltstore.Open(filepath.Join(dir, name))
		require.NoError(t, err)
		return s, func() { _ = s.Close() }
	})
}

// addresses opens a pool that gives released addresses again at once.
func addresses(ctx context.Context, store ipam.Store, prefix string) (*ipam.Addresses, error) {
	r, err := ipam.Open(ctx, store, ipam.Config{Quarantine: time.Millisecond})
	if err != nil {
		return nil, err
	}
	return r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}})
}
