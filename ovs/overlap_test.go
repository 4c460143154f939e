package ovs_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// meet reports whether a packet can match both: no bit that both look at differs.
func meet(a, b ovs.Match) bool {
	for _, x := range a.Fields() {
		y, _ := b.Field(x.Field)
		for i := range x.Mask {
			if (x.Value[i]^y.Value[i])&x.Mask[i]&y.Mask[i] != 0 {
				return false
			}
		}
	}
	return true
}

// TestOverlapsProperty compares what is found with all pairs.
func TestOverlapsProperty(t *testing.T) {
	found := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b := ovs.NewBridge(newFake(), share)
		var all []ovs.Flow
		seen := map[ovs.Key]bool{}
		for i := range 4 {
			var flows []ovs.Flow
			for range 10 {
				f := flow(int(rng.Uint32N(2)), rng.Uint32N(2)+1)
				f.Table, f.Match = uint8(rng.Uint32N(2)), someMatch(rng)
				if rng.IntN(10) == 0 {
					f.Actions = []ovs.Action{ovs.Conjunction(1, 1, 2)}
				}
				if !seen[f.Key()] {
					seen[f.Key()] = true
					flows = append(flows, f)
				}
			}
			all = append(all, flows...)
			require.NoError(t, b.Set(fmt.Sprint("owner", i), flows, nil))
		}
		var want, got [][2]string
		for i, x := range all {
			for _, y := range all[i+1:] {
				_, clauseX := x.Actions[0].(ovs.ConjunctionAction)
				_, clauseY := y.Actions[0].(ovs.ConjunctionAction)
				if x.Table == y.Table && x.Priority == y.Priority && meet(x.Match, y.Match) && x.Actions[0] != y.Actions[0] && !clauseX && !clauseY {
					want = append(want, pair("flow "+x.String(), "flow "+y.String()))
				}
			}
		}
		for c := range b.Overlaps() {
			got = append(got, pair(c.Want, c.OtherWant))
		}
		require.ElementsMatch(t, want, got, "seed %d", seed)
		found += len(got)
	}
	require.Greater(t, found, 1000)
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func someMatch(rng *rand.Rand) ovs.Match {
	var m []ovs.FieldMatch
	if rng.IntN(2) == 0 {
		m = append(m, ovs.InPort(rng.Uint32N(2)))
	}
	if rng.IntN(2) == 0 {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.Uint32N(4))})
		m = append(m, ovs.IPDst(netip.PrefixFrom(a, 30+rng.IntN(3)).Masked()))
	}
	if rng.IntN(3) == 0 {
		m = append(m, ovs.RegMasked(0, rng.Uint32N(4), 1+rng.Uint32N(3)))
	}
	return ovs.NewMatch(m...)
}

func TestOverlapsAreNamed(t *testing.T) {
	b := ovs.NewBridge(newFake(), share)
	wide, narrow := flow(5, 1), flow(5, 2)
	wide.Match = ovs.NewMatch(ovs.IPDst(netip.MustParsePrefix("10.0.0.0/8")))
	narrow.Match = ovs.NewMatch(ovs.IPDst(netip.MustParsePrefix("10.1.0.0/16")))
	require.NoError(t, b.Set("a", []ovs.Flow{wide}, nil))
	require.NoError(t, b.Set("b", []ovs.Flow{narrow}, nil))
	got := slices.Collect(b.Overlaps())
	require.Len(t, got, 1)
	require.Equal(t, `owner "a" wants flow `+wide.String()+`, owner "b" wants flow `+narrow.String(), got[0].String())
	narrow.Priority = 6
	require.NoError(t, b.Set("b", []ovs.Flow{narrow}, nil))
	require.Empty(t, slices.Collect(b.Overlaps()))
}
