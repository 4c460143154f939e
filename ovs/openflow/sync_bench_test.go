package openflow_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// BenchmarkAudit100000 audits 100,000 flows on a real switch, beside reading
// them. cpu-ms/op is what this process spends, all threads together; the rest
// of the time the switch is at work.
func BenchmarkAudit100000(b *testing.B) {
	in := ovstest.Start(b)
	in.AddBridge("br0")
	c, err := openflow.Dial(b.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	flows := make([]ovs.Flow, 100000)
	for i := range flows {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		flows[i] = ovs.Flow{
			Table: 31, Priority: 100, Cookie: ovs.MakeCookie(owner, 3, uint32(i)),
			Match:   ovs.NewMatch(ovs.Metadata(uint64(i/100)), ovs.Reg(0, uint32(i)), ovs.IPDst(netip.PrefixFrom(addr, 32)), ovs.IPProto(6), ovs.TCPDst(443)),
			Actions: []ovs.Action{ovs.SetField(ovs.Reg(1, 7)), ovs.Output(1)},
		}
	}
	br := ovs.NewBridge(c, ovs.Share{Cookie: owner << 56, Mask: ovs.OwnerMask})
	if r, err := syncAll(b, br, flows, nil); err != nil || r.Added != len(flows) {
		b.Fatal(r, err)
	}
	b.Run("ours", func(b *testing.B) {
		cpu := processTime(b)
		for b.Loop() {
			if r, err := br.Audit(b.Context()); err != nil || r.Changed() || len(r.Repairs) > 0 {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(float64((processTime(b)-cpu).Milliseconds())/float64(b.N), "cpu-ms/op")
		b.ReportMetric(1.3, "target")
	})
	b.Run("floor", func(b *testing.B) {
		cpu := processTime(b)
		for b.Loop() {
			if got, err := c.Flows(b.Context(), owner<<56, ovs.OwnerMask); err != nil || len(got) != len(flows) {
				b.Fatal(len(got), err)
			}
		}
		b.ReportMetric(float64((processTime(b)-cpu).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
}

// processTime returns the processor time that this process has had.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
