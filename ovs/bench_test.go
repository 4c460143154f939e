package ovs_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// A discard is a switch that takes everything: it looks at each change as far
// as an encoder must. have is what it says it has.
type discard struct {
	have  []ovs.Flow
	dumps int
	sum   int
}

func (d *discard) Apply(_ context.Context, c ovs.Changes) error {
	for _, list := range [][]ovs.Flow{c.FlowAdd, c.FlowDelete} {
		for _, f := range list {
			d.sum += len(f.Key()) + len(f.Actions)
		}
	}
	return nil
}

func (d *discard) Flows(context.Context, uint64, uint64) ([]ovs.Flow, error) {
	d.dumps++
	return d.have, nil
}

func (d *discard) Groups(context.Context) ([]ovs.Group, error) { return nil, nil }

// ownersFlows are a hundred flows of one of a thousand owners; changed of them
// have another output.
func ownersFlows(owner, changed int) []ovs.Flow {
	flows := make([]ovs.Flow, 100)
	for i := range flows {
		out := uint32(1)
		if i < changed {
			out = 2
		}
		addr := netip.AddrFrom4([4]byte{10, byte(owner >> 8), byte(owner), byte(i)})
		flows[i] = ovs.Flow{
			Table: 31, Priority: 100, Cookie: ovs.MakeCookie(0x74, 3, uint32(owner)),
			Match:   ovs.NewMatch(ovs.Metadata(uint64(owner)), ovs.Reg(0, uint32(i)), ovs.IPDst(netip.PrefixFrom(addr, 32)), ovs.IPProto(6), ovs.TCPDst(443)),
			Actions: []ovs.Action{ovs.SetField(ovs.Reg(1, 7)), ovs.Output(out)},
		}
	}
	return flows
}

func thousandOwners(b *testing.B, sw ovs.Switch) (*ovs.Bridge, []ovs.Flow) {
	b.Helper()
	br := ovs.NewBridge(sw, share)
	var all []ovs.Flow
	for owner := range 1000 {
		flows := ownersFlows(owner, 0)
		all = append(all, flows...)
		if err := br.Set(fmt.Sprint("owner", owner), flows, nil); err != nil {
			b.Fatal(err)
		}
	}
	if r, err := br.Sync(b.Context()); err != nil || r.Added != len(all) {
		b.Fatal(r, err)
	}
	return br, all
}

// BenchmarkSyncTenOf100000 has 100,000 flows of a thousand owners installed, of
// which one changes ten of its hundred: all it costs us to set, compare and
// send that, beside handing just those ten to the same switch. The target is
// one millisecond.
func BenchmarkSyncTenOf100000(b *testing.B) {
	versions := [][]ovs.Flow{ownersFlows(500, 0), ownersFlows(500, 10)}
	var floor time.Duration
	b.Run("floor", func(b *testing.B) {
		sw := &discard{}
		b.ReportAllocs()
		for b.Loop() {
			if err := sw.Apply(b.Context(), ovs.Changes{FlowAdd: versions[1][:10]}); err != nil {
				b.Fatal(err)
			}
		}
		floor = b.Elapsed() / time.Duration(b.N)
	})
	b.Run("ours", func(b *testing.B) {
		sw := &discard{}
		br, _ := thousandOwners(b, sw)
		dumps, n := sw.dumps, 0
		b.ReportAllocs()
		for b.Loop() {
			n++
			if err := br.Set("owner500", versions[n%2], nil); err != nil {
				b.Fatal(err)
			}
			if r, err := br.Sync(b.Context()); err != nil || r.Modified != 10 || sw.dumps != dumps {
				b.Fatal(r, err, sw.dumps)
			}
		}
		b.ReportMetric(float64(time.Millisecond)/float64(floor), "target")
	})
}

// BenchmarkAudit100000 reads 100,000 flows and compares all of them, beside
// indexing the same flows by key once.
func BenchmarkAudit100000(b *testing.B) {
	sw := &discard{}
	br, all := thousandOwners(b, sw)
	read := func() []ovs.Flow { // as a decoder would make them, sharing nothing
		out := make([]ovs.Flow, 0, len(all))
		for owner := range 1000 {
			out = append(out, ownersFlows(owner, 0)...)
		}
		return out
	}
	sw.have = read()
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r, err := br.Audit(b.Context()); err != nil || r.Changed() || len(r.Repairs) > 0 {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(2, "target")
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			index := make(map[ovs.Key]*ovs.Flow, len(sw.have))
			for i := range sw.have {
				index[sw.have[i].Key()] = &sw.have[i]
			}
			if len(index) != len(all) {
				b.Fatal(len(index))
			}
		}
	})
}

// BenchmarkFirstSync100000 sets and sends 100,000 flows of a thousand owners. It
// also measures what the bridge then holds for each beside the flow's own match
// and actions, which are the caller's.
func BenchmarkFirstSync100000(b *testing.B) {
	var flows [][]ovs.Flow
	for owner := range 1000 {
		flows = append(flows, ownersFlows(owner, 0))
	}
	var br *ovs.Bridge
	before := heap()
	b.ReportAllocs()
	for b.Loop() {
		br = ovs.NewBridge(&discard{}, share)
		for owner, list := range flows {
			if err := br.Set(fmt.Sprint("owner", owner), list, nil); err != nil {
				b.Fatal(err)
			}
		}
		if r, err := br.Sync(b.Context()); err != nil || r.Added != 100000 {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(heap()-before)/100000, "held-B/flow")
	runtime.KeepAlive(br)
	runtime.KeepAlive(flows)
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkOverlaps100000 looks for overlaps among 100,000 flows of one rank.
func BenchmarkOverlaps100000(b *testing.B) {
	br, _ := thousandOwners(b, &discard{})
	b.ReportAllocs()
	for b.Loop() {
		for c := range br.Overlaps() {
			b.Fatal(c)
		}
	}
}

// BenchmarkUpdateOneOf100000 adds and removes one of 100,000 flows of one
// owner, and sends that.
func BenchmarkUpdateOneOf100000(b *testing.B) {
	sw := &discard{}
	br := ovs.NewBridge(sw, share)
	for owner := range 1000 {
		if err := br.Update("all", ownersFlows(owner, 0), nil); err != nil {
			b.Fatal(err)
		}
	}
	one := ownersFlows(1000, 0)[:1]
	lists := [][]ovs.Flow{one, nil}
	if _, err := br.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if err := br.Update("all", lists[n%2], lists[1-n%2]); err != nil {
				b.Fatal(err)
			}
			if r, err := br.Sync(b.Context()); err != nil || r.Added+r.Deleted != 1 {
				b.Fatal(r, err)
			}
			n++
		}
		if n%2 == 1 { // begin the next run as this one began
			if err := br.Update("all", nil, one); err != nil {
				b.Fatal(err)
			}
			if _, err := br.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(20e3, "limit-ns")
	})
}
