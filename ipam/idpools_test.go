package ipam_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ipam"
)

func TestIDKinds(t *testing.T) {
	for _, c := range []struct {
		name        string
		cfg         ipam.IDConfig
		first, last uint32
		total       uint64
	}{
		{"VLANs", ipam.VLANs(1, 4094), 2, 4093, 4092},
		{"VNIs", ipam.VNIs(), 1, 1<<24 - 1, 1<<24 - 1},
		{"tunnel keys", ipam.TunnelKeys(), 1, math.MaxUint32, math.MaxUint32},
		{"conjunction ids", ipam.ConjunctionIDs(5), 1, math.MaxUint32, math.MaxUint32 - 1},
		{"all numbers", ipam.IDConfig{Max: math.MaxUint32}, 0, math.MaxUint32, 1 << 32},
	} {
		p, err := ipam.NewIDPool(c.cfg)
		require.NoError(t, err, c.name)
		require.NoError(t, p.Reserve(c.last), c.name)
		id, err := p.Allocate()
		require.NoError(t, err, c.name)
		require.Equal(t, c.first, id, c.name)
		require.Equal(t, []uint32{c.first, c.last}, slices.Collect(p.All), c.name)
		used, total := p.Usage()
		require.Equal(t, [2]uint64{2, c.total}, [2]uint64{used, total}, c.name)
	}
}

func TestIDPoolsAreOfTheirParents(t *testing.T) {
	p, err := ipam.NewIDPools(ipam.VLANs(2))
	require.NoError(t, err)
	allocate := func(parent string) uint32 {
		id, err := p.Allocate(parent)
		require.NoError(t, err)
		return id
	}
	require.Equal(t, []uint32{1, 3, 1, 4}, []uint32{allocate("a"), allocate("a"), allocate("b"), allocate("a")})
	require.False(t, p.Contains(2))
	p.Release("a", 3)
	p.Release("a", 3)
	p.Release("nobody", 3)
	require.Equal(t, uint32(5), allocate("a"), "3 rests")
	require.Equal(t, []uint32{1, 4, 5}, slices.Collect(p.All("a")))
	require.Empty(t, slices.Collect(p.All("nobody")))
	used, total := p.Usage("nobody")
	require.Equal(t, [2]uint64{0, 4093}, [2]uint64{used, total})
	require.ErrorIs(t, p.Forget("b"), ipam.ErrInUse)
	p.Release("b", 1)
	require.NoError(t, p.Forget("b"))
	require.NoError(t, p.Forget("b"))
	require.Equal(t, uint32(1), allocate("b"))
}
