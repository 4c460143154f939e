package lbovs_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/lb"
	"github.com/tierloom/tierloom/lb/lbovs"
	"github.com/tierloom/tierloom/ovs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func pod(i int, ips ...string) lbovs.Pod {
	p := lbovs.Pod{ID: fmt.Sprint("pod", i), OFPort: uint32(10 + i), VLAN: uint16(100 + i), MAC: ovs.MAC{2, 0, 0, 0, 0, byte(i)}}
	for _, a := range ips {
		p.IPs = append(p.IPs, netip.MustParseAddr(a))
	}
	return p
}

// lines is the text of a pipeline, a line per flow and group.
func lines(t *testing.T, state []lb.Frontend, pods []lbovs.Pod) (flows, groups []string) {
	f, g, err := lbovs.Flows(state, pods, lbovs.Uplink{OFPort: 1}, lbovs.DefaultLayout())
	require.NoError(t, err)
	for _, one := range f {
		require.NoError(t, one.Validate())
		flows = append(flows, one.String())
	}
	bridge := ovs.NewBridge(nil, ovs.Share{GroupMax: 1<<32 - 1})
	require.NoError(t, bridge.Set("services", f, g))
	for c := range bridge.Overlaps() {
		t.Errorf("a packet may meet either: %s", c)
	}
	for _, one := range g {
		require.NoError(t, one.Validate())
		groups = append(groups, one.String())
	}
	return flows, groups
}

func TestGolden(t *testing.T) {
	flows, groups := lines(t, []lb.Frontend{
		frontend("10.96.0.1:80", lb.TCP, 0, "10.4.0.2:8080", "10.4.0.3:8080"),
		frontend("10.96.0.1:53", lb.UDP, time.Minute, "10.4.0.2:5353"),
		frontend("[fd96::1]:80", lb.TCP, 0, "[fd00:4::2]:8080"),
		frontend("10.96.0.2:80", lb.TCP, 0),
	}, []lbovs.Pod{pod(1, "10.4.0.1", "fd00:4::1")})
	got := strings.Join(slices.Concat(flows, groups), "\n") + "\n"
	const file = "testdata/pipeline.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), got))
}

// TestFlowsProperties changes random states and checks what a change may touch.
func TestFlowsProperties(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var state []lb.Frontend
		for i := range 1 + rng.IntN(20) {
			f := frontend(fmt.Sprintf("10.96.%d.%d:%d", i%3, i, 80+rng.IntN(3)), []uint8{lb.TCP, lb.UDP}[rng.IntN(2)], 0)
			for j := range rng.IntN(5) {
				f.Backends = append(f.Backends, lb.Backend{Addr: netip.AddrFrom4([4]byte{10, 4, byte(i), byte(j + 1)}), Port: 8080})
			}
			state = append(state, f)
		}
		pods := []lbovs.Pod{pod(1, "10.4.0.1"), pod(2, "10.4.0.2"), pod(3)}
		flows, groups := lines(t, state, pods)

		shuffled, pods2 := slices.Clone(state), slices.Clone(pods)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		slices.Reverse(pods2)
		flows2, groups2 := lines(t, shuffled, pods2)
		require.Empty(t, cmp.Diff(flows, flows2), "seed %d: order of input", seed)
		require.Empty(t, cmp.Diff(groups, groups2), "seed %d: order of input", seed)

		i := rng.IntN(len(state))
		if len(state[i].Backends) == 0 {
			continue
		}
		shuffled = slices.Clone(state)
		shuffled[i].Backends = append(slices.Clone(state[i].Backends), lb.Backend{Addr: netip.MustParseAddr("10.4.99.1"), Port: 8080})
		flows2, groups2 = lines(t, shuffled, pods)
		require.Empty(t, cmp.Diff(flows, flows2), "seed %d: a new backend changes no flow", seed)
		require.Len(t, groups2, len(groups))
		changed := 0
		for j := range groups {
			if groups[j] != groups2[j] {
				changed++
				for _, bucket := range strings.Split(groups[j], ",bucket=")[1:] {
					require.Contains(t, groups2[j], bucket, "seed %d: a bucket keeps its id", seed)
				}
			}
		}
		require.Equal(t, 1, changed, "seed %d: a new backend changes one group", seed)
	}
}

func TestGroupIDs(t *testing.T) {
	var state []lb.Frontend
	for i := range 16 {
		state = append(state, frontend(fmt.Sprintf("10.96.0.%d:80", i+1), lb.TCP, 0))
	}
	l := lbovs.DefaultLayout()
	l.GroupMin, l.GroupMax = 100, 115
	ids := lbovs.GroupIDs(state, l)
	seen := map[uint32]bool{}
	for _, id := range ids {
		require.True(t, id >= 100 && id <= 115 && !seen[id], "%v", ids)
		seen[id] = true
	}
	require.Len(t, ids, 16)
	slices.Reverse(state)
	require.Equal(t, ids, lbovs.GroupIDs(state, l))
	l.GroupMax = 110
	_, _, err := lbovs.Flows(state, nil, lbovs.Uplink{OFPort: 1}, l)
	require.ErrorContains(t, err, "16 frontends, room for 11 groups")
}

func TestFaults(t *testing.T) {
	twin := pod(2)
	twin.VLAN, twin.OFPort = 101, 11
	wild := pod(3)
	wild.VLAN, wild.OFPort, wild.IPs = 4095, 1, []netip.Addr{{}}
	l := lbovs.DefaultLayout()
	l.Mux, l.DestReg, l.ZoneBase, l.Selection, l.LearnOwner = l.Hairpin, 0, 65000, "sticky", l.Owner
	l.Hairpin4, l.Hairpin6, l.GroupMin = l.Hairpin6, l.Hairpin4, 0
	_, _, err := lbovs.Flows([]lb.Frontend{
		frontend("10.96.0.1:80", 1, 0), frontend("10.96.0.2:0", lb.TCP, 0, "[fd00::1]:80"), frontend("10.96.0.2:0", lb.TCP, 0),
	}, []lbovs.Pod{pod(1), twin, wild}, lbovs.Uplink{OFPort: 1}, l)
	require.ErrorIs(t, err, lbovs.ErrInvalid)
	for _, want := range []string{
		"do not increase", "register 0 is", "zone base 65000", "is not IPv4", "is not IPv6", "group ids 0x0", `selection method "sticky"`, "cookie owner 0x4c",
		"pod pod2: VLAN id 101 is that of pod pod1", "pod pod2: port 11 is that of pod pod1", "pod pod3: VLAN id 4095", "pod pod3: port 1 is that of the uplink",
		"pod pod3: ips[0]", "10.96.0.1:80/1: protocol 1", "10.96.0.2:0/tcp: not an address", "it is there twice", "backends[0]: [fd00::1]:80",
	} {
		require.ErrorContains(t, err, want)
	}
}
