package boltstore_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

const childFile = "TIERLOOM_BOLTSTORE_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		child(file)
		return
	}
	os.Exit(m.Run())
}

func addresses(ctx context.Context, store ipam.Store, prefix string) (*ipam.Addresses, error) {
	r, err := ipam.Open(ctx, store, ipam.Config{Quarantine: time.Millisecond})
	if err != nil {
		return nil, err
	}
	return r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}})
}

// child grants and releases addresses until it is killed, and reports each
// grant once it is acknowledged, and each release before it is asked for. Each
// of its goroutines holds two at most, so that values come round again.
func child(file string) {
	store, err := boltstore.Open(file)
	if err != nil {
		panic(err)
	}
	pool, err := addresses(context.Background(), store, "10.0.0.0/21")
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			var mine []string
			for i := 0; ; i++ {
				owner := fmt.Sprintf("g%d-%d-%d", os.Getpid(), g, i)
				a, err := pool.Acquire(context.Background(), owner)
				if err != nil {
					return
				}
				mu.Lock()
				fmt.Println("granted", owner, a)
				mu.Unlock()
				if mine = append(mine, owner); len(mine) > 2 {
					mu.Lock()
					fmt.Println("releasing", mine[0], "-")
					mu.Unlock()
					_ = pool.Release(context.Background(), mine[0])
					mine = mine[1:]
				}
			}
		})
	}
	wg.Wait()
}

// TestKilled kills a granting process again and again: what it had reported
// as granted is in the file, and nothing is granted twice.
func TestKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leases.db")
	held := map[string]string{}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		after := 20 + rng.IntN(200) // lines until the kill
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childFile+"="+file)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			f := strings.Fields(lines.Text())
			if len(f) != 3 {
				continue // cut short by the kill
			}
			if f[0] == "granted" {
				held[f[1]] = f[2]
			} else {
				delete(held, f[1]) // from here on it may be either way
			}
			if n == after {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.ErrorContains(t, cmd.Wait(), "killed", "round %d", round)
		store, err := boltstore.Open(file)
		require.NoError(t, err)
		pool, err := addresses(t.Context(), store, "10.0.0.0/21")
		require.NoError(t, err)
		given := map[string]string{}
		for owner, a := range pool.All() {
			require.Empty(t, given[a.String()], "round %d: %s is given twice", round, a)
			given[a.String()] = owner
		}
		for owner, a := range held {
			require.Equal(t, owner, given[a], "round %d: grant of %s to %s is lost", round, a, owner)
		}
		require.NoError(t, store.Close())
	}
	require.NotEmpty(t, held)
}
