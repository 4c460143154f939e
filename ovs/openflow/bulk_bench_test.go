package openflow_test

import (
	"io"
	"net"
	"testing"

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
