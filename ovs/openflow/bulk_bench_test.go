package openflow_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/ovs/openflow"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// A recorder keeps what is written through it.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	return r.Conn.Write(b)
}

// BenchmarkCommit commits one flow in a bundle of its own, beside the same
// bytes written to a bare socket and the answers to them read.
func BenchmarkCommit(b *testing.B) {
	in := ovstest.Start(b)
	in.AddBridge("br0")
	change := ovs.Changes{FlowAdd: []ovs.Flow{{Priority: 7, Match: ovs.NewMatch(ovs.Reg(0, 1)), Actions: []ovs.Action{ovs.Goto(8)}}}}
	dial := func() *recorder {
		nc, err := net.Dial("unix", in.Mgmt("br0"))
		if err != nil {
			b.Fatal(err)
		}
		return &recorder{Conn: nc}
	}
	raw := dial()
	c, err := openflow.New(b.Context(), raw, openflow.Config{EchoInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	raw.sent = nil
	if err := c.Apply(b.Context(), change); err != nil {
		b.Fatal(err)
	}
	request := raw.sent
	c.Close()

	b.Run("ours", func(b *testing.B) {
		c, err := openflow.Dial(b.Context(), "unix", in.Mgmt("br0"), openflow.Config{EchoInterval: -1})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Apply(b.Context(), change); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(1.2, "target")
	})
	b.Run("floor", func(b *testing.B) {
		nc := dial()
		defer nc.Close()
		_, _ = nc.Write(message{version: 6}.bytes())
		if _, err := receive(nc); err != nil {
			b.Fatal(err)
		}
		answers := make([]byte, 16+16) // open and commit
		for b.Loop() {
			_, _ = nc.Conn.Write(request)
			if _, err := io.ReadFull(nc, answers); err != nil {
				b.Fatal(err)
			}
		}
		if answers[1] != 33 || answers[17] != 33 {
			b.Fatalf("%x", answers)
		}
	})
}

// typical returns the ith of many flows with six fields and three actions.
func typical(i int) ovs.Flow {
	return ovs.Flow{
		Table: uint8(10 + i%20), Priority: 100, Cookie: owner<<56 | uint64(i),
		Match: ovs.NewMatch(ovs.Reg(0, uint32(i%5000)), ovs.Metadata(uint64(i/5000)), ovs.EthType(0x800),
			ovs.IPDst(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)), ovs.TCPDst(443)),
		Actions: []ovs.Action{ovs.SetField(ovs.Reg(5, uint32(i))), ovs.SetField(ovs.Metadata(7)), ovs.Goto(40)},
	}
}

func typicals(n int) iter.Seq[ovs.Flow] {
	return func(yield func(ovs.Flow) bool) {
		for i := range n {
			if !yield(typical(i)) {
				return
			}
		}
	}
}

// BenchmarkAddFlows fills an empty bridge, beside ovs-ofctl with the same
// flows in a file. What we need in memory for it is reported too.
func BenchmarkAddFlows(b *testing.B) {
	in := ovstest.Start(b)
	in.AddBridge("br0")
	for _, n := range []int{100_000, 500_000} {
		// empty ends what was before the time of an operation.
		empty := func(b *testing.B) {
			b.StopTimer()
			in.Ofctl("del-flows", "br0")
			b.StartTimer()
		}
		b.Run(fmt.Sprintf("%d/ours", n), func(b *testing.B) {
			c, err := openflow.Dial(b.Context(), "unix", in.Mgmt("br0"), openflow.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			peak := watchHeap(b)
			for b.Loop() {
				empty(b)
				if done, err := c.AddFlows(b.Context(), typicals(n)); err != nil || done != n {
					b.Fatal(done, err)
				}
			}
			b.ReportMetric(float64(peak())/1e6, "peak-MB")
			b.ReportMetric(0.8, "target")
		})
		b.Run(fmt.Sprintf("%d/peer", n), func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "flows")
			writeFlows(b, file, n)
			for b.Loop() {
				empty(b)
				in.Ofctl("--bundle", "add-flows", "br0", file)
			}
		})
	}
}

func writeFlows(b *testing.B, file string, n int) {
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for flow := range typicals(n) {
		fmt.Fprintln(w, flow)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// watchHeap returns how to ask for the most that the heap held meanwhile.
func watchHeap(b *testing.B) (peak func() uint64) {
	runtime.GC()
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var most uint64
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-result }
}
