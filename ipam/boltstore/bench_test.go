package boltstore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/ipam/boltstore"
)

// callers wait at once in BenchmarkAcquire.
const callers = 64

// run has the callers do b.N times what f does for an owner.
func run(b *testing.B, f func(owner string) error) {
	owners := make([]string, b.N)
	for i := range owners {
		owners[i] = fmt.Sprint("cluster/pod-", i, "/eth0")
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := f(owners[n-1]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkAcquire leases durably while 64 callers wait, beside one bbolt
// transaction, with its own wait for the disk, for each allocation: a counter
// and the owner's value. The move of our journal to the database, when we close
// it at the latest, is in the time. They are measured in turn, as disks have
// better and worse seconds; the median counts.
func BenchmarkAcquire(b *testing.B) {
	for range 5 {
		b.Run("ours", benchmarkOurs)
		b.Run("peer", benchmarkPeer)
	}
}

func benchmarkOurs(b *testing.B) {
	store, err := boltstore.Open(filepath.Join(b.TempDir(), "leases.db"))
	require.NoError(b, err)
	defer store.Close()
	r, err := ipam.Open(b.Context(), store, ipam.Config{})
	require.NoError(b, err)
	pool, err := r.Addresses("pods", ipam.AddressConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	require.NoError(b, err)
	run(b, func(owner string) error {
		_, err := pool.Acquire(context.Background(), owner)
		return err
	})
	b.ReportMetric(0.02, "target")
}

func benchmarkPeer(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "peer.db"), 0o600, nil)
	require.NoError(b, err)
	defer db.Close()
	run(b, func(owner string) error {
		return db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("leases"))
			if err != nil {
				return err
			}
			n, err := bucket.NextSequence()
			if err != nil {
				return err
			}
			return bucket.Put(binary.BigEndian.AppendUint64(nil, n), []byte(owner))
		})
	})
}

const million = 1_000_000

// BenchmarkLoad opens a file with a million leases and the pool that they are
// of, beside reading the same file.
func BenchmarkLoad(b *testing.B) {
	file := filepath.Join(b.TempDir(), "leases.db")
	fill(b, file, million)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			store, err := boltstore.Open(file)
			require.NoError(b, err)
			pool, err := addresses(b.Context(), store, "10.0.0.0/8")
			require.NoError(b, err)
			used, _ := pool.Usage()
			require.Equal(b, uint64(million), used)
			require.NoError(b, store.Close())
		}
		b.ReportMetric(3e9, "limit-ns")
	})
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			db, err := bbolt.Open(file, 0o600, nil)
			require.NoError(b, err)
			n := 0
			require.NoError(b, db.View(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("records")).ForEach(func(_, v []byte) error { n += len(v); return nil })
			}))
			require.NotZero(b, n)
			require.NoError(b, db.Close())
		}
	})
}

// fill makes a file with n leases of addresses.
func fill(b *testing.B, file string, n int) {
	store, err := boltstore.Open(file)
	require.NoError(b, err)
	a := netip.MustParseAddr("10.0.0.1")
	for done := 0; done < n; done += 10_000 {
		var changes []ipam.Change
		for i := range 10_000 {
			owner := fmt.Sprint("cluster/pod-", done+i, "/eth0")
			changes = append(changes, ipam.Change{After: ipam.Record{Space: "pods", Owner: owner, Value: a.String()}})
			a = a.Next()
		}
		require.NoError(b, store.Commit(b.Context(), changes))
	}
	require.NoError(b, store.Close())
}
