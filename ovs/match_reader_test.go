package ovs_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// TestMatchReaderRemembersNothingWrong reads runs of matches that have the same
// fields in the same order, some with bytes spoiled, with one reader: each comes
// out, or is refused, as by a reader that has seen nothing before.
func TestMatchReaderRemembersNothingWrong(t *testing.T) {
	all := []ovs.Field{
		ovs.FieldInPort, ovs.FieldMetadata, ovs.FieldEthDst, ovs.FieldEthType, ovs.FieldVLANVID, ovs.FieldIPv4Src, ovs.FieldIPv4Dst,
		ovs.FieldTCPDst, ovs.FieldReg0, ovs.FieldReg0 + 3, ovs.FieldXReg0 + 1, ovs.FieldIPv6Src, ovs.FieldIPTOS, ovs.FieldCTState,
	}
	seen := map[bool]int{}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var shape []ovs.Field
		for _, i := range rng.Perm(len(all))[:1+rng.IntN(6)] {
			shape = append(shape, all[i])
		}
		var reader ovs.MatchReader
		var want []ovs.Match
		for range 20 {
			var oxm []byte
			for _, f := range shape {
				c := randomMask(rng, f)
				oxm = c.AppendOXM(oxm)
			}
			for rng.IntN(4) == 0 && len(oxm) > 0 {
				oxm[rng.IntN(len(oxm))] ^= byte(1 << rng.IntN(8))
			}
			m, err := ovs.ReadMatch(oxm)
			got := reader.Add(oxm)
			require.Equal(t, err == nil, got == nil, "seed %d: %x: %v, %v", seed, oxm, err, got)
			if seen[err == nil]++; err == nil {
				want = append(want, m)
			}
		}
		n := 0
		reader.Flush(func(i int, m ovs.Match) {
			require.Equal(t, want[i].String(), m.String(), "seed %d, match %d", seed, i)
			require.Equal(t, want[i], m)
			n++
		})
		require.Len(t, want, n)
	}
	require.Greater(t, seen[true], 1000)
	require.Greater(t, seen[false], 100)
}

// randomMask returns a constraint on a field, mostly with a mask where it may
// have one, now and then with a mask of all bits or of none.
func randomMask(rng *rand.Rand, f ovs.Field) ovs.FieldMatch {
	value, mask := make([]byte, f.Bytes()), make([]byte, f.Bytes())
	kind := rng.IntN(6)
	for i := range value {
		value[i] = byte(rng.Uint32())
		if mask[i] = byte(rng.Uint32()); kind == 0 {
			mask[i] = 0xff
		} else if kind == 1 {
			mask[i] = 0
		}
	}
	if !f.Maskable() || kind > 3 {
		mask = nil
	}
	return ovs.NewFieldMatch(f, value, mask)
}
