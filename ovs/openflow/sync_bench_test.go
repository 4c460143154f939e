package openflow_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// manyOwners returns a real switch with 100,000 flows of a thousand owners.
func manyOwners(b *testing.B) (*openflow.Conn, *ovs.Bridge) {
	b.Helper()
	in := ovstest.Start(b)
	in.AddBridge("br0")
	c, err := openflow.Dial(b.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	br := ovs.NewBridge(c, ovs.Share{Cookie: owner << 56, Mask: ovs.OwnerMask})
	for n := range 1000 {
		if err := br.Set(fmt.Sprint("owner", n), ownersFlows(n, 0), nil); err != nil {
			b.Fatal(err)
		}
	}
	if r, err := br.Sync(b.Context()); err != nil || r.Added != 100000 {
		b.Fatal(r, err)
	}
	return c, br
}

// ownersFlows are a hundred flows of an owner, of which changed have another output.
func ownersFlows(n, changed int) []ovs.Flow {
	flows := make([]ovs.Flow, 100)
	for i := range flows {
		out := uint32(1)
		if i < changed {
			out = 2
		}
		addr := netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), byte(i)})
		flows[i] = ovs.Flow{
			Table: 31, Priority: 100, Cookie: ovs.MakeCookie(owner, 3, uint32(n)),
			Match:   ovs.NewMatch(ovs.Metadata(uint64(n)), ovs.Reg(0, uint32(i)), ovs.IPDst(netip.PrefixFrom(addr, 32)), ovs.IPProto(6), ovs.TCPDst(443)),
			Actions: []ovs.Action{ovs.SetField(ovs.Reg(1, 7)), ovs.Output(out)},
		}
	}
	return flows
}

// measured loops over what is measured and reports cpu-ms/op: what this
// process spends, all threads together. The rest of the time the switch works.
func measured(b *testing.B, once func(n int) error) {
	n, cpu := 0, processTime(b)
	for b.Loop() {
		n++
		if err := once(n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((processTime(b)-cpu).Seconds()*1000/float64(b.N), "cpu-ms/op")
}

// processTime returns the processor time that this process has had.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAudit100000 audits 100,000 flows, beside reading them.
func BenchmarkAudit100000(b *testing.B) {
	c, br := manyOwners(b)
	b.Run("ours", func(b *testing.B) {
		measured(b, func(int) error {
			r, err := br.Audit(b.Context())
			if err == nil && (r.Changed() || len(r.Repairs) > 0) {
				err = fmt.Errorf("repaired %v", r)
			}
			return err
		})
		b.ReportMetric(1.3, "target")
	})
	b.Run("floor", func(b *testing.B) {
		measured(b, func(int) error {
			got, err := c.Flows(b.Context(), owner<<56, ovs.OwnerMask)
			if err == nil && len(got) != 100000 {
				err = fmt.Errorf("%d flows", len(got))
			}
			return err
		})
	})
}

// BenchmarkSyncTenOf100000 changes ten flows of one owner's hundred among
// 100,000, beside sending just those ten.
func BenchmarkSyncTenOf100000(b *testing.B) {
	c, br := manyOwners(b)
	versions := [][]ovs.Flow{ownersFlows(500, 0), ownersFlows(500, 10)}
	b.Run("ours", func(b *testing.B) {
		measured(b, func(n int) error {
			if err := br.Set("owner500", versions[n%2], nil); err != nil {
				return err
			}
			r, err := br.Sync(b.Context())
			if err == nil && r.Modified != 10 && n > 1 {
				err = fmt.Errorf("changed %v", r)
			}
			return err
		})
		b.ReportMetric(2, "target")
	})
	b.Run("floor", func(b *testing.B) {
		measured(b, func(n int) error {
			return c.Apply(b.Context(), ovs.Changes{FlowAdd: versions[n%2][:10]})
		})
	})
}
