package openflow

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/ovs"
)

// workloads are the flows that encoding and decoding are measured with, and
// the most nanoseconds that each may take.
var workloads = []struct {
	name           string
	text           string // with a number that differs between flows, and one of 32 for their actions
	encode, decode float64
	// how many times as long as copying the bytes that is
	encodeTarget, decodeTarget float64
}{
	{"typical", "cookie=0x5,table=1,metadata=%d,tcp,nw_dst=10.0.0.0/8,tp_dst=80,in_port=3 actions=set_field:%[2]d->reg0,output:%[2]d,goto_table:9", 60, 100, 8, 40},
	{"ctnat", "cookie=0x5,table=1,metadata=%d,ip,ct_state=+trk+new,nw_dst=10.96.0.10 actions=ct(commit,zone=NXM_NX_REG5[0..15],table=9,nat(dst=10.0.0.1-10.0.0.9:8080),exec(set_field:%[2]d->ct_mark))", 120, 200, 15, 65},
}

// measured returns flows that differ in match, and less in actions, as those
// of a real table do.
func measured(t testing.TB, text string) []ovs.Flow {
	flows := make([]ovs.Flow, 256)
	for i := range flows {
		var err error
		flows[i], err = ovs.ParseFlow(fmt.Sprintf(text, 1000+i, 1+i%32))
		require.NoError(t, err)
	}
	return flows
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, w := range workloads {
		flows, buf, i := measured(t, w.text), make([]byte, 0, 4096), 0
		require.Zero(t, testing.AllocsPerRun(100, func() {
			i++
			if _, err := appendFlowMod(buf[:0], 1, flowAdd, &flows[i%len(flows)]); err != nil {
				t.Fatal(err)
			}
		}), w.name)
	}
}

// BenchmarkEncodeFlow encodes a flow-mod into a reused buffer; the floor
// copies the same bytes.
func BenchmarkEncodeFlow(b *testing.B) {
	for _, w := range workloads {
		flows, buf := measured(b, w.text), make([]byte, 0, 4096)
		b.Run(w.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := appendFlowMod(buf[:0], 1, flowAdd, &flows[i&255]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(w.encode, "limit-ns")
			b.ReportMetric(w.encodeTarget, "target")
		})
		b.Run(w.name+"/floor", func(b *testing.B) { copies(b, buf, flows) })
	}
}

// BenchmarkDecodeFlow decodes a reply that describes 256 flows; the floor
// copies the same bytes.
func BenchmarkDecodeFlow(b *testing.B) {
	for _, w := range workloads {
		flows := measured(b, w.text)
		var reply []byte
		for i := range flows {
			reply = append(reply, flowDescription(b, flows[i])...)
		}
		b.Run(w.name+"/ours", func(b *testing.B) {
			var r flowReader
			var out []FlowStat
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, err = r.read(out[:0], reply); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(flows)), "ns/flow")
			b.ReportMetric(w.decode, "limit-ns/flow")
			b.ReportMetric(w.decodeTarget, "target")
		})
		b.Run(w.name+"/floor", func(b *testing.B) {
			buf := make([]byte, 0, len(reply))
			b.ReportAllocs()
			for b.Loop() {
				_ = append(buf[:0], reply...)
			}
		})
	}
}

func copies(b *testing.B, buf []byte, flows []ovs.Flow) {
	wire := make([][]byte, len(flows))
	for i := range flows {
		var err error
		if wire[i], err = appendFlowMod(nil, 1, flowAdd, &flows[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = append(buf[:0], wire[i&255]...)
	}
}
